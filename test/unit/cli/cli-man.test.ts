import { expect, test } from "vitest";
import { leavesOf, manPage } from "../../../cli/man-page.ts";
import { program } from "../../../cli/program.ts";

/** The page as a reader sees it: without requests and escapes. */
const shown = manPage()
  .replace(/^\.(?:TP|PP|nf|fi)\n/gm, "")
  .replaceAll("\\-", "-")
  .replaceAll("\\&", "");

test("every command is there, with its arguments and what it does", () => {
  for (const command of leavesOf(program())) {
    const help = command.createHelp();
    expect(shown).toContain(`\n.SS ${help.commandUsage(command)}\n${command.description()}\n`);
  }
});

test.each(leavesOf(program()).map((command) => [command.name(), command] as const))(
  "every flag and every example of %s is there",
  (_, command) => {
    const help = command.createHelp();
    for (const option of help.visibleOptions(command)) {
      expect(shown).toContain(`\n.B ${option.flags}\n${help.optionDescription(option)}\n`);
    }
    let text = "";
    command.configureOutput({ writeOut: (part) => (text += part) }).outputHelp();
    const examples = text.match(/^ {2}\$ steep-repl .*/gm) ?? [];
    expect(examples.length).toBeGreaterThan(0);
    for (const example of examples) expect(shown).toContain(example.trim());
  },
);

test("exit codes are there", () => {
  expect(shown).toMatch(/\.SH EXIT CODES\n0 success/);
});

test("no line is taken for a request of roff that is none of ours", () => {
  const requests = new Set(manPage().match(/^[.'].*?(?= |$)/gm));
  expect([...requests].sort()).toEqual([".B", ".PP", ".SH", ".SS", ".TH", ".TP", ".fi", ".nf"]);
});
