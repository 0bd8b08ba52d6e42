// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const controls = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

const names: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Text that stays on its line: what a table or a message is called must neither break an output
 * apart nor reach the terminal as a command.
 */
export function visible(text: string): string {
  return text.replace(
    controls,
    (c) => names[c] ?? `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A message of several lines as one. */
export function oneLine(text: string): string {
  return visible(text.trim().replace(/\s*\n\s*/g, "; "));
}
