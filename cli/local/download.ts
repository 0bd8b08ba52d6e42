import { createHash, type Hash } from "node:crypto";
import { writeSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { CliError, exitCode } from "../cli-error.ts";
import { isConnectionLoss } from "../connection/connection-loss.ts";
import type { Invocation } from "../invocation.ts";
import type { Session } from "../session.ts";
import type { DownloadTarget } from "./download-target.ts";
import {
  type Frame,
  isCovered,
  type Manifest,
  manifestName,
  type SnapshotFile,
} from "./manifest.ts";
import { piecesOf, readPieces } from "./piece-stream.ts";
import { digestOf } from "./verify.ts";

const pieceBytes = 1024 * 1024;
/** Asked for at once: so long is a line of 40 ms and 10 Gbit/s. */
const batchBytes = 64 * 1024 * 1024;

/** Where a snapshot is on its server. */
export interface Source {
  readonly path: string;
  readonly manifestBytes: number;
  readonly sha256: string;
}

interface Batch {
  readonly file: SnapshotFile;
  readonly frames: readonly Frame[];
}

export interface DownloadOptions {
  readonly parallel: number;
  /** Seconds for which a lost connection is tried to be made again. */
  readonly reconnectTimeout: number;
  /** So many bytes more are here. */
  readonly onBytes: (bytes: number) => void;
}

/** The manifest as it is on the server. */
export async function downloadManifest(session: Session, source: Source): Promise<Buffer> {
  const parts: Buffer[] = [];
  const pieces = piecesOf(0, source.manifestBytes, pieceBytes);
  await readPieces(session, source.path, manifestName, pieces, (bytes) => {
    parts.push(Buffer.from(bytes));
  });
  return Buffer.concat(parts);
}

function* batchesOf({ files }: Manifest): Generator<Batch> {
  for (const file of files) {
    let frames: Frame[] = [];
    let bytes = 0;
    for (const frame of file.frames) {
      frames.push(frame);
      bytes += frame.stored_bytes;
      if (bytes < batchBytes) continue;
      yield { file, frames };
      [frames, bytes] = [[], 0];
    }
    if (frames.length > 0 || file.frames.length === 0) yield { file, frames };
  }
}

/** Downloads a snapshot's files, each frame of which is checked as it arrives. */
export class Download {
  readonly #invocation: Invocation;
  readonly #source: Source;
  readonly #target: DownloadTarget;
  readonly #options: DownloadOptions;
  readonly #sessions = new Set<Session>();
  #hasFailed = false;

  constructor(
    invocation: Invocation,
    source: Source,
    target: DownloadTarget,
    options: DownloadOptions,
  ) {
    this.#invocation = invocation;
    this.#source = source;
    this.#target = target;
    this.#options = options;
  }

  async run(manifest: Manifest): Promise<void> {
    const uncovered = manifest.files.find((file) => !isCovered(file));
    if (uncovered)
      throw new CliError(exitCode.failed, `the frames of file ${uncovered.name} do not cover it`);
    const batches = batchesOf(manifest);
    const workers = Array.from({ length: this.#options.parallel }, () => this.#work(batches));
    try {
      await Promise.all(workers);
    } finally {
      this.#hasFailed = true;
      for (const session of this.#sessions) session.destroy();
      await Promise.allSettled(workers);
    }
  }

  async #work(batches: Generator<Batch>): Promise<void> {
    let session: Session | undefined;
    for (const batch of batches) {
      if (this.#hasFailed) return;
      session = await this.#see(batch, session);
    }
    await session?.end();
  }

  /** Have a batch here and right, over a session that is made when it is needed; a line that is lost is taken up again. */
  async #see(batch: Batch, session: Session | undefined): Promise<Session | undefined> {
    const deadline = performance.now() + this.#options.reconnectTimeout * 1000;
    const file = await this.#target.openFile(batch.file.name);
    let current = session;
    try {
      let missing = await this.#missing(file, batch.frames);
      for (let pause = 100; missing.length > 0; pause = Math.min(pause * 2, 10_000)) {
        try {
          current ??= await this.#open();
          await this.#fetch(current, file, { ...batch, frames: missing });
          break;
        } catch (error) {
          if (current) this.#sessions.delete(current);
          current = undefined;
          if (!isConnectionLoss(error) || this.#hasFailed || performance.now() > deadline)
            throw error;
          await sleep(pause);
          missing = await this.#missing(file, missing);
        }
      }
      await file.sync();
      return current;
    } finally {
      await file.close();
    }
  }

  async #open(): Promise<Session> {
    const session = await this.#invocation.open();
    this.#sessions.add(session);
    return session;
  }

  /** Frames that are not here, or not right. */
  async #missing(file: FileHandle, frames: readonly Frame[]): Promise<Frame[]> {
    const { size } = await file.stat();
    const buffer = Buffer.allocUnsafe(pieceBytes);
    const missing: Frame[] = [];
    for (const frame of frames) {
      const isHere =
        frame.offset + frame.stored_bytes <= size &&
        (await digestOf(file, frame, buffer)) === frame.sha256;
      if (isHere) this.#options.onBytes(frame.stored_bytes);
      else missing.push(frame);
    }
    return missing;
  }

  async #fetch(
    session: Session,
    file: FileHandle,
    { file: { name }, frames }: Batch,
  ): Promise<void> {
    const pieces = frames.flatMap((f) => piecesOf(f.offset, f.stored_bytes, pieceBytes));
    let at = 0;
    let done = 0;
    let hash: Hash = createHash("sha256");
    // written at once, so that no more is in memory than has come
    await readPieces(session, this.#source.path, name, pieces, (bytes, { offset }) => {
      const frame = frames[at] as Frame;
      hash.update(bytes);
      for (let n = 0; n < bytes.length; )
        n += writeSync(file.fd, bytes, n, bytes.length - n, offset + n);
      done += bytes.length;
      if (done < frame.stored_bytes) return;
      if (hash.digest("hex") !== frame.sha256)
        throw new CliError(
          exitCode.failed,
          `file ${name} is not what the manifest says: SHA-256 of the frame at offset ${frame.offset} differs`,
          "see what is wrong with it on the server: snapshot verify",
        );
      this.#options.onBytes(frame.stored_bytes);
      hash = createHash("sha256");
      [at, done] = [at + 1, 0];
    });
  }
}
