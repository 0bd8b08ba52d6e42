import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type RunningCli, startCli } from "./cli.ts";
import { freePort } from "./free-port.ts";

/** The daemon that a page configures: its file is where steep-repl looks for it, and its ports are free ones. */
export class ManualDaemon {
  readonly #home: string;
  readonly #ports = new Map<string, number>();
  #running: RunningCli | undefined;

  constructor(home: string) {
    this.#home = home;
  }

  /** A text of the manual with the daemon's ports as they are here. */
  local(text: string): string {
    return text.replaceAll(/\b(15460|8080)\b/g, (port) => `${this.#ports.get(port) ?? port}`);
  }

  /** Start it with the content of a configuration file, in place of the one that runs. */
  async start(yaml: string, env: Readonly<Record<string, string>>): Promise<void> {
    await this.end();
    for (const port of ["15460", "8080"])
      if (!this.#ports.has(port)) this.#ports.set(port, await freePort());
    const directory = join(this.#home, ".config/steep");
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, "config.yaml"), this.local(yaml));
    this.#running = startCli(["daemon"], { env: { ...env, HOME: this.#home } });
    await this.#running.until(/HTTP on/);
  }

  async end(): Promise<void> {
    this.#running?.child.kill();
    await this.#running?.end;
    this.#running = undefined;
  }
}
