import type { PgNode } from "./node.ts";

/** Whether a backslash can escape in plain literals there: from PostgreSQL 19 on it cannot. */
export async function hasOldStrings(node: PgNode): Promise<boolean> {
  try {
    await node.query("set standard_conforming_strings = off");
    return true;
  } catch (error) {
    if ((error as { code?: string }).code === "0A000") return false;
    throw error;
  }
}
