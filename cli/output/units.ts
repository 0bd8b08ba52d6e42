const units = ["kB", "MB", "GB", "TB", "PB"] as const;

/** Bytes for people, in steps of 1024 as PostgreSQL's own `pg_size_pretty` has them. */
export function bytes(count: number): string {
  let value = count;
  let unit: string = "bytes";
  for (const next of units) {
    if (value < 1024) break;
    value /= 1024;
    unit = next;
  }
  return `${unit === "bytes" ? value : value.toFixed(1)} ${unit}`;
}

/** Both: how much that is, and exactly. */
export function exactBytes(digits: string): string {
  const count = Number(digits);
  return count < 1024 ? `${digits} bytes` : `${bytes(count)} (${digits} bytes)`;
}

/** Seconds as 1:02:03, or 2:03. */
export function duration(seconds: number): string {
  const [s, m, h] = [seconds % 60, Math.floor(seconds / 60) % 60, Math.floor(seconds / 3600)];
  const pad = (n: number) => `${Math.floor(n)}`.padStart(2, "0");
  return h > 0 ? `${h}:${pad(m)}:${pad(s)}` : `${m}:${pad(s)}`;
}

/** A number of things: 1 warning, 2 warnings. */
export function counted(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}
