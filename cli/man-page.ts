import type { Command, Option } from "commander";
import { program } from "./program.ts";
import { version } from "./version.ts";

/** The manual page steep-repl(1), as roff: what --help says of each command, in one document. */
export function manPage(root: Command = program()): string {
  const leaves = leavesOf(root);
  const common = commonFlags(leaves);
  return [
    `.TH STEEP\\-REPL 1 "" "steep\\-repl ${version}" "steep_repl"`,
    ...[".SH NAME", `steep\\-repl \\- ${text(firstWordLower(root.description()))}`],
    ...[".SH SYNOPSIS", ".B steep\\-repl", text("<command> [options] [arguments]")],
    ...[".SH DESCRIPTION", text(root.description())],
    ...groupsOf(root).map((group) => `.PP\n.B ${text(group.name())}\n${text(group.description())}`),
    ".SH COMMANDS",
    ...leaves.flatMap((command) => section(command, common)),
    ".SH OPTIONS OF EVERY COMMAND THAT CONNECTS",
    ...leaves
      .filter(connects)
      .slice(0, 1)
      .flatMap((command) =>
        optionsOf(command)
          .filter((option) => common.has(option.flags))
          .map((option) => describe(command, option)),
      ),
    ...optionsOf(root)
      .filter((option) => !common.has(option.flags))
      .map((option) => describe(root, option)),
    ...addedHelp(root).map(([title, lines]) => `.SH ${title.toUpperCase()}\n${verbatim(lines)}`),
    "",
  ].join("\n");
}

/** Commands that do something. */
export function leavesOf(command: Command): readonly Command[] {
  return command.commands.length === 0 ? [command] : command.commands.flatMap(leavesOf);
}

function groupsOf(root: Command): readonly Command[] {
  return root.commands.filter((command) => command.commands.length > 0);
}

function optionsOf(command: Command): readonly Option[] {
  return command.createHelp().visibleOptions(command);
}

/** All but those that serve. */
function connects(command: Command): boolean {
  return command.options.some((option) => option.long === "--connection");
}

function commonFlags(leaves: readonly Command[]): ReadonlySet<string> {
  const [first, ...others] = leaves
    .filter(connects)
    .map((command) => new Set(optionsOf(command).map((option) => option.flags)));
  return new Set([...(first ?? [])].filter((flags) => others.every((other) => other.has(flags))));
}

function section(command: Command, common: ReadonlySet<string>): string[] {
  const help = command.createHelp();
  const examples = addedHelp(command).flatMap(([, lines]) => lines);
  return [
    `.SS ${text(help.commandUsage(command))}`,
    text(help.commandDescription(command)),
    ...optionsOf(command)
      .filter((option) => !common.has(option.flags))
      .map((option) => describe(command, option)),
    ...(examples.length > 0 ? [".PP", verbatim(examples)] : []),
  ];
}

function describe(command: Command, option: Option): string {
  return `.TP\n.B ${text(option.flags)}\n${text(command.createHelp().optionDescription(option))}`;
}

/** What is added to a command's help: titles, each with the lines below it. */
function addedHelp(command: Command): [title: string, lines: string[]][] {
  let help = "";
  const output = command.configureOutput();
  command.configureOutput({ ...output, writeOut: (part) => (help += part) });
  command.outputHelp();
  command.configureOutput(output);

  const sections: [string, string[]][] = [];
  for (const line of help.slice(command.helpInformation().length).split("\n")) {
    const title = /^(\S.*):$/.exec(line)?.[1];
    if (title !== undefined) sections.push([title, []]);
    else if (line.trim() !== "") sections.at(-1)?.[1].push(line.replace(/^ {2}/, ""));
  }
  return sections;
}

function verbatim(lines: readonly string[]): string {
  return [".nf", ...lines.map(text), ".fi"].join("\n");
}

/** As roff has it: nothing in it is a request or an escape, and a hyphen can be copied. */
function text(plain: string): string {
  const escaped = plain.replaceAll("\\", "\\e").replaceAll("-", "\\-");
  return /^[.']/.test(escaped) ? `\\&${escaped}` : escaped;
}

function firstWordLower(sentence: string): string {
  return sentence.charAt(0).toLowerCase() + sentence.slice(1).replace(/\.$/, "");
}
