import { createServer, type Server } from "node:http";
import { healthOf } from "./health.ts";
import { metrics } from "./metrics.ts";
import type { Sessions } from "./sessions.ts";

interface Answer {
  readonly status: number;
  /** text as it is; all else as JSON */
  readonly body: unknown;
}

/** What monitoring asks with plain HTTP: degraded still answers 200, unhealthy 503. */
async function answerTo(path: string, sessions: Sessions): Promise<Answer> {
  switch (path) {
    case "/live":
    case "/livez":
      return { status: 200, body: { status: "alive" } };
    case "/health":
    case "/ready":
    case "/readyz": {
      const status = await healthOf(sessions);
      return { status: status === "unhealthy" ? 503 : 200, body: { status } };
    }
    case "/metrics":
      return { status: 200, body: await metrics(sessions) };
    default:
      return { status: 404, body: { error: "there is /health, /ready, /live and /metrics" } };
  }
}

export function httpServer(sessions: Sessions): Server {
  return createServer((request, response) => {
    const reply = ({ status, body }: Answer) => {
      const isText = typeof body === "string";
      response.writeHead(status, {
        "content-type": isText ? "text/plain; version=0.0.4" : "application/json",
      });
      response.end(isText ? body : `${JSON.stringify(body)}\n`);
    };
    if (request.method !== "GET" && request.method !== "HEAD") {
      reply({ status: 405, body: { error: "only GET is answered" } });
      return;
    }
    const path = (request.url ?? "").split("?")[0] ?? "";
    answerTo(path, sessions).then(reply, (error: unknown) =>
      reply({ status: 500, body: { error: String(error) } }),
    );
  });
}
