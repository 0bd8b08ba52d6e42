import { constants } from "node:fs";
import { mkdir, open, readdir, rename, unlink } from "node:fs/promises";
import { join } from "node:path";
import { CliError, exitCode, usageError } from "../cli-error.ts";
import { type Manifest, manifestName, parseManifest, readManifest } from "./manifest.ts";

const unfinishedName = `${manifestName}.tmp`;

/** A directory of this machine that a snapshot is downloaded to. */
export class DownloadTarget {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Make it, or find what an earlier download of the same snapshot has left.
   *
   * @param sha256 of the snapshot's manifest
   * @param fetch its bytes, where they are not here
   */
  async begin(sha256: string, fetch: () => Promise<Buffer>): Promise<Manifest> {
    await mkdir(this.path, { recursive: true, mode: 0o700 });
    const names = await readdir(this.path);
    for (const name of [manifestName, unfinishedName]) {
      if (!names.includes(name)) continue;
      const earlier = await readManifest(this.path, name).catch(() => undefined);
      if (earlier?.sha256 === sha256) {
        await rename(join(this.path, name), join(this.path, unfinishedName));
        return checked(earlier);
      }
      if (earlier !== undefined || name === manifestName)
        throw usageError(`${this.path} holds another snapshot`, "give another directory");
    }
    if (names.some((name) => name !== unfinishedName))
      throw usageError(`${this.path} is not empty`, "give a new or an empty directory");
    const bytes = await fetch();
    const manifest = checked(parseManifest(bytes));
    if (manifest.sha256 !== sha256)
      throw new CliError(exitCode.failed, "the snapshot was replaced while its manifest was read");
    await this.#write(unfinishedName, bytes);
    return manifest;
  }

  /** Open a file for reading and writing, which is there or is made. */
  openFile(name: string) {
    const { O_RDWR, O_CREAT, O_NOFOLLOW } = constants;
    return open(join(this.path, name), O_RDWR | O_CREAT | O_NOFOLLOW, 0o600);
  }

  /** All is here: now it is a snapshot. */
  async finish(): Promise<void> {
    await rename(join(this.path, unfinishedName), join(this.path, manifestName));
    const directory = await open(this.path, constants.O_RDONLY);
    await directory.sync().finally(() => directory.close());
  }

  async #write(name: string, bytes: Buffer): Promise<void> {
    await unlink(join(this.path, name)).catch(() => {});
    const { O_WRONLY, O_CREAT, O_EXCL } = constants;
    const file = await open(join(this.path, name), O_WRONLY | O_CREAT | O_EXCL, 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

/** What is named like a file of ours, once. */
function checked(manifest: Manifest): Manifest {
  const names = manifest.files.map(({ name }) => name);
  const wrong = names.find(
    (name) => !/^((blob_)?\d+\.dat(\.gz|\.lz4|\.zst)?|blobs_\d+\.toc|toc\.dat)$/.test(name),
  );
  if (wrong !== undefined)
    throw new CliError(
      exitCode.failed,
      `the manifest names a file that none of a snapshot is called like: ${JSON.stringify(wrong)}`,
    );
  if (new Set(names).size !== names.length)
    throw new CliError(exitCode.failed, "the manifest names a file twice");
  return manifest;
}
