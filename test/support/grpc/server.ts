import * as grpc from "@grpc/grpc-js";
import { type Message, wireService } from "./peer.ts";

/** What a method answers: a message, bytes as they are, or an error with its status. */
export type Answer = Message | Buffer | Partial<grpc.StatusObject>;

export type Call = grpc.ServerUnaryCall<Message, unknown> &
  grpc.ServerWritableStream<Message, unknown>;

/** A unary method gives its answer, or nothing, and hangs; a streaming one writes, and ends by itself. */
export type Method = (request: Message, call: Call) => unknown;

/** By `Service.Method`. */
export type Methods = Readonly<Record<string, Method>>;

/** An error of a status. */
export const fails = (code: grpc.status, details: string) => ({ code, details });

function isError(answer: Answer): answer is Partial<grpc.StatusObject> {
  return !Buffer.isBuffer(answer) && "code" in answer && "details" in answer;
}

/** A server of another library that answers as a test says; all else is UNIMPLEMENTED. */
export class WireServer {
  readonly port: number;
  /** The requests that came, by `Service.Method`. */
  readonly requests: (readonly [method: string, request: Message])[];
  readonly #server: grpc.Server;

  private constructor(server: grpc.Server, port: number, requests: WireServer["requests"]) {
    this.#server = server;
    this.port = port;
    this.requests = requests;
  }

  static async start(
    methods: Methods,
    credentials = grpc.ServerCredentials.createInsecure(),
  ): Promise<WireServer> {
    const server = new grpc.Server({ "grpc.max_send_message_length": -1 });
    const requests: (readonly [string, Message])[] = [];
    for (const [name, method] of Object.entries(methods)) {
      const [service = "", rpc = ""] = name.split(".");
      const definition = wireService(service).service[rpc];
      if (definition === undefined) throw new Error(`the contract has no ${name}`);
      server.register(
        definition.path,
        ((call: Call, answer: grpc.sendUnaryData<unknown>) => {
          requests.push([name, call.request]);
          if (definition.responseStream) void method(call.request, call);
          else void reply(method(call.request, call), answer);
        }) as Parameters<typeof server.register<Message, unknown>>[1],
        (value: unknown) =>
          Buffer.isBuffer(value) ? value : definition.responseSerialize(value as object),
        definition.requestDeserialize,
        definition.responseStream ? "serverStream" : "unary",
      );
    }
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync("127.0.0.1:0", credentials, (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return new WireServer(server, port, requests);
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Cut every connection. */
  stop(): void {
    this.#server.forceShutdown();
  }
}

async function reply(made: ReturnType<Method>, answer: grpc.sendUnaryData<unknown>): Promise<void> {
  const value = (await made) as Answer | undefined;
  if (value === undefined) return;
  if (isError(value)) answer(value as grpc.ServerErrorResponse);
  else answer(null, value);
}
