import { Code, ConnectError, type ServiceImpl } from "@connectrpc/connect";
import type { InitService } from "../rpc/generated/steep_repl_pb.ts";

type InitializationRpcs = Pick<
  ServiceImpl<typeof InitService>,
  | "startInit"
  | "prepareInit"
  | "completeInit"
  | "cancelInit"
  | "getProgress"
  | "streamProgress"
  | "startReinit"
>;

function refuse(): never {
  throw new ConnectError(
    "this daemon does not initialize nodes; copy with GenerateSnapshot and ApplySnapshot, and make the subscription in PostgreSQL",
    Code.Unimplemented,
  );
}

/** The predecessor's RPCs for a new node, of which there are none yet. */
export const initialization: InitializationRpcs = {
  startInit: refuse,
  prepareInit: refuse,
  completeInit: refuse,
  cancelInit: refuse,
  getProgress: refuse,
  streamProgress: refuse,
  startReinit: refuse,
};
