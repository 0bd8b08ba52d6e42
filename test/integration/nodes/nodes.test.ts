import { type AddressInfo, createServer } from "node:net";
import type { QueryResult } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../../support/free-port.ts";
import { expectNoLeaks } from "../../support/leaks.ts";
import type { Row } from "../../support/node.ts";
import { type Server, startServer } from "../../support/server.ts";
import { openConnections } from "../../support/sessions.ts";
import { dropSnapshots, startSnapshot, takeSnapshot } from "../../support/snapshots.ts";

let server: Server;
let peer: Server;
const app = { database: "app" };

beforeAll(async () => {
  [server, peer] = await Promise.all([
    startServer({
      name: "nodes",
      settings: { max_worker_processes: 16, "steep_repl.poll_interval": 100 },
    }),
    startServer({
      name: "peer",
      identity: "peer",
      preload: false,
      hba: ["host all prober 127.0.0.1/32 scram-sha-256"],
    }),
  ]);
  await server.createDatabase("app", { extension: true });
  await peer.query("create role prober login password 'sesame'");
  await server.query(
    `create role helper login; grant usage on schema steep_repl to helper;
     grant select, insert, update, delete on all tables in schema steep_repl to helper`,
    [],
    app,
  );
});
afterAll(async () => {
  await server.destroy();
  await peer.destroy();
});
afterEach(async () => {
  await server.query("delete from steep_repl.nodes", [], app);
  await dropSnapshots(server, app);
  await expectNoLeaks(server);
});

const call = (sql: string, user = "postgres"): Promise<Row[]> =>
  server.query(`select * from steep_repl.${sql}`, [], { ...app, user });
const one = async (sql: string, user?: string): Promise<Row> => {
  const [row] = await call(sql, user);
  if (!row) throw new Error(`${sql} answered no row`);
  return row;
};
const identifierOf = async (node: Server): Promise<string> =>
  String(
    (await node.query("select system_identifier::text as id from pg_control_system()"))[0]?.id,
  );

describe("register_node", () => {
  test("inserts a node with the defaults that are documented", async () => {
    expect(await one("register_node('n', 'Node', '192.0.2.1')")).toMatchObject({
      node_id: "n",
      node_name: "Node",
      host: "192.0.2.1",
      port: 5432,
      priority: 50,
      dbname: null,
      username: null,
      foreign_server: null,
      system_identifier: null,
      registered_by: "postgres",
      last_seen: null,
    });
  });

  test("changes a node, and keeps what it is not told", async () => {
    const first = await one("register_node('n', 'Node', '192.0.2.1', 5433, 70, 'shop', 'repl')");
    const kept = {
      ...{ node_name: "Node", host: "192.0.2.1", port: 5433, priority: 70 },
      ...{ dbname: "shop", username: "repl", node_number: first.node_number },
    };
    expect(await one("register_node('n')")).toMatchObject(kept);
    for (const [argument, changed] of [
      ["node_name => 'New name'", { node_name: "New name" }],
      ["host => '192.0.2.9'", { host: "192.0.2.9" }],
      ["port => 5434", { port: 5434 }],
      ["priority => 71", { priority: 71 }],
      ["dbname => 'other'", { dbname: "other" }],
      ["username => 'else'", { username: "else" }],
    ] as const) {
      Object.assign(kept, changed);
      expect(await one(`register_node('n', ${argument})`), argument).toMatchObject(kept);
    }
    expect(await call("nodes")).toHaveLength(1);
  });

  test("gives an entry of this server its own port, and keeps it", async () => {
    const here = { port: server.port, host: null, system_identifier: await identifierOf(server) };
    expect(await one("register_node('n')")).toMatchObject({
      node_name: "n",
      priority: 50,
      ...here,
    });
    expect(await one("register_node('n', 'Node')")).toMatchObject({ node_name: "Node", ...here });
    expect(await one("register_node('m', port => 7777)")).toMatchObject({ port: 7777 });
  });

  test("warns where an entry of this server is one of another server from now on", async () => {
    const client = await server.connect(app);
    let warnings: string[] = [];
    client.on("notice", ({ severity, message }) => warnings.push(`${severity}: ${message}`));
    const said = async (args: string) => {
      warnings = [];
      await client.query(`select steep_repl.register_node('n', ${args})`);
      return warnings;
    };
    const warning = ['WARNING: node "n" was this server, and is another one from now on'];
    await client.query("create server elsewhere foreign data wrapper dblink_fdw");
    expect(await said("'Node'")).toEqual([]);
    expect(await said("host => 'localhost'")).toEqual([]);
    for (const moved of ["host => '192.0.2.1'", "port => 1", "foreign_server => 'elsewhere'"]) {
      expect(await said(`priority => 7`), moved).toEqual([]);
      expect(await said(moved), moved).toEqual(warning);
      expect(await said(moved), moved).toEqual([]);
      await client.query("delete from steep_repl.nodes");
      await said(`host => 'localhost', port => ${server.port}`);
    }
    await client.query("drop server elsewhere");
  });

  test("takes names as long as they may be, and the table none beyond, whoever writes it", async () => {
    const longest = { node_id: 63, node_name: 63, host: 255, dbname: 63, username: 63 };
    const bytes = Object.values(longest);
    const [id, name, host, dbname, username] = bytes.map((n) => "x".repeat(n));
    await one(
      `register_node('${id}', '${name}', '${host}', dbname => '${dbname}', username => '${username}')`,
    );
    const texts = [...Object.entries(longest), ["foreign_server", 63] as const];
    for (const [column, most] of texts)
      for (const value of ["x".repeat(most + 1), "ä".repeat((most + 1) / 2), "a\nb", "a\u007fb"]) {
        const columns = { node_id: "n", node_name: "N", [column]: value };
        await expect(
          server.query(
            "insert into steep_repl.nodes (node_id, node_name, host, dbname, username, foreign_server) values ($1, $2, $3, $4, $5, $6)",
            ["node_id", "node_name", "host", "dbname", "username", "foreign_server"].map(
              (c) => (columns as Record<string, string>)[c] ?? null,
            ),
            app,
          ),
          `${column} ${JSON.stringify(value)}`,
        ).rejects.toMatchObject({ code: "23514" });
      }
  });

  test("accepts the ends of the ranges", async () => {
    for (const [port, priority] of [
      [1, 1],
      [65535, 100],
    ])
      expect(
        await one(`register_node('n', 'Node', 'h', port => ${port}, priority => ${priority})`),
      ).toMatchObject({ port, priority });
  });

  test("gives each node a number of its own", async () => {
    const numbers = new Set<unknown>();
    for (const name of ["a", "b", "c"])
      numbers.add((await one(`register_node('${name}', '${name}', '192.0.2.1')`)).node_number);
    expect(numbers.size).toBe(3);
    await expect(
      server.query(
        "insert into steep_repl.nodes (node_id, node_name, node_number) overriding system value select 'd', 'd', max(node_number) from steep_repl.nodes",
        [],
        app,
      ),
    ).rejects.toMatchObject({ code: "23505" });
  });

  test("of two at the same moment makes one node", async () => {
    const names = ["one", "two", "three", "four"];
    await Promise.all(names.map((name) => one(`register_node('n', '${name}', '192.0.2.1')`)));
    const nodes = await call("nodes");
    expect(nodes).toHaveLength(1);
    expect(names).toContain(nodes[0]?.node_name);
  });

  test("knows this server by its address, and another one not", async () => {
    const here = await identifierOf(server);
    for (const host of ["null", "'localhost'", "'127.0.0.1'", `'${server.socketDir}'`])
      expect(await one(`register_node('n', 'Node', ${host}, ${server.port})`)).toMatchObject({
        system_identifier: here,
      });
    expect(await one(`register_node('n', 'Node', '127.0.0.1', ${peer.port})`)).toMatchObject({
      system_identifier: null,
    });
    expect(await one(`register_node('n', 'Node', '192.0.2.1', ${server.port})`)).toMatchObject({
      system_identifier: null,
    });
  });
});

describe("node_status", () => {
  test("shows the local node as online for as long as its launcher lives", async () => {
    await one(`register_node('here', 'Here', 'localhost', ${server.port})`);
    expect(await one("node_status('here')")).toMatchObject({
      node_name: "Here",
      status: "online",
      is_healthy: true,
      is_local: true,
      last_seen: expect.any(Date),
    });
  });

  test("goes by the heartbeat of other nodes, and 30 seconds", async () => {
    await one("register_node('n', 'Node', '192.0.2.1')");
    expect(await one("node_status('n')")).toMatchObject({
      status: "unknown",
      is_healthy: null,
      is_local: false,
      last_seen: null,
    });
    expect(await one("heartbeat('n')")).toEqual({ heartbeat: true });
    expect(await one("node_status('n')")).toMatchObject({ status: "online", is_healthy: true });
    for (const [ago, status, is_healthy] of [
      ["29 s", "online", true],
      ["31 s", "offline", false],
      ["1 year", "offline", false],
    ]) {
      // in one round trip: a second more would be too late
      const client = await server.connect(app);
      const [, answer] = (await client.query(
        `update steep_repl.nodes set last_seen = clock_timestamp() - interval '${ago}';
         select * from steep_repl.node_status('n')`,
      )) as unknown as QueryResult[];
      await client.end();
      expect(answer?.rows).toMatchObject([{ status, is_healthy }]);
    }
  });

  test("believes nobody who says when another's node was seen but now", async () => {
    await one("register_node('b', 'B')");
    for (const time of ["infinity", "2999-01-01", "epoch"])
      await server.query("update steep_repl.nodes set last_seen = $1", [time], {
        ...app,
        user: "helper",
      });
    expect(
      await server.query(
        "select last_seen between now() - interval '1 min' and now() as is_now from steep_repl.nodes",
        [],
        app,
      ),
    ).toEqual([{ is_now: true }]);
  });

  test("lists all nodes by their id", async () => {
    for (const name of ["b", "c", "a"])
      await one(`register_node('${name}', '${name}', '192.0.2.1')`);
    expect((await call("node_status()")).map((row) => row.node_id)).toEqual(["a", "b", "c"]);
    expect(await one("remove_node('b')")).toEqual({ remove_node: true });
    expect(await one("remove_node('b')")).toEqual({ remove_node: false });
    expect(await one("heartbeat('b')")).toEqual({ heartbeat: false });
    expect((await call("node_status()")).map((row) => row.node_id)).toEqual(["a", "c"]);
  });

  test("works in a read-only transaction, also with a probe", async () => {
    await one(`register_node('peer', 'Peer', '127.0.0.1', ${peer.port}, dbname => 'postgres')`);
    const client = await server.connect(app);
    await client.query("begin read only");
    const { rows } = await client.query("select * from steep_repl.node_status('peer', true)");
    expect(rows).toMatchObject([{ status: "online", is_healthy: true }]);
    await client.end();
    expect(await one("node_status('peer')")).toMatchObject({ status: "unknown" });
  });
});

describe("a probe", () => {
  // what a server that hangs looks like, or a firewall between
  const silent = createServer();
  let silentPort: number;
  beforeAll(
    () =>
      new Promise<void>((resolve) => {
        silent.listen(0, "127.0.0.1", () => {
          silentPort = (silent.address() as AddressInfo).port;
          resolve();
        });
      }),
  );
  afterAll(() => {
    silent.close();
  });

  const probe = (user?: string) => one("node_status('peer', probe => true)", user);

  test("finds a server that runs, and notes who it is", async () => {
    await one(`register_node('peer', 'Peer', '127.0.0.1', ${peer.port}, dbname => 'postgres')`);
    expect(await probe()).toMatchObject({
      status: "online",
      is_healthy: true,
      is_local: false,
      last_seen: expect.any(Date),
    });
    expect(await one("nodes")).toMatchObject({ system_identifier: await identifierOf(peer) });
    // seen by that, without another probe
    expect(await one("node_status('peer')")).toMatchObject({ status: "online" });
    // a snapshot of this server is none of that one
    await expect(
      startSnapshot(server, { ...app, args: "node_id => 'peer'" }),
    ).rejects.toMatchObject({ code: "22023", message: expect.stringContaining("another cluster") });
  });

  test("finds out that an address is this very server's", async () => {
    await one(`register_node('peer', 'Peer', '127.0.0.2', ${server.port}, dbname => 'postgres')`);
    expect(await one("nodes")).toMatchObject({ system_identifier: null });
    await server.configure({ listen_addresses: "*" });
    await server.restart();
    expect(await probe()).toMatchObject({ status: "online", is_local: true });
    // a standby says so as well, and whoever lies
    expect(await one("nodes")).toMatchObject({ system_identifier: null });
    const snapshot = await takeSnapshot(server, { ...app, args: "node_id => 'peer'" });
    expect(snapshot).toMatchObject({ node_id: "peer" });
  });

  test.each<[what: string, args: () => Promise<string>]>([
    ["where nothing listens", async () => `'127.0.0.1', ${await freePort()}`],
    ["of a name that does not resolve", async () => "'nowhere.invalid', 5432"],
    [
      "of a database that is not there",
      async () => `'127.0.0.1', ${peer.port}, dbname => 'nothing'`,
    ],
    ["of a port that accepts and stays silent", async () => `'127.0.0.1', ${silentPort}`],
  ])("%s says offline within 5 seconds", async (_, args) => {
    await one(`register_node('peer', 'Peer', ${await args()})`);
    const before = performance.now();
    expect(await probe()).toMatchObject({ status: "offline", is_healthy: false, last_seen: null });
    expect(performance.now() - before).toBeLessThan(5000);
    expect(await call("nodes")).toMatchObject([{ system_identifier: null, last_seen: null }]);
  });

  test("takes what a node is registered with for values, never for further options", async () => {
    const open = `port='${peer.port}`;
    for (const [host, dbname] of [
      [`127.0.0.1' ${open}`, "postgres"],
      ["127.0.0.1", `postgres' ${open}`],
      ["127.0.0.1", `host=127.0.0.1 port=${peer.port} dbname=postgres`],
      ["127.0.0.1", `postgresql://127.0.0.1:${peer.port}/postgres`],
      ["127.0.0.1\\", `postgres ${open} '`],
    ]) {
      await server.query(
        "select steep_repl.register_node('peer', 'Peer', $1, $2, dbname => $3)",
        [host, await freePort(), dbname],
        app,
      );
      expect(await probe()).toMatchObject({ status: "offline" });
    }
  });

  test("uses a foreign server and its user mapping, for whoever has one", async () => {
    await server.query(
      `create server peer_server foreign data wrapper dblink_fdw
         options (host '127.0.0.1', port '${peer.port}', dbname 'postgres');
       grant usage on foreign server peer_server to helper;
       create user mapping for helper server peer_server options (user 'prober', password 'sesame')`,
      [],
      app,
    );
    await one("register_node('peer', 'Peer', foreign_server => 'peer_server')", "helper");
    expect(await one("nodes")).toMatchObject({
      foreign_server: "peer_server",
      host: null,
      system_identifier: null,
    });
    expect(await probe("helper")).toMatchObject({
      status: "online",
      is_healthy: true,
      is_local: false,
    });
    await server.query("drop server peer_server cascade", [], app);
  });

  test("that the caller may not make says nothing of the node, and why", async () => {
    // a role that is no superuser must give a password, and here it has none
    await one(
      `register_node('peer', 'Peer', '127.0.0.1', ${peer.port}, dbname => 'postgres')`,
      "helper",
    );
    const client = await server.connect({ ...app, user: "helper" });
    const warnings: string[] = [];
    client.on("notice", (notice) => warnings.push(`${notice.message}`));
    const { rows } = await client.query("select * from steep_repl.node_status('peer', true)");
    expect(rows).toMatchObject([{ status: "unknown", is_healthy: null }]);
    expect(warnings.join()).toMatch(/cannot probe node "peer": .*password/);
    await client.query("select steep_repl.heartbeat('peer')");
    const { rows: again } = await client.query(
      "select * from steep_repl.node_status('peer', true)",
    );
    expect(again).toMatchObject([{ status: "online" }]);
    await client.end();
  });

  test("goes to a foreign server that the caller may use, also where a stranger's node has its name", async () => {
    await server.query(
      "create server remote foreign data wrapper dblink_fdw; create role stranger login; grant helper to stranger",
      [],
      app,
    );
    await one("register_node('remote', 'Squat', 'evil.example')", "stranger");
    const target = () => call("_peer_target('remote')", "helper");
    await expect(target()).rejects.toMatchObject({ code: "42501" });
    await server.query("grant usage on foreign server remote to helper", [], app);
    expect(await target()).toEqual([{ _peer_target: "remote" }]);
    await server.query(
      "drop server remote cascade; drop owned by stranger; drop role stranger",
      [],
      app,
    );
  });

  test("of an address that another role chose is not made in a superuser's name", async () => {
    await one(
      `register_node('peer', 'Peer', '127.0.0.1', ${peer.port}, dbname => 'postgres')`,
      "helper",
    );
    expect(await probe("postgres")).toMatchObject({ status: "unknown", is_healthy: null });
  });

  test("that takes long can be cancelled, and leaves no connection open", async () => {
    await one(`register_node('peer', 'Peer', '127.0.0.1', ${silentPort})`);
    const client = await server.connect(app);
    await client.query("set statement_timeout = '200ms'");
    const before = performance.now();
    await expect(
      client.query("select * from steep_repl.node_status('peer', true)"),
    ).rejects.toMatchObject({ code: "57014" });
    expect(performance.now() - before).toBeLessThan(2000);
    await client.query("set statement_timeout = 0");
    expect(await openConnections(client)).toBe(0);
    await client.end();
  });
});
