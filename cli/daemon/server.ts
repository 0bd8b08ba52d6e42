import { readFileSync } from "node:fs";
import type { Server } from "node:http";
import {
  createSecureServer,
  createServer,
  type Http2Server,
  type ServerHttp2Session,
} from "node:http2";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { connectNodeAdapter } from "@connectrpc/connect-node";
import { usageError } from "../cli-error.ts";
import { file_health, Health } from "../rpc/generated/health_pb.ts";
import { file_reflection, ServerReflection } from "../rpc/generated/reflection_pb.ts";
import { Coordinator, file_steep_repl, InitService } from "../rpc/generated/steep_repl_pb.ts";
import type { DaemonConfig } from "./config.ts";
import { coordinator } from "./coordinator.ts";
import { standardHealth } from "./health.ts";
import { httpServer } from "./http.ts";
import { initialization } from "./initialization.ts";
import { merges } from "./merges.ts";
import { reflection } from "./reflection.ts";
import { schemas } from "./schemas.ts";
import type { Sessions } from "./sessions.ts";
import { snapshots } from "./snapshots.ts";

/** No request of ours is longer. */
const maxRequestBytes = 4 * 1024 * 1024;
/** More are refused: of one client at once, and of clients. */
const maxStreams = 100;
const maxClients = 1000;
/** Streams that a stop has told to end have so long. */
const stopMs = 10_000;

export interface Daemon {
  readonly grpcPort: number;
  readonly httpPort: number | undefined;
  /** Streams end with UNAVAILABLE; jobs go on in the server. */
  stop(): Promise<void>;
}

function routes(config: DaemonConfig, sessions: Sessions) {
  return (router: ConnectRouter) => {
    router.service(Coordinator, coordinator(config, sessions, Date.now()));
    router.service(InitService, {
      ...snapshots(config, sessions),
      ...schemas(sessions),
      ...merges(sessions),
      ...initialization(sessions),
    });
    router.service(Health, standardHealth(sessions, [Coordinator.typeName, InitService.typeName]));
    router.service(ServerReflection, reflection([file_steep_repl, file_health, file_reflection]));
  };
}

function listen(server: Server | Http2Server, port: number, host: string): Promise<number> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      const address = server.address();
      resolve(typeof address === "object" && address !== null ? address.port : port);
    });
  });
}

function secureOptions({ cert, key, ca }: NonNullable<DaemonConfig["grpc"]["tls"]>) {
  const read = (path: string) => {
    try {
      return readFileSync(path);
    } catch (error) {
      throw usageError(`cannot read ${path}: ${(error as Error).message}`);
    }
  };
  return {
    cert: read(cert),
    key: read(key),
    minVersion: "TLSv1.3",
    allowHTTP1: false,
    ...(ca === undefined ? {} : { ca: read(ca), requestCert: true, rejectUnauthorized: true }),
  } as const;
}

/**
 * Answer RPCs until `stop`. Without TLS only this machine can connect, unless `insecure` says that
 * everybody may.
 */
export async function startDaemon(
  config: DaemonConfig,
  sessions: Sessions,
  insecure: boolean,
): Promise<Daemon> {
  const stopping = new AbortController();
  const handler = connectNodeAdapter({
    routes: routes(config, sessions),
    connect: false,
    grpcWeb: false,
    readMaxBytes: maxRequestBytes,
    shutdownSignal: stopping.signal,
  });
  const { tls } = config.grpc;
  const settings = { maxConcurrentStreams: maxStreams };
  const server: Http2Server = tls
    ? createSecureServer({ ...secureOptions(tls), settings }, handler)
    : createServer({ settings }, handler);
  server.maxConnections = maxClients;
  const open = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    open.add(session);
    session.on("close", () => open.delete(session));
  });
  const grpcPort = await listen(server, config.grpc.port, tls || insecure ? "::" : "127.0.0.1");
  const http = config.http.enabled ? httpServer(sessions) : undefined;
  const httpPort = http && (await listen(http, config.http.port, config.http.bind));
  return {
    grpcPort,
    httpPort,
    async stop() {
      stopping.abort(new ConnectError("the daemon stops; the job goes on", Code.Unavailable));
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const session of open) session.close();
      const timer = setTimeout(() => {
        for (const session of open) session.destroy();
      }, stopMs);
      await closed;
      clearTimeout(timer);
      http?.closeAllConnections();
      await new Promise<void>((resolve) => (http ? http.close(() => resolve()) : resolve()));
      await sessions.end();
    },
  };
}
