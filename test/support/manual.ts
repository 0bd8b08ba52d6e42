import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { shellWord } from "../../cli/output/shell-words.ts";
import type { Block } from "./docs.ts";
import { ManualDaemon } from "./manual-daemon.ts";
import { offerOldExtension } from "./old-extension.ts";
import { bin, inProject, pgConfig, run } from "./pg.ts";
import { type Server, startServer } from "./server.ts";
import { waitUntil } from "./wait-until.ts";

/**
 * What a page finds. `bare`: tables on node_a. `copy`: also the extension on both, and node_a and node_b registered
 * on node_a. `differ`: also the tables on node_b, where some rows differ. `pair`: as `differ`, with no node registered.
 * `old`: also the predecessor's extension on node_a, with both nodes.
 */
export type Prepared = "bare" | "copy" | "differ" | "pair" | "old";

const database = "shop";

const differences = `
  delete from orders where id in (11, 12);
  insert into orders (id, customer, amount) values (20001, 1, 10);
  update orders set amount = 0, changed_at = '2026-06-01 00:00+00' where id in (7, 4711, 9999)`;

/** Two servers on which the blocks of a page are run, in their order, by psql and bash. */
export class Manual {
  readonly #a: Server;
  readonly #b: Server;
  readonly #programs: string;
  readonly #psql = new Map<Server, Psql>();
  readonly #daemon: ManualDaemon;

  private constructor(a: Server, b: Server, programs: string) {
    this.#a = a;
    this.#b = b;
    this.#programs = programs;
    this.#daemon = new ManualDaemon(programs);
  }

  static async start(name: string, prepared: Prepared): Promise<Manual> {
    const settings = {
      wal_level: "logical",
      track_commit_timestamp: true,
      max_worker_processes: 16,
    };
    const hba = ["host all steep_repl 127.0.0.1/32 scram-sha-256"];
    const a = await startServer({ name: `${name}-a`, settings, hba });
    const b = await startServer({ name: `${name}-b`, settings, hba, identity: "peer" });
    await b.configure({ "steep_repl.snapshot_directories": a.snapshotDir });
    const manual = new Manual(a, b, await mkdtemp(join(tmpdir(), "steep-manual-")));
    await manual.#prepare(prepared);
    return manual;
  }

  async #prepare(prepared: Prepared): Promise<void> {
    const cli = inProject("build/cli/steep-repl.cjs");
    const program = join(this.#programs, "steep-repl");
    await writeFile(program, `#!/bin/sh\nexec node ${shellWord(cli)} "$@"\n`);
    await chmod(program, 0o755);
    const tables = await readFile(inProject("test/fixtures/manual.sql"), "utf8");
    for (const server of [this.#a, this.#b]) {
      await server.createDatabase(database);
      const psql = new Psql(server);
      this.#psql.set(server, psql);
      if (prepared !== "bare" && !(prepared === "old" && server === this.#a))
        await psql.say("create extension steep_repl cascade;");
      if (server === this.#a || prepared === "differ" || prepared === "pair")
        await psql.say(tables);
    }
    if (prepared === "old") {
      await offerOldExtension(this.#a, "all");
      await this.#on("a").say(`\\connect
        create extension steep_repl version '0.1.0';
        insert into steep_repl.nodes (node_id, node_name, host, priority) values
          ('node_a', 'Node A', 'node-a.example', 80), ('node_b', 'Node B', 'node-b.example', 50);`);
    }
    if (prepared === "differ" || prepared === "pair") await this.#on("b").say(`${differences};`);
    if (prepared === "copy" || prepared === "differ") {
      await this.#on("a").say(
        this.#local(`
          select steep_repl.register_node('node_a', 'Node A');
          create server node_b foreign data wrapper dblink_fdw options (host 'node-b.example', dbname 'shop');
          create user mapping for public server node_b options (user 'postgres', password 'secret');
          select steep_repl.register_node('node_b', 'Node B', foreign_server => 'node_b');`),
      );
    }
  }

  #on(node: string): Psql {
    const psql = this.#psql.get(node === "b" ? this.#b : this.#a);
    if (!psql) throw new Error(`no psql on node ${node}`);
    return psql;
  }

  /** Hosts and paths of the manual, as they are here. */
  #local(text: string): string {
    return this.#daemon
      .local(text)
      .replaceAll(
        /host '(?:node-)(a|b)\.example'/g,
        (_, n) => `host '127.0.0.1', port '${this.#port(n)}'`,
      )
      .replaceAll(/host=node-(a|b)\.example/g, (_, n) => `host=127.0.0.1 port=${this.#port(n)}`)
      .replaceAll(/\bnode-(a|b)\.example(:5432)?/g, (_, n) => `127.0.0.1:${this.#port(n)}`)
      .replaceAll("/backups", this.#a.snapshotDir);
  }

  #port(node: string): number {
    return (node === "b" ? this.#b : this.#a).port;
  }

  /** Run a block on the node that its first line names, `-- on node_b` or `# on node_b`; what it prints. */
  async run(block: Block): Promise<string> {
    const node = /^(?:--|#) on node_(a|b)\b/.exec(block.text)?.[1] ?? "a";
    const text = this.#local(block.text);
    const printed =
      block.kind === "sql" ? await this.#on(node).say(text) : await this.#shell(text, node);
    return printed.replaceAll(this.#a.snapshotDir, "/backups");
  }

  async #shell(text: string, node: string): Promise<string> {
    const { code, stdout, stderr } = await run(
      "bash",
      ["-euo", "pipefail", "-c", `exec 2>&1\n${text}`],
      {
        env: {
          PATH: `${this.#programs}:${pgConfig("--bindir")}:${process.env.PATH}`,
          HOME: this.#programs,
          PGHOST: "127.0.0.1",
          PGPORT: String(this.#port(node)),
          PGUSER: "postgres",
          PGDATABASE: database,
          PGPASSWORD: "secret",
        },
        // what a block writes goes with it
        cwd: this.#programs,
        allowFailure: true,
      },
    );
    return code === 0 ? stdout : `${stdout}${stderr}\nERROR: it ended with ${code}\n`;
  }

  /** Whether the server knows these settings and takes their values. */
  async checkSettings(block: Block): Promise<void> {
    for (const line of block.text.split("\n")) {
      const [, name, value] = /^([\w.]+) *= *('[^']*'|[^#\s]+)/.exec(line) ?? [];
      if (name === undefined || value === undefined) {
        if (line.replace(/#.*/, "").trim() === "") continue;
        throw new Error(`no setting: ${line}`);
      }
      const quoted = value.startsWith("'") ? this.#local(value) : `'${value}'`;
      await this.#a.query(`alter system set ${name} = ${quoted}`);
      await this.#a.query(`alter system reset ${name}`);
    }
  }

  /** Whether the members of a snapshot's manifest are those that the page has. */
  async checkManifest(block: Block): Promise<void> {
    const path = join(this.#a.snapshotDir, "manifest");
    const printed = await this.#on("a").say(
      `select snapshot_id from steep_repl.start_snapshot('${path}') \\gset
       select status from steep_repl.wait_snapshot(:'snapshot_id');`,
    );
    if (!printed.includes("complete")) throw new Error(printed);
    const written = JSON.parse(await readFile(join(path, "manifest.json"), "utf8"));
    const [shown, actual] = [membersOf(JSON.parse(block.text)), membersOf(written)];
    if (shown !== actual) throw new Error(`the manifest has\n${actual}\nand not\n${shown}`);
  }

  /** Start the daemon with a configuration file on node_a, where the environment says how to connect. */
  startDaemon(block: Block): Promise<void> {
    const env = { PGHOST: "127.0.0.1", PGPORT: `${this.#a.port}`, PGPASSWORD: "secret" };
    return this.#daemon.start(block.text, env);
  }

  async end(): Promise<void> {
    await this.#daemon.end();
    for (const psql of this.#psql.values()) psql.end();
    await this.#a.destroy();
    await this.#b.destroy();
    await rm(this.#programs, { recursive: true, force: true });
  }
}

interface Frame {
  readonly frames?: readonly object[];
}

/** The names of all members of a manifest, those of each kind of file and of frames once. */
function membersOf(manifest: {
  readonly files: readonly (Frame & { readonly kind: string })[];
}): string {
  const names = (value: object) => Object.keys(value).sort().join(" ");
  const files = manifest.files.map((file) => `${file.kind}: ${names(file)}`);
  const frames = manifest.files.flatMap((file) => file.frames ?? []).map(names);
  return [names(manifest), ...new Set(files.sort()), ...new Set(frames)].join("\n");
}

const sentinel = "--- the block is over ---";

/** One psql, so that variables of one block are there in the next. */
class Psql {
  readonly #child: ChildProcess;
  #printed = "";

  constructor(server: Server) {
    const words = [bin("psql"), "-X", "-q", "-P", "pager=off", "-d", server.uri(database)];
    const command = `exec ${words.map(shellWord).join(" ")} 2>&1`;
    this.#child = spawn("sh", ["-c", command], { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.#printed += text;
    });
    this.#child.stdin?.on("error", () => {});
  }

  async say(sql: string): Promise<string> {
    this.#printed = "";
    this.#child.stdin?.write(`${sql}\n\\echo ${sentinel}\n`);
    const all = await waitUntil(
      () => this.#printed,
      (text) => text.includes(`${sentinel}\n`) || this.#child.exitCode !== null,
      "psql has run the block",
      { timeoutMs: 120_000 },
    );
    return all.slice(0, all.indexOf(sentinel)).replace(/^Asynchronous notification .*\n/gm, "");
  }

  end(): void {
    this.#child.kill();
  }
}

/** What differs from run to run, and how wide columns are. */
function normal(text: string): string {
  return text
    .replace(/\b(snap|apply|merge|overlap)_\d{8}_\d{6}_[0-9a-f]{8}\b/g, "$1_ID")
    .replace(/\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?\+\d\d\b/g, "TIME")
    .replace(/\b[0-9A-F]+\/[0-9A-F]{5,}\b/g, "LSN")
    .replace(/\b\d{15,}\b/g, "NUMBER")
    .replace(/\b[0-9a-f]{12,64}\b/g, ({ length }) => `DIGEST OF ${length}`)
    .replace(/-[-+]+-/g, "---")
    .replace(/[ \t]+/g, " ")
    .replace(/ $/gm, "")
    .replace(/^ /gm, "")
    .trim();
}

/** Whether a block printed what the manual says; `…` stands for anything. */
export function printsAsShown(shown: string, printed: string): boolean {
  const parts = normal(shown)
    .split("…")
    .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join("[\\s\\S]*")}$`).test(normal(printed));
}

/** What a block without shown output must not have printed. */
export function failures(printed: string): string[] {
  return printed
    .split("\n")
    .filter((line) => /\b(ERROR|FATAL|PANIC):|^psql: error|^invalid command/.test(line));
}
