import * as grpc from "@grpc/grpc-js";
import { fromJSON } from "@grpc/proto-loader";
import { readWire, wirePackage } from "./wire.ts";

/* A client and a server of gRPC that have nothing in common with ours: another library, and the wire contract as it was written down. */

const typeOf = (type: string) => (type === "Timestamp" ? "google.protobuf.Timestamp" : type);

/** The contract, as grpc-js wants it. */
function describe(): grpc.GrpcObject {
  const { services, messages, enums } = readWire();
  const nested = {
    ...Object.fromEntries(Object.entries(enums).map(([name, values]) => [name, { values }])),
    ...Object.fromEntries(
      Object.entries(messages).map(([name, fields]) => {
        const oneof = Object.entries(fields).filter(([, f]) => f.oneof !== undefined);
        return [
          name,
          {
            fields: Object.fromEntries(
              Object.entries(fields).map(([label, f]) => [
                label,
                {
                  ...{ id: f.number, type: typeOf(f.type) },
                  ...(f.isRepeated ? { rule: "repeated" } : {}),
                  ...(f.isMap ? { keyType: "string" } : {}),
                },
              ]),
            ),
            ...(oneof.length > 0
              ? { oneofs: { [oneof[0]?.[1].oneof ?? ""]: { oneof: oneof.map(([l]) => l) } } }
              : {}),
          },
        ];
      }),
    ),
    ...Object.fromEntries(
      Object.entries(services).map(([name, rpcs]) => [
        name,
        {
          methods: Object.fromEntries(
            Object.entries(rpcs).map(([rpc, { request, response, isStream }]) => [
              rpc,
              {
                requestType: request,
                responseType: response,
                responseStream: isStream,
              },
            ]),
          ),
        },
      ]),
    ),
  };
  const contract = {
    nested: {
      google: {
        nested: {
          protobuf: {
            nested: {
              Timestamp: {
                fields: { seconds: { id: 1, type: "int64" }, nanos: { id: 2, type: "int32" } },
              },
            },
          },
        },
      },
      steep: { nested: { repl: { nested: { v1: { nested } } } } },
    },
  };
  // its types want comments, which reading does not
  const definition = fromJSON(contract as unknown as Parameters<typeof fromJSON>[0], {
    ...{ keepCase: true, longs: String, enums: String, defaults: true, oneofs: true },
  });
  return grpc.loadPackageDefinition(definition);
}

const root = describe();

/** A service of the contract, for clients (called with `new`) and servers (`.service`). */
export function wireService(name: string): grpc.ServiceClientConstructor {
  let at: unknown = root;
  for (const part of [...wirePackage.split("."), name]) at = (at as Record<string, unknown>)[part];
  return at as grpc.ServiceClientConstructor;
}

export type Message = Readonly<Record<string, unknown>>;

/** A client of one service. */
export class WireClient {
  readonly #client: grpc.Client;

  constructor(service: string, address: string, credentials = grpc.credentials.createInsecure()) {
    this.#client = new (wireService(service))(address, credentials);
  }

  /** @throws grpc.ServiceError */
  call(method: string, request: Message = {}, timeoutMs = 60_000): Promise<Message> {
    const rpc = (this.#client as unknown as Record<string, (...args: unknown[]) => unknown>)[
      method
    ];
    return new Promise((resolve, reject) => {
      rpc?.call(
        this.#client,
        request,
        new grpc.Metadata(),
        { deadline: Date.now() + timeoutMs },
        (error: grpc.ServiceError | null, response: Message) =>
          error === null ? resolve(response) : reject(error),
      );
    });
  }

  /** A stream: what it brought, and the error that it ended with. */
  open(method: string, request: Message = {}): grpc.ClientReadableStream<Message> {
    const rpc = (this.#client as unknown as Record<string, (...args: unknown[]) => unknown>)[
      method
    ];
    return rpc?.call(this.#client, request) as grpc.ClientReadableStream<Message>;
  }

  async stream(
    method: string,
    request: Message = {},
  ): Promise<{ readonly messages: Message[]; readonly error: grpc.ServiceError | undefined }> {
    const messages: Message[] = [];
    const stream = this.open(method, request);
    const error = await new Promise<grpc.ServiceError | undefined>((resolve) => {
      stream.on("data", (message: Message) => messages.push(message));
      stream.on("error", (e: grpc.ServiceError) => resolve(e));
      stream.on("end", () => resolve(undefined));
    });
    return { messages, error };
  }

  close(): void {
    this.#client.close();
  }
}
