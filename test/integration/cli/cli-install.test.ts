import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { inProject, run } from "../../support/pg.ts";

let directory: string;
/** npm must neither look for the checkout's packages nor ask the registry. */
const env = { npm_config_offline: "true", npm_config_update_notifier: "false" };

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "steep-install-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

test("the package that make npm makes installs by itself and needs no other", async () => {
  const pack = ["pack", inProject("build/cli"), "--pack-destination", directory];
  const tarball = (await run("npm", pack, { env, cwd: directory })).stdout.trim();
  const prefix = join(directory, "prefix");
  const install = ["install", "-g", "--prefix", prefix, join(directory, tarball)];
  await run("npm", install, { env, cwd: directory });

  const control = readFileSync(inProject("steep_repl.control"), "utf8");
  const version = /^default_version = '(.*)'$/m.exec(control)?.[1];
  const program = join(prefix, "bin/steep-repl");
  expect(tarball).toBe(`steep-repl-${version}.tgz`);
  expect((await run(program, ["--version"], { cwd: "/" })).stdout).toBe(`${version}\n`);
  const page = readFileSync(join(prefix, "share/man/man1/steep-repl.1"), "utf8");
  expect(page).toMatch(/^\.SS steep\\-repl merge start /m);
  // this one loads the driver
  const installed = join(prefix, "lib/node_modules/steep-repl");
  for (const file of ["LICENSE", "LICENSES-OF-OTHERS", "README.md"]) {
    expect(existsSync(join(installed, file))).toBe(true);
  }
  // some packages have no license in a file: their notices and its text stand in for that
  const licenses = readFileSync(join(installed, "LICENSES-OF-OTHERS"), "utf8").split(
    "-".repeat(80),
  );
  const connect = licenses.find((license) => license.trim().startsWith("@connectrpc/connect "));
  expect(connect).toMatch(/The Connect Authors[\s\S]*TERMS AND CONDITIONS FOR USE/);
  const refused = await run(program, ["health", "-c", "host=127.0.0.1 port=1"], {
    cwd: "/",
    allowFailure: true,
  });
  expect(refused).toMatchObject({ code: 6, stdout: "" });
  expect(refused.stderr).toMatch(/^steep-repl: connection to server .* refused; hint: .*\n$/);
});
