import { exitCode } from "./cli-error.ts";

type Handler = () => void;

const handlers: Handler[] = [];
let wasInterrupted = false;

/** Ctrl-C calls the latest handler; without one, or the second time, it ends the program. */
export function catchInterrupts(): void {
  process.on("SIGINT", () => {
    const handler = handlers.at(-1);
    if (!handler || wasInterrupted) process.exit(exitCode.interrupted);
    wasInterrupted = true;
    handler();
  });
}

/** Have a handler called on Ctrl-C for as long as an action runs. */
export async function onInterrupt<T>(handler: Handler, action: () => Promise<T>): Promise<T> {
  handlers.push(handler);
  try {
    return await action();
  } finally {
    handlers.splice(handlers.indexOf(handler), 1);
  }
}
