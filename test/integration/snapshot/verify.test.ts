import { createHash } from "node:crypto";
import {
  appendFile,
  cp,
  mkdir,
  open,
  readFile,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { giveToServer } from "../../support/data-directory.ts";
import { inProject, run } from "../../support/pg.ts";
import { createRandom } from "../../support/random.ts";
import { createRole, dropRole } from "../../support/roles.ts";
import { type Server, startServer } from "../../support/server.ts";

interface Problem extends Record<string, unknown> {
  readonly file: string;
  readonly problem: string;
  readonly expected: string | null;
  readonly found: string | null;
}

interface Frame {
  readonly offset: number;
  readonly stored_bytes: number;
}

interface Manifest {
  readonly files: readonly {
    readonly name: string;
    readonly stored_bytes: number;
    readonly frames?: readonly Frame[];
  }[];
}

let server: Server;
let original: string;
/** A fresh copy for each test, to be damaged. */
let copy: string;
let manifest: Manifest;
/** Data files, the largest first. */
let dataFiles: readonly string[];

beforeAll(async () => {
  server = await startServer({ name: "verify" });
  await server.createDatabase("shop", { extension: true });
  const shop = await readFile(inProject("test/fixtures/shop.sql"), "utf8");
  await server.query(shop, [], { database: "shop" });
  original = join(server.snapshotDir, "original");
  copy = join(server.snapshotDir, "copy");
  const session = await server.connect({ database: "shop" });
  const started = await session.query("select snapshot_id from steep_repl.start_snapshot($1)", [
    original,
  ]);
  const ended = await session.query(
    "select status, error_message from steep_repl.wait_snapshot($1)",
    [started.rows[0].snapshot_id],
  );
  expect(ended.rows).toEqual([{ status: "complete", error_message: null }]);
  await session.end();

  manifest = JSON.parse(await readFile(join(original, "manifest.json"), "utf8"));
  dataFiles = manifest.files
    .filter((file) => file.frames)
    .sort((a, b) => b.stored_bytes - a.stored_bytes)
    .map((file) => file.name);
});
afterAll(() => server.destroy());

beforeEach(async () => {
  await rm(copy, { recursive: true, force: true });
  await cp(original, copy, { recursive: true });
  await giveToServer(copy);
});

function verify(path = copy, user = "postgres"): Promise<Problem[]> {
  return server.query<Problem>("select * from steep_repl.verify_snapshot($1)", [path], {
    database: "shop",
    user,
  });
}

function path(file: string): string {
  return join(copy, file);
}

function dataFile(n: number): string {
  const name = dataFiles[n];
  if (!name) throw new Error(`there is no data file ${n}`);
  return name;
}

async function flip(file: string, offset: number): Promise<void> {
  const handle = await open(file, "r+");
  try {
    const byte = Buffer.alloc(1);
    await handle.read(byte, 0, 1, offset);
    byte[0] = (byte[0] ?? 0) ^ 0x10;
    await handle.write(byte, 0, 1, offset);
  } finally {
    await handle.close();
  }
}

/** Rewrite the manifest's text, with a digest that is right again. */
async function forge(edit: (text: string) => string): Promise<void> {
  const text = await readFile(path("manifest.json"), "utf8");
  const edited = edit(text.slice(0, text.lastIndexOf('"sha256"')));
  const digest = createHash("sha256").update(edited).digest("hex");
  await writeFile(path("manifest.json"), `${edited}"sha256":"${digest}"}\n`);
}

test("a finished snapshot is sound", async () => {
  expect(await verify(original)).toEqual([]);
  expect(await verify(`${original}/`)).toEqual([]);
});

test("one flipped byte is found with its file and frame, wherever it is", async () => {
  const random = createRandom();
  for (const file of manifest.files) {
    if (file.stored_bytes === 0) continue;
    const offset = random.int(0, file.stored_bytes - 1);
    const frame = file.frames?.find(
      (f) => f.offset <= offset && offset < f.offset + f.stored_bytes,
    );
    await flip(path(file.name), offset);
    expect(await verify()).toMatchObject([
      {
        file: file.name,
        problem: `frame at offset ${frame?.offset ?? 0} changed: SHA-256 differs`,
        expected: expect.stringMatching(/^[0-9a-f]{64}$/),
        found: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    ]);
    await flip(path(file.name), offset);
  }
  expect(await verify()).toEqual([]);
});

test("a truncated and a longer file are found", async () => {
  const [first, second] = [dataFile(0), dataFile(1)];
  const size = manifest.files.find((file) => file.name === first)?.stored_bytes ?? 0;
  await truncate(path(first), size - 1);
  await appendFile(path(second), "x");
  const problems = await verify();
  expect(problems).toHaveLength(2);
  expect(problems).toContainEqual({
    file: first,
    problem: "truncated",
    expected: `${size} bytes`,
    found: `${size - 1} bytes`,
  });
  expect(problems).toContainEqual(expect.objectContaining({ file: second, problem: "too long" }));
});

test("a missing and an unknown file are found", async () => {
  await rm(path(dataFile(0)));
  await rm(path("toc.dat"));
  await writeFile(path("notes.txt"), "");
  await mkdir(path("folder"));
  const problems = await verify();
  expect(problems.map(({ file, problem }) => [file, problem]).sort()).toEqual(
    [
      [dataFile(0), "missing"],
      ["folder", "not named in the manifest"],
      ["notes.txt", "not named in the manifest"],
      ["toc.dat", "missing"],
    ].sort(),
  );
});

test("two files that were swapped are found", async () => {
  const [first, second] = [dataFile(0), dataFile(1)];
  await rename(path(first), path("aside"));
  await rename(path(second), path(first));
  await rename(path("aside"), path(second));
  expect((await verify()).map(({ file }) => file).sort()).toEqual([first, second].sort());
});

test("what is not a regular file is not read", async () => {
  const [first, second, third] = [dataFile(0), dataFile(1), dataFile(2)];
  for (const file of [first, second, third]) await rm(path(file));
  await symlink("/etc/passwd", path(first));
  await mkdir(path(second));
  await run("mkfifo", [path(third)]);
  const problems = await verify();
  expect(problems.map(({ file, problem }) => [file, problem]).sort()).toEqual(
    [
      [first, "a symbolic link"],
      [second, "not a regular file"],
      [third, "not a regular file"],
    ].sort(),
  );
});

test("an edited manifest is found", async () => {
  const text = await readFile(path("manifest.json"), "utf8");
  await writeFile(path("manifest.json"), text.replace('"database":"shop"', '"database":"shup"'));
  expect(await verify()).toMatchObject([
    { file: "manifest.json", problem: "changed: SHA-256 differs" },
  ]);
});

test("a manifest cut off anywhere is found", async () => {
  const text = await readFile(path("manifest.json"));
  for (const length of [0, 1, 76, Math.floor(text.length / 2), text.length - 1]) {
    await writeFile(path("manifest.json"), text.subarray(0, length));
    expect(await verify()).toMatchObject([
      { file: "manifest.json", problem: "truncated: does not end with its SHA-256" },
    ]);
  }
});

test("a directory without a manifest is no snapshot", async () => {
  await rm(path("manifest.json"));
  expect(await verify()).toEqual([
    {
      file: "manifest.json",
      problem: "missing: not a finished snapshot",
      expected: null,
      found: null,
    },
  ]);
});

test.each<[string, (text: string) => string, string]>([
  ["half of it", (t) => t.slice(0, t.length / 2), ""],
  ["an array", () => "[", "it is not an object"],
  ["no creator", (t) => t.replace(/"creator":"[^"]*",/, ""), '"creator" is missing'],
  ["no files", (t) => t.replace('"files":', '"other":'), '"files" is missing'],
  [
    "a key twice",
    (t) => t.replace('"creator"', '"creator":"x","creator"'),
    '"creator" is there twice',
  ],
  ["a negative count", (t) => t.replace(/"rows":\d+/, '"rows":-1'), '"rows" has an invalid value'],
  [
    "a fraction",
    (t) => t.replace(/"stored_bytes":\d+/, '"stored_bytes":1.5'),
    '"stored_bytes" has an invalid value',
  ],
  [
    "a number beyond 64 bits",
    (t) => t.replace(/"offset":\d+/, '"offset":99999999999999999999'),
    '"offset" has an invalid value',
  ],
  [
    "a digest in capitals",
    (t) => t.replace(/"sha256":"[0-9a-f]{64}/, (m) => m.replace(/[0-9a-f]{64}/, "A".repeat(64))),
    '"sha256" has an invalid value',
  ],
  [
    "a hundred thousand brackets",
    (t) => t.replace('"node_id":null', `"node_id":${"[".repeat(100_000)}`),
    "it is nested too deeply",
  ],
])("a manifest with a right digest but %s is refused", async (_, edit, reason) => {
  await forge(edit);
  const problems = await verify();
  expect(problems).toMatchObject([{ file: "manifest.json", problem: "not a valid manifest" }]);
  expect(problems[0]?.found).toContain(reason);
});

test.each(["../toc.dat", "/etc/passwd", ".hidden", "..", "manifest.json"])(
  "a manifest that names %s is refused",
  async (name) => {
    await forge((text) => text.replace('"name":"toc.dat"', `"name":"${name}"`));
    expect(await verify()).toEqual([
      { file: "manifest.json", problem: "names an invalid file", expected: null, found: name },
    ]);
  },
);

test.each<[string, (text: string) => string]>([
  ["a gap", (t) => t.replace('"offset":0,', '"offset":1,')],
  ["an overlap", (t) => t.replace(/("offset":0,.*?"stored_bytes":)(\d+)/, "$11$2")],
  ["a missing end", (t) => t.replace(/("offset":0,.*?"stored_bytes":)\d+/, "$10")],
  [
    "a size near 2^63",
    (t) => t.replace(/("offset":0,.*?"stored_bytes":)\d+/, `$1${2n ** 63n - 1n}`),
  ],
])("frames with %s are found", async (_, edit) => {
  await forge(edit);
  expect(await verify()).toMatchObject([{ problem: "frames do not cover the file" }]);
});

test("a file that the manifest names twice is found", async () => {
  await forge((text) => text.replace(/"files":\[\s*(\{.*?\})/s, '"files":[$1,$1'));
  expect(await verify()).toMatchObject([
    { file: "toc.dat", problem: "named twice in the manifest" },
  ]);
});

test("a later format is refused with what to do", async () => {
  await forge((text) => text.replace('"format_version":1', '"format_version":2'));
  await expect(verify()).rejects.toMatchObject({
    code: "0A000",
    message: "snapshot has format version 2, which is not supported",
    hint: expect.stringContaining("Update steep_repl"),
  });
});

test("members that a later version may add are passed over", async () => {
  await forge((text) =>
    text.replace(
      '"node_id":null',
      '"node_id":null,"files_more":[{"name":1}],"extra":{"files":[{"name":2}],"x":[[1]]}',
    ),
  );
  expect(await verify()).toEqual([]);
});

test("the path must be given, absolute, and that of a directory", async () => {
  await expect(verify(null as unknown as string)).rejects.toMatchObject({ code: "22004" });
  await expect(verify("relative/path")).rejects.toMatchObject({ code: "22023" });
  await expect(verify(join(copy, "nothing"))).rejects.toMatchObject({ code: "58P01" });
  await expect(verify(path("toc.dat"))).rejects.toThrow(/could not open directory/);
  await symlink(original, path("link"));
  await expect(verify(path("link"))).rejects.toMatchObject({ code: "42501" });
});

test("a role reads only snapshots of its own below the allowed directories", async () => {
  await server.query("create role stranger login");
  await server.query("create role helper login");
  await server.query("grant pg_read_server_files to helper");
  for (const role of ["stranger", "helper"]) {
    await server.query(`grant usage on schema steep_repl to ${role}`, [], { database: "shop" });
    await server.query(
      `grant execute on function steep_repl.verify_snapshot(text) to ${role}`,
      [],
      { database: "shop" },
    );
  }
  await expect(verify(copy, "stranger")).rejects.toMatchObject({ code: "42501" });
  await expect(verify("/tmp", "stranger")).rejects.toMatchObject({ code: "42501" });
  expect(await verify(copy, "helper")).toEqual([]);

  await server.query("grant postgres to stranger");
  expect(await verify(copy, "stranger")).toEqual([]);
});

test("a role that was made later under the maker's name is somebody else, in the same cluster", async () => {
  const system = JSON.parse(await readFile(path("manifest.json"), "utf8")).system_identifier;
  await server.query("create role later");
  await createRole(server, "shop", "cousin");
  await forge((text) => text.replace(/"creator":"[^"]*",/, '"creator":"later",'));
  await server.query("grant later to cousin");
  await expect(verify(copy, "cousin")).rejects.toMatchObject({ code: "42501" });
  // elsewhere the name is all that there is
  await forge((text) => text.replace(`"system_identifier":"${system}"`, '"system_identifier":"1"'));
  expect(await verify(copy, "cousin")).toEqual([]);
  await dropRole(server, "shop", "cousin");
  await server.query("drop role later");
});

test("what it opens is closed again, after an error too", async () => {
  await forge((text) => text.replace('"format_version":1', '"format_version":2'));
  const session = await server.connect({ database: "shop" });
  const openFiles = async () =>
    Number(
      (await session.query("select count(*) from pg_ls_dir('/proc/' || pg_backend_pid() || '/fd')"))
        .rows[0].count,
    );
  const before = await openFiles();
  for (let i = 0; i < 20; i++) {
    await session.query("select * from steep_repl.verify_snapshot($1)", [original]);
    const failing = session.query("select * from steep_repl.verify_snapshot($1)", [copy]);
    await expect(failing).rejects.toMatchObject({ code: "0A000" });
  }
  // the server's own cache of open relation files may have grown a little
  expect(await openFiles()).toBeLessThan(before + 10);
  await session.end();
});
