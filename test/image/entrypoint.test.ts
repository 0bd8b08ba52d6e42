import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Container, docker, image, startContainer } from "../support/container.ts";

let scripts: string;
let node: Container;
const shop = { database: "shop" };
const shopless = { database: "postgres" };

beforeAll(async () => {
  scripts = await mkdtemp(join(tmpdir(), "steep-initdb-"));
  await chmod(scripts, 0o755);
  await writeFile(
    join(scripts, "1.sql"),
    "create table ran (what text); insert into ran values ('1')",
  );
  await writeFile(join(scripts, "2.sql.gz"), gzipSync("insert into ran values ('2')"));
  await writeFile(
    join(scripts, "3.sh"),
    `psql -c "insert into ran values ('3 ' || (select count(*) from ran) || current_setting('listen_addresses'))"`,
  );
  await writeFile(join(scripts, "readme"), "");
  node = await startContainer({
    env: { POSTGRES_DB: "shop" },
    settings: { work_mem: "9MB", max_worker_processes: 20 },
    volumes: { "/docker-entrypoint-initdb.d": scripts },
  });
});
afterAll(async () => {
  await node?.destroy();
  await rm(scripts, { recursive: true, force: true });
});

/** Run the image to its end. */
async function runImage(args: readonly string[]): Promise<{ code: number | null; said: string }> {
  const { code, stdout, stderr } = await docker(["run", "--rm", ...args], { allowFailure: true });
  return { code, said: stdout + stderr };
}

describe("what is missing is said, and ends the container", () => {
  test.each([
    ["no password", [], "no password for the superuser postgres"],
    ["root", ["--user", "0", "-e", "POSTGRES_PASSWORD=x"], "does not run as root"],
    ["a nameless user", ["--user", "12345", "-e", "POSTGRES_PASSWORD=x"], "12345 has no name"],
    [
      "a volume where the data will not be",
      ["--tmpfs", "/var/lib/postgresql/data", "-e", "POSTGRES_PASSWORD=x"],
      "mount it on /var/lib/postgresql",
    ],
    [
      "a directory that is not ours to write",
      ["--tmpfs", "/var/lib/postgresql:mode=0700", "-e", "POSTGRES_PASSWORD=x"],
      "cannot be written by user postgres (999)",
    ],
    [
      "both a password and its file",
      ["-e", "POSTGRES_PASSWORD=x", "-e", "POSTGRES_PASSWORD_FILE=/etc/hostname"],
      "give one of them",
    ],
  ])("%s", async (_, options, message) => {
    const { code, said } = await runImage([...options, image]);
    expect(said).toContain(message);
    expect(code).toBe(1);
  });
});

test("programs other than the server are run as they are", async () => {
  expect(await runImage([image, "psql", "--version"])).toMatchObject({ code: 0 });
  expect((await runImage([image, "--version"])).said).toMatch(/^postgres \(PostgreSQL\) 18/);
});

test("nothing to compile or to fetch packages with is left in the image", async () => {
  const look =
    "command -v gcc cc ld make node npm git; ls -A /var/lib/apt/lists; find / -xdev -name '*.deb' -o -xdev -name '*.o'";
  const { said } = await runImage(["--entrypoint", "sh", "--user", "0", image, "-c", look]);
  expect(said).toBe("");
});

test("it is labelled with the version of the extension", async () => {
  const format = '{{index .Config.Labels "org.opencontainers.image.version"}} {{.Config.User}}';
  const { stdout } = await docker(["image", "inspect", "--format", format, image]);
  const [extension] = await node.query<{ version: string }>(
    "select extversion as version from pg_extension where extname = 'steep_repl'",
    [],
    shop,
  );
  expect(stdout.trim()).toBe(`${extension?.version} postgres`);
});

test("POSTGRES_DB has the extension, and the server what two nodes need", async () => {
  const [row] = await node.query(
    `select (select status from steep_repl.health()) as health,
            current_setting('wal_level') as wal, current_setting('track_commit_timestamp') as times,
            current_setting('steep_repl.snapshot_directories') as directories,
            (pg_stat_file('/snapshots')).isdir as there`,
    [],
    shop,
  );
  expect(row).toEqual({
    health: "healthy",
    wal: "logical",
    times: "on",
    directories: "/snapshots",
    there: true,
  });
});

test("arguments reach the server, and go before what the image sets", async () => {
  const [row] = await node.query(
    "select current_setting('work_mem') as memory, current_setting('max_worker_processes') as workers",
  );
  expect(row).toEqual({ memory: "9MB", workers: "20" });
});

test("the scripts ran in order, once, and while nobody could connect from outside", async () => {
  expect(await node.query("select what from ran", [], shop)).toEqual([
    { what: "1" },
    { what: "2" },
    { what: "3 2" },
  ]);
  expect(await node.log()).toContain("leaving out /docker-entrypoint-initdb.d/readme");
});

test("a password is demanded from outside", async () => {
  await expect(node.query("select 1", [], { password: "wrong" })).rejects.toMatchObject({
    code: "28P01",
  });
});

test("the server's environment does not have the password", async () => {
  const { stdout } = await node.exec(["cat", "/proc/1/environ"]);
  // what the engine gave to the process is seen as it was; what its children have, not any more
  const child = await node.exec([
    "sh",
    "-c",
    'tr "\\0" "\\n" <"/proc/$(pgrep -P 1 | head -n 1)/environ" | grep -c POSTGRES_PASSWORD || true',
  ]);
  expect(stdout).not.toBe("");
  expect(child.stdout.trim()).toBe("0");
});

test("the healthcheck says what health() says, and passes without the extension", async () => {
  const check = ["/usr/local/lib/steep_repl/healthcheck.sh"];
  expect((await node.exec(check)).stdout).toMatch(/^healthy/);
  await node.query("create publication everything for all tables", [], shop);
  expect((await node.exec(check)).stdout).toMatch(/^degraded\|.*everything/);
  await node.query("drop publication everything; drop extension steep_repl", [], shop);
  expect((await node.exec(check)).stdout).toMatch(/^no extension\|.*not in database shop/);
  await node.query("create extension steep_repl", [], shop);
});

test("the healthcheck fails when health() says unhealthy, or nothing", async () => {
  const check = () =>
    node.exec(["/usr/local/lib/steep_repl/healthcheck.sh"], { allowFailure: true });
  const counts = "steep_repl._operation_counts()";
  await node.query(
    `alter extension steep_repl drop function ${counts}; alter function ${counts} rename to gone`,
    [],
    shop,
  );
  const ill = await check();
  expect(ill.stdout).toMatch(/^unhealthy\|.*_operation_counts/);
  expect(ill.code).toBe(1);
  await node.query(
    `alter function steep_repl.gone() rename to _operation_counts; alter extension steep_repl add function ${counts}`,
    [],
    shop,
  );
  expect((await check()).code).toBe(0);
  await node.query("alter database shop rename to closed", [], shopless);
  expect((await check()).code).not.toBe(0);
  await node.query("alter database closed rename to shop", [], shopless);
});

test("docker stop ends it in order, and the data is there after a start", async () => {
  const session = await node.connect(shop);
  await session.query("insert into ran values ('before the stop')");
  await docker(["stop", "--time", "20", node.id]);
  expect(await node.inspect(".State.ExitCode")).toBe("0");
  expect(await node.log()).toContain("received fast shutdown request");
  await node.start();
  expect(await node.query("select count(*)::int as n from ran", [], shop)).toEqual([{ n: 4 }]);
});

test("a setup that was interrupted is begun again", async () => {
  const volume = `steep-test-interrupted-${process.pid}`;
  const hang = await mkdtemp(join(tmpdir(), "steep-initdb-"));
  let again: Container | undefined;
  try {
    await mkdir(join(hang, "empty"));
    await chmod(hang, 0o755);
    await writeFile(join(hang, "1.sh"), "echo stuck; kill -KILL $PPID");
    const common = ["-e", "POSTGRES_PASSWORD=x", "-v", `${volume}:/var/lib/postgresql`];
    const first = await runImage([...common, "-v", `${hang}:/docker-entrypoint-initdb.d`, image]);
    expect(first).toMatchObject({ code: 1 });
    expect(first.said).toContain("the next start begins again");

    again = await startContainer({ volumes: { "/var/lib/postgresql": volume } });
    expect(await again.log()).toContain("was interrupted: beginning again");
    expect(await again.query("select status from steep_repl.health()")).toEqual([
      { status: "healthy" },
    ]);

    // as if it had been cut off while the finished directory was moved to its place
    await again.stop();
    const undo = "cd $PGDATA && mkdir initialized && mv PG_VERSION base pg_* initialized";
    await runImage(["-v", `${volume}:/var/lib/postgresql`, image, "bash", "-c", undo]);
    await again.start();
    expect(await again.query("select status from steep_repl.health()")).toEqual([
      { status: "healthy" },
    ]);
  } finally {
    await again?.destroy();
    await docker(["volume", "rm", "--force", volume]);
    await rm(hang, { recursive: true, force: true });
  }
});

test("with POSTGRES_HOST_AUTH_METHOD=trust nobody is asked; other names and a file are taken", async () => {
  const trusting = await startContainer({
    env: {
      POSTGRES_PASSWORD: "",
      POSTGRES_HOST_AUTH_METHOD: "trust",
      POSTGRES_USER: "Owner of all",
      POSTGRES_INITDB_ARGS: `--locale-provider=icu --icu-locale=de -c "cluster_name=with a blank"`,
    },
  });
  try {
    const [row] = await trusting.query(
      "select current_user as me, current_setting('cluster_name') as cluster, (select status from steep_repl.health()) as health",
      [],
      { user: "Owner of all", database: "Owner of all" },
    );
    expect(row).toEqual({ me: "Owner of all", cluster: "with a blank", health: "healthy" });
  } finally {
    await trusting.destroy();
  }
});
