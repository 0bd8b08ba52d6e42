const kilobyte = 1024;

/** Bytes as pg_size_pretty() writes them, up to terabytes: `96 kB`, `12 MB`. */
export function sizeText(bytes: number): string {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let size = bytes;
  let unit = 0;
  while (Math.abs(size) >= 10 * kilobyte && unit < units.length - 1) {
    size /= kilobyte;
    unit++;
  }
  return `${Math.round(size)} ${units[unit]}`;
}
