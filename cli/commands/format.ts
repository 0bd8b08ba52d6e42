import type { Format } from "../output/output.ts";
import { duration, exactBytes } from "../output/units.ts";

const paths: ReadonlySet<string> = new Set(["path", "storage_path", "output_path", "input_path"]);
const sizes: ReadonlySet<string> = new Set(["size_bytes", "bytes_processed"]);

/** Values for people: paths with their server, sizes in bytes, percentages. */
export function formatFor(serverName: string): Format {
  return formatAt(`server ${serverName}`);
}

/** The same with the words for where paths are. */
export function formatAt(place: string): Format {
  return (column, value) => {
    if (paths.has(column)) return `${value} on ${place}`;
    if (sizes.has(column)) return exactBytes(value);
    if (column === "throughput_bytes_sec") return `${(Number(value) / 1e6).toFixed(1)} MB/s`;
    if (column === "overall_percent") return `${value}%`;
    if (column === "eta_seconds") return duration(Number(value));
    return undefined;
  };
}
