import { homedir, userInfo } from "node:os";

/** What of the process's surroundings decides about connections. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly user: string;
  readonly warn: (message: string) => void;
}

export function processEnvironment(warn: (message: string) => void): Environment {
  return {
    variables: process.env,
    home: process.env.HOME || homedir(),
    get user() {
      return userInfo().username;
    },
    warn,
  };
}
