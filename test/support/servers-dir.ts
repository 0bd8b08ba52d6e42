import { createHash } from "node:crypto";
import { statfsSync } from "node:fs";
import { inProject } from "./pg.ts";

const memory = "/dev/shm";
const tmpfsMagic = 0x01021994;
const roomBytes = 6e9;

function hasRoomInMemory(): boolean {
  try {
    const { type, blocks, bsize } = statfsSync(memory);
    return type === tmpfsMagic && blocks * bsize > roomBytes;
  } catch {
    return false;
  }
}

/**
 * Where the servers of tests live: in memory, where there is room. Each database that is created makes some hundred
 * files, and ext4 without a journal searches for an inode for each among those that were deleted of late: a sixth of the
 * CPU time of all tests. STEEP_TEST_SERVERS names another directory.
 */
export const serversDir =
  process.env.STEEP_TEST_SERVERS ??
  (hasRoomInMemory()
    ? `${memory}/steep-repl-tests-${createHash("sha256").update(inProject(".")).digest("hex").slice(0, 12)}`
    : inProject("build/test-servers"));
