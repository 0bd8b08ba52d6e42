import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import {
  type Health,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as ServingStatus,
} from "../rpc/generated/health_pb.ts";
import { pause } from "./pause.ts";
import type { Sessions } from "./sessions.ts";

const watchMs = 2000;
/** Who asks for health does not wait longer for it, in ms. */
export const healthMs = 5000;

/** `healthy`, `degraded` or `unhealthy`; unhealthy where PostgreSQL does not answer. */
export async function healthOf(sessions: Sessions): Promise<string> {
  try {
    const row = await sessions.use(
      (session) => session.row("select status from steep_repl.health()"),
      healthMs,
    );
    return row.values.status ?? "unhealthy";
  } catch {
    return "unhealthy";
  }
}

/** The standard health service; `names` are the services that there are, and "" is all. */
export function standardHealth(
  sessions: Sessions,
  names: readonly string[],
): ServiceImpl<typeof Health> {
  const status = async () =>
    (await healthOf(sessions)) === "unhealthy" ? ServingStatus.NOT_SERVING : ServingStatus.SERVING;
  const isKnown = (service: string) => service === "" || names.includes(service);
  return {
    check: async ({ service }) => {
      if (!isKnown(service))
        throw new ConnectError(`there is no service ${service}`, Code.NotFound);
      return create(HealthCheckResponseSchema, { status: await status() });
    },

    async *watch({ service }, { signal }) {
      let last: ServingStatus | undefined;
      while (!signal.aborted) {
        const now = isKnown(service) ? await status() : ServingStatus.SERVICE_UNKNOWN;
        if (now !== last) yield create(HealthCheckResponseSchema, { status: now });
        last = now;
        await pause(watchMs, signal);
      }
    },
  };
}
