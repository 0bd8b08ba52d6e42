import type { Command } from "commander";
import { expect, test } from "vitest";
import { program } from "../../../cli/program.ts";

/** What --help prints of a command and of all below it. */
function helps(command: Command, path = ""): [string, string][] {
  const name = `${path} ${command.name()}`.trim();
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part), getOutHelpWidth: () => 100 });
  command.outputHelp();
  return [[name, text], ...command.commands.flatMap((child) => helps(child, name))];
}

const all = helps(program());

test.each(all)("%s --help", (_, text) => {
  expect(text).toMatchSnapshot();
});

test.each(all.filter(([, text]) => text.includes("--json")))(
  "%s has examples of itself",
  (name, text) => {
    expect(text).toContain(`Examples:\n  $ ${name}`);
  },
);

test("every flag of a function's argument has its name", () => {
  const flags = all.map(([, text]) => text).join();
  for (const name of [
    "slot-name",
    "last-modified-column",
    "catch-up-timeout",
    "other-subscribers",
  ]) {
    expect(flags).toContain(`--${name}`);
  }
});
