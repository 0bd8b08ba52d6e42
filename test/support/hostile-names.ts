/** Names that are hard to quote, each valid for a table and a column. */
export const hostileNames = [
  'a"b',
  "it's",
  "new\nline",
  "🐘",
  "ä".repeat(31),
  "select",
  "a.b",
  "%I $1 {}",
] as const;
