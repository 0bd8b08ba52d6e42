import { execFileSync } from "node:child_process";
import { rm, symlink, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { type ApplyRow, endOfApply, startApply } from "../../support/apply.ts";
import { Archive, manifestText, sections, sha256 } from "../../support/archive.ts";
import {
  asLoader,
  evilFile,
  type HostileStage,
  setHostileStage,
  target,
} from "../../support/hostile.ts";
import { sampleMemory } from "../../support/processes.ts";
import { digests, freshPath, takeSnapshot } from "../../support/snapshots.ts";
import { waitUntil } from "../../support/wait-until.ts";

const source = { database: "source", user: "loader" };
let stage: HostileStage;
setHostileStage("apply-hostile-files", (made) => {
  stage = made;
});

test("the copy that is edited in nothing is applied by a plain role", async () => {
  await stage.expectWhole(await stage.apply(await stage.forge(() => {})));
});

describe("a manifest is refused whose", () => {
  const namesFile = (name: string) => (archive: Archive) => {
    archive.manifest.files.push({ name, kind: "data", stored_bytes: 0, sha256: sha256("") });
  };
  test.each<[what: string, edit: (archive: Archive) => unknown, code: string, says: RegExp]>([
    ["file has the name ..", namesFile(".."), "55000", /names an invalid file/],
    ["file leads out by ..", namesFile("../toc.dat"), "55000", /names an invalid file/],
    ["file leads out by a/..", namesFile("x/../../toc.dat"), "55000", /names an invalid file/],
    ["file is absolute", namesFile("/etc/passwd"), "55000", /names an invalid file/],
    ["file is below another", namesFile("x/y"), "55000", /names an invalid file/],
    ["file has no name", namesFile(""), "55000", /names an invalid file/],
    ["file is the manifest", namesFile("manifest.json"), "55000", /names an invalid file/],
    ["file is the marker", namesFile(".steep_repl"), "55000", /names an invalid file/],
    ["file is not there", namesFile("absent"), "XX001", /absent: missing/],
    [
      "file has a name of 300 bytes",
      namesFile("x".repeat(300)),
      "XX001",
      /missing|too long|opened/,
    ],
    [
      "file is named twice",
      (a) => a.manifest.files.push(structuredClone(a.file("item"))),
      "XX001",
      /named twice/,
    ],
    [
      "table of contents is not named",
      (a) => {
        a.manifest.files = a.manifest.files.filter((f) => f.name !== "toc.dat");
      },
      "XX001",
      /does not name file "toc.dat"/,
    ],
    [
      "data file is not named",
      (a) => {
        a.manifest.files = a.manifest.files.filter((f) => f.table !== "item");
      },
      "XX001",
      /does not name file|not named in the manifest/,
    ],
    [
      "files have no names",
      (a) => {
        a.manifest.files = [{}] as never;
      },
      "55000",
      /not a valid manifest.*"name" is missing/,
    ],
    [
      "compression is unknown",
      (a) => {
        a.manifest.compression = "rar";
      },
      "0A000",
      /unknown compression "rar"/,
    ],
    [
      "compression is another one's",
      (a) => {
        a.manifest.compression = "zstd";
      },
      "XX001",
      /does not name file ".*\.dat\.zst"/,
    ],
    [
      "encoding is unknown",
      (a) => {
        a.manifest.encoding = "x";
      },
      "0A000",
      /unknown encoding "x"/,
    ],
    [
      "encoding is one of clients only",
      (a) => {
        a.manifest.encoding = "SJIS";
      },
      "0A000",
      /unknown encoding "SJIS"/,
    ],
    [
      "LSN is none",
      (a) => {
        a.manifest.lsn = "'; drop table secret; --";
      },
      "22P02",
      /pg_lsn/,
    ],
    [
      "format is of the future",
      (a) => {
        a.manifest.format_version = 2;
      },
      "0A000",
      /format version 2/,
    ],
    [
      "nesting is deep",
      (a) => {
        a.manifest.extra = JSON.parse(`${"[".repeat(100)}${"]".repeat(100)}`);
      },
      "55000",
      /nested too deeply/,
    ],
    [
      "text holds a zero byte",
      (a) => {
        a.manifest.snapshot_id = "a\0b";
      },
      "55000",
      /not a valid manifest/,
    ],
  ])("%s", async (_, edit, code, says) => {
    await stage.expectRefused(await stage.apply(await stage.forge(edit)), code, says);
  });

  test("text is no UTF-8", async () => {
    const path = await stage.damage(async (a) => {
      const text = Buffer.from(manifestText({ ...a.manifest, node_id: "XY" }));
      text.write("\xff\xfe", text.indexOf("XY"), "latin1");
      const head = text.subarray(0, text.lastIndexOf('"sha256"'));
      await writeFile(
        join(a.path, "manifest.json"),
        Buffer.concat([head, Buffer.from(`"sha256":"${sha256(head)}"}\n`)]),
      );
    });
    await stage.expectRefused(await stage.apply(path), "55000", /not valid UTF-8/);
  });

  test("digest of itself is wrong", async () => {
    const path = await stage.damage((a) =>
      writeFile(
        join(a.path, "manifest.json"),
        manifestText(a.manifest).replace("loader", "postgres"),
      ),
    );
    await stage.expectRefused(await stage.apply(path), "55000", /SHA-256 differs/);
  });
});

/** With verification it is the same that verify.test.ts looks at: the soak tries both. */
const verifications = process.env.STEEP_SOAK ? ["true", "false"] : ["false"];

describe.each(verifications)("with verify => %s, data is refused", (verify) => {
  const given = { args: `parallel => 1, verify => ${verify}` };

  /** Replace the data file of a table by something else. */
  const replaced = (replace: (path: string, archive: Archive) => unknown) =>
    stage.damage(async (a) => {
      const path = join(a.path, a.file("item").name);
      await rm(path);
      await replace(path, a);
    });

  test("that is a symbolic link, be its target the right file", async () => {
    const path = await replaced((p, a) => symlink(join(stage.original, a.file("item").name), p));
    await stage.expectRefused(await stage.apply(path, given), "XX001", /symbolic link/);
  });

  test("that is a FIFO, which nobody writes to", async () => {
    const path = await replaced((p) => execFileSync("mkfifo", [p]));
    await stage.expectRefused(
      await stage.apply(path, given),
      "XX001",
      /not a regular file|not what the manif/,
    );
  });

  test("that is a directory", async () => {
    const path = await replaced((p) => execFileSync("mkdir", [p]));
    await stage.expectRefused(
      await stage.apply(path, given),
      "XX001",
      /not a regular file|not what the manif/,
    );
  });

  test("that is missing", async () => {
    const path = await replaced(() => {});
    await stage.expectRefused(
      await stage.apply(path, given),
      verify === "true" ? "XX001" : "58P01",
      /missing|No such file/,
    );
  });

  test("that is too short", async () => {
    const path = await stage.damage((a) => truncate(join(a.path, a.file("item").name), 10));
    await stage.expectRefused(
      await stage.apply(path, given),
      "XX001",
      /truncated|10 bytes instead of/,
    );
  });

  test.each<[what: string, edit: (archive: Archive) => unknown, says: RegExp]>([
    ["with a gap", (a) => shift(a, 1), /do not cover/],
    ["with an overlap", (a) => shift(a, -1), /do not cover/],
    [
      "with the same frame twice",
      (a) => a.file("item").frames.push(structuredClone(a.frame("item"))),
      /do not cover/,
    ],
    [
      "with its frames a second time",
      (a) => {
        const { frames } = a.file("item");
        frames.splice(0, 2, ...structuredClone(frames), ...structuredClone(frames));
      },
      /do not cover/,
    ],
    ["without its last frame", (a) => a.file("item").frames.pop(), /do not cover/],
    [
      "whose size is past the end",
      (a) => {
        a.frame("item").stored_bytes = 2n ** 62n;
      },
      /do not cover/,
    ],
    [
      "whose sizes wrap around",
      (a) => {
        const { frames } = a.file("item");
        const huge = { ...a.frame("item"), stored_bytes: 2n ** 63n - 1n };
        frames.unshift({ ...huge, offset: 0 }, { ...huge, offset: 2n ** 63n - 1n });
      },
      /do not cover/,
    ],
    [
      "whose file is said to have more rows",
      (a) => {
        a.file("item").rows = 1001;
      },
      /do not cover/,
    ],
    [
      "whose frame is said to have more rows",
      (a) => {
        a.file("item").rows = 1001;
        a.frame("item").rows = 1001;
      },
      /does not hold what the manifest says.*1000 rows in \d+ bytes were found, and not 1001/s,
    ],
    [
      "whose frame is said to have fewer rows",
      (a) => {
        a.file("item").rows = 999;
        a.frame("item").rows = 999;
      },
      /does not hold what the manifest says/,
    ],
    [
      "whose frame is said to have more bytes",
      (a) => {
        a.frame("item").raw_bytes = Number(a.frame("item").raw_bytes) + 1;
      },
      /does not hold what the manifest says/,
    ],
    [
      "whose frame is said to have all the bytes there are",
      (a) => {
        a.file("item").raw_bytes = 2n ** 63n - 1n;
        a.frame("item").raw_bytes = 2n ** 63n - 1n;
      },
      /does not hold what the manifest says/,
    ],
    [
      "whose frame is said to have fewer bytes",
      (a) => {
        a.frame("item").raw_bytes = 100;
      },
      /holds more data than the manifest says/,
    ],
    [
      "of another compression",
      (a) => a.setFrame("item", Buffer.from("1\tv1\n"), { rows: 1, raw_bytes: 5 }),
      /compressed data is damaged/,
    ],
    [
      "that ends in mid-stream",
      (a) =>
        a.setFrame("item", gzipSync("1\tv1\n2\tv2\n").subarray(0, -9), { rows: 2, raw_bytes: 10 }),
      /compressed data is damaged|does not hold/,
    ],
    [
      "with a column too many",
      (a) => a.setData("item", "1\ta\tb\n", 1),
      /extra data after last expected column/,
    ],
    [
      "that ends a row too late",
      (a) => a.setData("item", "1\ta\n\\.\n2\tb\n3\tc\n", 3),
      /does not hold what the manifest says|end-of-copy/,
    ],
    ["of invalid UTF-8", (a) => a.setData("item", Buffer.from("1\t\xff\n", "latin1"), 1), /0xff/],
    [
      "of invalid UTF-8 that claims to be SQL_ASCII",
      async (a) => {
        a.manifest.encoding = "SQL_ASCII";
        await a.setData("item", Buffer.from("1\t\xff\n", "latin1"), 1);
      },
      /0xff/,
    ],
    ["with a zero byte", (a) => a.setData("item", "1\ta\0b\n", 1), /0x00/],
  ])("%s", async (_, edit, says) => {
    const row = await stage.apply(await stage.forge(edit), given);
    expect(`${row.error_message}`).toMatch(says);
    expect(row.status).toBe("failed");
    expect((await digests(stage.server, "target"))["public.item"] ?? "0 0").toBe("0 0");
  });
});

/** Move the frames after the first one. */
function shift(archive: Archive, by: number): void {
  const [, ...later] = archive.file("item").frames;
  for (const frame of later) frame.offset = Number(frame.offset) + by;
}

describe("a decompression bomb", () => {
  /** The most memory that processes of an apply took at any moment, in KB, sampled while it runs. */
  async function peakWhile(path: string): Promise<{ row: ApplyRow; peak: number; ms: number }> {
    const gate = await stage.server.connect(target);
    await gate.query("begin; create schema gate");
    const started = await startApply(stage.server, path, {
      ...asLoader,
      args: "parallel => 1, verify => false",
    });
    const [pid] = await waitUntil(
      () => stage.server.pidsByApplicationName(`steep_repl ${started.snapshot_id} apply 1`),
      (pids) => pids.length === 1,
      "the applier runs",
    );
    await waitUntil(
      () =>
        stage.server.query<{ n: number }>(
          "select count(*)::int as n from pg_stat_activity where application_name like 'steep_repl % apply 1' and wait_event_type = 'Lock'",
        ),
      ([row]) => row?.n === 1,
      "the applier waits",
    );
    const memory = sampleMemory(pid ?? 0);
    const before = performance.now();
    await gate.query("rollback");
    await gate.end();
    const row = await endOfApply(stage.server, started, target);
    return { row, peak: memory.stop(), ms: performance.now() - before };
  }

  test.each(["gzip", "zstd", "lz4"])(
    "of %s with 100 MB is refused at once, in the memory of any other frame",
    async (compression) => {
      await stage.server.query(
        "create table big as select 1 as id, repeat('0', 1000000) as v from generate_series(1, 100)",
        [],
        source,
      );
      const path = freshPath(stage.server);
      stage.toRemove.push(path);
      await takeSnapshot(stage.server, {
        ...source,
        path,
        args: `compression => '${compression}', tables => '{public.big}'`,
      });
      await stage.server.query("drop table big", [], source);
      const archive = await Archive.copyOf(stage.server, path);
      stage.toRemove.push(archive.path);
      for (const frame of archive.file("big").frames) frame.raw_bytes = 1000;
      archive.file("big").raw_bytes = 1000;
      archive.add({ section: sections.preData, defn: "create schema gate" });
      await archive.write();
      const { row, peak, ms } = await peakWhile(archive.path);
      expect(row).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
      expect(row.error_message).toContain("holds more data than the manifest says");
      console.log(`${compression}: refused after ${ms.toFixed(0)} ms, peak ${peak} KB`);
      expect(ms).toBeLessThan(3000);
      expect(peak).toBeLessThan(80 * 1024);
    },
  );

  test("whose frame asks for a window of 2 GB is refused without it", async () => {
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
    const path = await stage.forge(async (a) => {
      a.manifest.compression = "zstd";
      for (const file of a.manifest.files) file.name = file.name.replace(/\.gz$/, ".zst");
      a.addSql("create schema gate");
      await a.setFrame("item", frame, { rows: 0, raw_bytes: 0 });
      a.toc.entries = a.toc.entries.filter((e) => !(e.desc === "TABLE DATA" && e.tag === "note"));
    });
    const { row, peak } = await peakWhile(path);
    expect(row).toMatchObject({ status: "failed", error_sqlstate: "XX001" });
    expect(row.error_message).toMatch(/too much memory/);
    expect(peak).toBeLessThan(80 * 1024);
  });
});

describe("instead of the COPY that pg_dump writes, refused is", () => {
  test.each([
    `copy public.item from program 'touch ${evilFile}';`,
    "copy public.item from '/etc/passwd';",
    "copy public.item to stdout;",
    "copy public.item to program 'cat';",
    "copy public.secret (id, v) from stdin;",
    "copy item (id, v) from stdin;",
    "copy other.public.item (id, v) from stdin;",
    "copy (select 1) to stdout;",
    "copy public.item (id, v) from stdin; drop table public.item;",
    "copy public.item (id, v) from stdin with (format binary);",
    "copy public.item (id, v) from stdin with (freeze);",
    "copy public.item (id, v) from stdin (delimiter 'x');",
    "copy public.item (id, v) from stdin (on_error ignore);",
    "copy public.item (id, v) from stdin where id < 10;",
    "insert into public.item values (1, 'x');",
    "create role evil;",
    "",
    ";",
    "not even sql",
    "copy public.item (id, id) from stdin;",
    "copy public.item (id, ctid) from stdin;",
    "copy public.item (id, nothing) from stdin;",
  ])("%s", async (copyStmt) => {
    const path = await stage.forge((a) => {
      a.entry("TABLE DATA", "item").copyStmt = copyStmt;
    });
    const row = await stage.apply(path);
    await stage.expectRefused(row, row.error_sqlstate ?? "", /item|syntax|column/);
  });

  test("one of a table of somebody else, which the archive names as its own", async () => {
    const path = await stage.forge((a) => {
      const entry = a.entry("TABLE DATA", "item");
      entry.tag = "secret";
      entry.copyStmt = "COPY public.secret (id, v) FROM stdin;\n";
    });
    await stage.expectRefused(
      await stage.apply(path),
      "42501",
      /permission denied for table secret/,
    );
  });

  test.each(["_apply_done", "work_queue", "snapshots", "_job_directories"])(
    "one of our own %s",
    async (table) => {
      const path = await stage.forge((a) => {
        const entry = a.entry("TABLE DATA", "item");
        Object.assign(entry, { schema: "steep_repl", tag: table });
        entry.copyStmt = `COPY steep_repl.${table} FROM stdin;\n`;
      });
      const row = await stage.apply(path);
      expect(row).toMatchObject({ status: "failed" });
      expect(["0A000", "42501"]).toContain(row.error_sqlstate);
    },
  );
});
