import { create, type DescFile, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ServiceImpl } from "@connectrpc/connect";
import {
  type ServerReflection,
  type ServerReflectionRequest,
  ServerReflectionResponseSchema,
} from "../rpc/generated/reflection_pb.ts";

/** A file, and those that it imports. */
function withImports(file: DescFile): DescFile[] {
  return [file, ...file.dependencies.flatMap(withImports)];
}

/** Full names of what a file describes, nested messages included. */
function symbolsOf(file: DescFile): string[] {
  const messages = (list: DescFile["messages"]): string[] =>
    list.flatMap((m) => [
      m.typeName,
      ...m.nestedEnums.map((e) => e.typeName),
      ...messages(m.nestedMessages),
    ]);
  return [
    ...file.services.flatMap((s) => [
      s.typeName,
      ...s.methods.map((m) => `${s.typeName}.${m.name}`),
    ]),
    ...file.enums.map((e) => e.typeName),
    ...messages(file.messages),
  ];
}

/** What grpcurl asks for the services of some files. */
export function reflection(files: readonly DescFile[]): ServiceImpl<typeof ServerReflection> {
  const all = new Map(files.flatMap(withImports).map((file) => [`${file.name}.proto`, file]));
  const bySymbol = new Map([...all.values()].flatMap((f) => symbolsOf(f).map((name) => [name, f])));
  const describe = (file: DescFile | undefined, what: string) =>
    file === undefined
      ? ({
          case: "errorResponse",
          value: { errorCode: Code.NotFound, errorMessage: `${what} is not known` },
        } as const)
      : ({
          case: "fileDescriptorResponse",
          value: {
            fileDescriptorProto: withImports(file).map((f) =>
              toBinary(FileDescriptorProtoSchema, f.proto),
            ),
          },
        } as const);
  const answer = ({ messageRequest: { case: kind, value } }: ServerReflectionRequest) => {
    switch (kind) {
      case "listServices":
        return {
          case: "listServicesResponse",
          value: { service: files.flatMap((f) => f.services.map((s) => ({ name: s.typeName }))) },
        } as const;
      case "fileByFilename":
        return describe(all.get(value), value);
      case "fileContainingSymbol":
        return describe(bySymbol.get(value), value);
      default:
        return {
          case: "errorResponse",
          value: { errorCode: Code.Unimplemented, errorMessage: "there are no extensions" },
        } as const;
    }
  };
  return {
    async *serverReflectionInfo(requests) {
      for await (const request of requests)
        yield create(ServerReflectionResponseSchema, {
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request),
        });
    },
  };
}
