import { afterAll, expect, test } from "vitest";
import { applySnapshot } from "../support/apply.ts";
import { type Container, docker, image, startContainer } from "../support/container.ts";
import { digests, runSnapshot, takeSnapshot } from "../support/snapshots.ts";

const started: Container[] = [];
async function start(...options: Parameters<typeof startContainer>): Promise<Container> {
  const container = await startContainer(...options);
  started.push(container);
  return container;
}
afterAll(() => Promise.all(started.map((container) => container.destroy())));

/** So many MB of rows of 1 KB, which a table does not compress. */
function fill(node: Container, megabytes: number): Promise<unknown> {
  return node.query(
    `create table big as
       select g as id, repeat(md5(g::text) || md5(random()::text), 16) as filler
       from generate_series(1, ${megabytes * 1000}) g`,
  );
}

test("a disk that fills up during a snapshot fails the job and nothing else", async () => {
  const node = await start({
    name: "disk",
    tmpfs: { "/snapshots": "rw,size=24m,uid=999,gid=999,mode=0700" },
  });
  // 12 MB in TOAST are 24 MB as COPY's hex, which the estimate before copying cannot know
  await node.query(
    `create table wide (id int, data bytea);
     alter table wide alter column data set storage external;
     insert into wide select g, (select decode(string_agg(md5(random()::text), ''), 'hex') from generate_series(1, 6000) where g = g)
     from generate_series(1, 180) g`,
  );
  const row = await runSnapshot(node, { args: "compression => 'none'" });
  expect(row).toMatchObject({ status: "failed", error_sqlstate: "53100", phase: "data" });
  expect(row.error_message).toContain("could not write data of table public.wide");
  expect((await node.exec(["ls", "-A", "/snapshots"])).stdout).toBe("");

  expect(await node.query("select status from steep_repl.health()")).toEqual([
    { status: "healthy" },
  ]);
  await node.query("delete from wide where id > 20");
  await takeSnapshot(node, { args: "compression => 'none'" });
});

/** Engines in some sandboxes take a limit and do not enforce it: ask for more than it and see. */
async function limitsAreEnforced(): Promise<boolean> {
  const greedy = "head -c 200000000 /dev/zero | tail -c 199999999 >/dev/null";
  const limit = ["--memory", "48m", "--memory-swap", "48m"];
  const { code } = await docker(
    ["run", "--rm", ...limit, "--entrypoint", "bash", image, "-o", "pipefail", "-c", greedy],
    { allowFailure: true },
  );
  return code !== 0;
}

test("a table larger than the memory limit is snapshot and applied", async ({ skip }) => {
  if (!(await limitsAreEnforced())) skip("this engine does not enforce memory limits");
  const node = await start({ name: "memory", memoryMb: 256 });
  await fill(node, 320);
  const [size] = await node.query<{ mb: number }>(
    "select (pg_table_size('big') / 1024 / 1024)::int as mb",
  );
  expect(size?.mb).toBeGreaterThan(300);

  const snapshot = await takeSnapshot(node, { args: "parallel => 2" });
  await node.query("create database target");
  const target = { database: "target" };
  await node.query("create extension steep_repl cascade", [], target);
  await applySnapshot(node, snapshot.storage_path, { ...target, args: "parallel => 2" });
  expect(await digests(node, "target")).toEqual(await digests(node, "postgres"));

  expect(await node.inspect(".State.OOMKilled")).toBe("false");
  // no process was killed, after which the server would have started again
  expect(await node.log()).not.toContain("terminated by signal");
});
