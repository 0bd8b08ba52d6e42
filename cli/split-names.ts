/** Split a list at its commas, but not at those within double quotes. The quotes stay. */
export function splitNames(text: string): string[] {
  return (text.match(/(?:"(?:[^"]|"")*"|[^,])+/g) ?? []).map((name) => name.trim());
}

/** A name without the quotes that it needed on the command line. */
export function unquote(name: string): string {
  return /^"(?:[^"]|"")*"$/.test(name) ? name.slice(1, -1).replaceAll('""', '"') : name;
}
