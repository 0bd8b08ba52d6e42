import { describe, expect, test } from "vitest";
import { startCli } from "../../support/cli.ts";
import { type CliPair, oneLine, setCliPair } from "../../support/cli-pair.ts";

let pair: CliPair;
setCliPair("cli-merge", (made) => {
  pair = made;
});

describe("merges", () => {
  const orders = ["--tables", "public.orders"];

  test("analyze-overlap counts", async () => {
    const counts = { local_only_count: 20, remote_only_count: 1, conflict_count: 0 };
    expect(await pair.json(1, ["analyze-overlap", "node-a", "node-b", ...orders])).toMatchObject([
      counts,
    ]);
    expect((await pair.on(1, ["analyze-overlap", "--peer", "node-b", ...orders])).stdout).toMatch(
      /public.orders +20 +1 /,
    );
    expect(await pair.on(2, ["analyze-overlap"])).toMatchObject({ stderr: oneLine });
    expect(await pair.on(2, ["analyze-overlap", "node-b", "node-a", ...orders])).toMatchObject({
      stderr: oneLine,
    });
    // as schema compare: which side is which must be certain
    for (const command of [["analyze-overlap"], ["merge", "start", "--yes"]]) {
      const { stderr } = await pair.on(2, [...command, "node-x", "node-b", ...orders]);
      expect(stderr).toContain('node "node-x" is not registered');
    }
  });

  test("start needs --yes, says who loses what, and undo takes it back", async () => {
    await pair.a.query("insert into public.orders values (30, 'here', 1)");
    await pair.b.query("insert into public.orders values (30, 'there', 1)");
    const start = ["merge", "start", "node-b", ...orders];
    expect(await pair.on(2, start)).toMatchObject({ stdout: "", stderr: oneLine });
    expect(await pair.json(1, [...start, "--dry-run"])).toMatchObject({
      dry_run: true,
      conflict_count: 1,
    });
    expect(await pair.on(2, [...start, "--yes", "--prefer", "node-c"])).toMatchObject({
      stderr: oneLine,
    });
    const merged = await pair.on(0, [...start, "--prefer", "node-a", "--yes"]);
    expect(merged.stderr).toContain(
      `node-b: host 127.0.0.1, port ${pair.b.port}, database postgres`,
    );
    expect(merged.stderr).toContain("LOSES: the peer loses 1 row, overwritten");
    expect(merged.stderr).toContain(
      "20 rows that only this side has are pushed: those that were deleted at the peer come back",
    );
    expect(merged.stderr).toContain(
      "1 rows that only the peer has are pulled: those that were deleted here come back",
    );
    expect(merged.stderr).toMatch(/\nto list the rows: .* --overlap-id overlap_\w+ -c /);
    expect(merged.stdout).toMatch(/rows_merged +22\n/);
    const [{ merge_id: id } = { merge_id: "" }] = await pair.json<{ merge_id: string }[]>(0, [
      "merge",
      "progress",
    ]);

    expect(await pair.on(2, ["merge", "undo", id])).toMatchObject({ stderr: oneLine });
    const undone = await pair.on(0, ["merge", "undo", id, "--yes"]);
    expect(undone.stderr).toContain("loses 1 changes, the peer");
    expect(await pair.b.query("select note from public.orders order by id")).toMatchObject([
      { note: "theirs" },
      { note: "there" },
    ]);
    expect(await pair.on(3, ["merge", "undo", "merge_x", "--yes"])).toMatchObject({
      stderr: oneLine,
    });
  });

  test("manual leaves conflicts, whose numbers are exact, to be resolved", async () => {
    const start = ["merge", "start", "node-b", ...orders, "--strategy", "manual", "--yes"];
    await pair.on(1, start);
    const listed = await pair.on(1, ["merge", "conflicts", "--json"]);
    const id = /"conflict_id":(\d+)/.exec(listed.stdout)?.[1] ?? "";
    expect(BigInt(id)).toBeGreaterThan(BigInt(Number.MAX_SAFE_INTEGER));
    expect(id).not.toBe(`${Number(id)}`);
    expect((await pair.on(1, ["merge", "conflicts"])).stdout).toContain(id);
    expect(await pair.on(2, ["merge", "resolve", id, "--choice", "mine"])).toMatchObject({
      stderr: oneLine,
    });
    expect(await pair.on(2, ["merge", "resolve", "x", "--choice", "local"])).toMatchObject({
      stderr: oneLine,
    });
    const resolved = (await pair.on(0, ["merge", "resolve", id, "--choice", "remote", "--json"]))
      .stdout;
    expect(resolved).toContain(`"conflict_id":${id},`);
    const again = ["merge", "resolve", id, "--choice", "remote"];
    const { stdout: refused } = await pair.on(3, again, { terminal: true });
    expect(refused).toMatch(/^steep-repl: [^\n]+\r\n$/);
    expect(await pair.json(0, ["merge", "conflicts"])).toEqual([]);
    await pair.on(0, ["analyze-overlap", "node-b", ...orders]);
  });

  test("on a terminal a merge and its undo show what is lost, ask, and show a bar", async () => {
    await pair.a.query("insert into public.orders values (40, 'here', 1)");
    await pair.b.query("insert into public.orders values (40, 'there', 1)");
    const noteOf40 = async () =>
      (await pair.b.query("select note from public.orders where id = 40"))[0]?.note;
    const answer = async (args: string[], keys: string) => {
      const running = startCli([...args, "-c", pair.a.uri()], { terminal: true });
      await running.until(/\? \[y\/N\]/);
      expect(running.printed).toMatch(/loses 1 (row|changes)/);
      running.type(keys);
      return running.end;
    };

    const start = ["merge", "start", "node-b", ...orders, "--prefer", "node-a"];
    expect(await answer(start, "n\n")).toMatchObject({ code: 4 });
    expect(await noteOf40()).toBe("there");
    const { code, stdout } = await answer(start, "y\n");
    expect(code).toBe(0);
    expect(stdout).toMatch(/[█░]/);
    expect(await noteOf40()).toBe("here");

    const [, id = ""] = /merge_id\S* +(merge_\w+)/.exec(stdout) ?? [];
    expect(await answer(["merge", "undo", id], "y\n")).toMatchObject({ code: 0 });
    expect(await noteOf40()).toBe("there");
  });

  test("a row that is changed while the question stands is left, and counts as one that differs", async () => {
    await pair.a.query("insert into public.orders values (50, 'here', 1), (51, 'here', 1)");
    const running = startCli(
      ["merge", "start", "node-b", ...orders, "--prefer", "node-a", "-c", pair.a.uri()],
      { terminal: true },
    );
    await running.until(/\? \[y\/N\]/);
    await pair.b.query("insert into public.orders values (50, 'newer', 1)");
    running.type("y\n");
    expect(await running.end).toMatchObject({ code: 1 });
    expect(
      await pair.b.query("select note from public.orders where id in (50, 51) order by id"),
    ).toMatchObject([{ note: "newer" }, { note: "here" }]);
    await pair.on(0, ["merge", "start", "node-b", ...orders, "--prefer", "node-a", "--yes"]);
  });

  test("a comparison is kept, listed, and merged as it was reviewed; what was left is listed", async () => {
    await pair.a.query("insert into public.orders values (61, 'here', 1), (62, 'here', 1)");
    await pair.b.query("insert into public.orders values (61, 'there', 1)");
    type Kept = { overlap_id: string; [count: string]: unknown };
    const reviewed = await pair.json<Kept>(1, ["overlap", "start", "node-b", ...orders]);
    expect(reviewed).toMatchObject({ local_only_count: 1, conflict_count: 1, status: "complete" });
    const { overlap_id: id } = reviewed;
    await pair.on(1, ["overlap", "start", "node-b", ...orders]);
    const kept = await pair.json<Kept[]>(0, ["overlap", "list"]);
    expect(kept.length).toBeGreaterThan(1);
    expect(kept.map(({ overlap_id }) => overlap_id)).toContain(id);
    expect(await pair.json(0, ["overlap", "tables", id])).toMatchObject([
      { table_name: "public.orders", local_only_count: 1, conflict_count: 1 },
    ]);

    const rows = ["overlap", "rows", "node-b", "public.orders"];
    const [latest] = await pair.json<Kept[]>(1, [...rows, "--category", "conflict"]);
    expect(latest).toMatchObject({ overlap_id: kept[0]?.overlap_id, key: { id: "61" } });
    expect(latest?.overlap_id).not.toBe(id);
    expect(await pair.json(1, [...rows, "--overlap-id", id, "--max-rows", "5"])).toMatchObject([
      { category: "conflict", overlap_id: id },
      { category: "local_only", overlap_id: id },
    ]);

    await pair.b.query("update public.orders set note = 'newer' where id = 61");
    const merge = ["merge", "start", "node-b", "--overlap-id", id];
    expect((await pair.on(1, [...merge, "--dry-run"])).stdout).toMatch(/rows_merged +1\n/);
    const merged = await pair.on(1, [...merge, "--yes"]);
    expect(merged.stderr).not.toContain("comparing");
    const [, left = ""] = /1 rows were left .* steep-repl (merge rows-left merge_\w+) -c /.exec(
      merged.stderr,
    ) as readonly string[];
    expect((await pair.on(1, left.split(" "))).stdout).toMatch(
      /public\.orders +\{"id": "61"\} +\S/,
    );

    // what is equal by now is no difference any more
    expect(await pair.json(1, rows)).toMatchObject([{ key: { id: "61" } }]);
    const [mergeId = ""] = left.split(" ").slice(-1);
    const undone = await pair.on(0, ["merge", "undo", mergeId, "--yes"]);
    expect(undone.stderr).not.toContain("warning");
    const again = await pair.on(0, ["merge", "undo", mergeId, "--yes"]);
    expect(
      again.stderr.match(/warning: merge "merge_\w+" was taken back already, by/g),
    ).toHaveLength(1);
    expect(again.stdout).toMatch(/warnings +\S*the merge was taken back already/);
  });

  test("nothing is left over", async () => {
    expect(await pair.json(0, ["ops", "leftovers"])).toEqual([]);
  });

  test("ops wait shows a comparison, too", async () => {
    const [job] = await pair.a.query<{ id: string }>(
      "select operation_id as id from steep_repl.start_overlap('node-b', '{public.orders}')",
    );
    // 1, as where it is waited for from the beginning: rows differ
    expect((await pair.on(1, ["ops", "wait", job?.id ?? ""])).stdout).toContain("complete");
  });

  test("a peer's password is in no list of processes and in no output", async () => {
    const peer = `host=127.0.0.1 port=${pair.b.port} dbname=postgres user=postgres password=topsecret`;
    const result = await pair.on(0, ["merge", "start", "--peer", peer, ...orders, "--yes"], {});
    expect(result.stdout + result.stderr).not.toContain("topsecret");
    expect(result.stdout).toContain(`port=${pair.b.port}`);
  });
});
