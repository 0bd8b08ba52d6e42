import { readFileSync } from "node:fs";

/* The wire contract as wire.txt has it, which was written down apart from the .proto files of the product. */

export interface WireField {
  readonly number: number;
  readonly type: string;
  readonly isRepeated: boolean;
  /** of a map, the type of its values; its keys are strings */
  readonly isMap: boolean;
  readonly oneof: string | undefined;
}

export interface WireRpc {
  readonly request: string;
  readonly response: string;
  readonly isStream: boolean;
}

export interface WireContract {
  readonly services: Readonly<Record<string, Readonly<Record<string, WireRpc>>>>;
  readonly messages: Readonly<Record<string, Readonly<Record<string, WireField>>>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export const wirePackage = "steep.repl.v1";

export function readWire(): WireContract {
  const services: Record<string, Record<string, WireRpc>> = {};
  const messages: Record<string, Record<string, WireField>> = {};
  const enums: Record<string, Record<string, number>> = {};
  let add: (line: string) => void = () => {};
  const text = readFileSync(new URL("wire.txt", import.meta.url), "utf8");
  for (const line of text.split("\n").filter((l) => l.trim() !== "" && !l.startsWith("#"))) {
    const [, kind, name = "", oneof] =
      /^(service|message|enum) (\w+)(?: oneof (\w+))?$/.exec(line) ?? [];
    if (kind === undefined) add(line.trim());
    else if (kind === "service") {
      const rpcs: Record<string, WireRpc> = {};
      services[name] = rpcs;
      add = (rpc) => {
        const [, method = "", request = "", stream, response = ""] =
          /^rpc (\w+)\((\w+)\) -> (stream )?(\w+)$/.exec(rpc) ?? [];
        rpcs[method] = { request, response, isStream: stream !== undefined };
      };
    } else if (kind === "enum") {
      const values: Record<string, number> = {};
      enums[name] = values;
      add = (value) => {
        const [label = "", number] = value.split(" = ");
        values[label] = Number(number);
      };
    } else {
      const fields: Record<string, WireField> = {};
      messages[name] = fields;
      add = (field) => {
        const [, label = "", number, repeated, map, plain] =
          /^(\w+) (\d+) (repeated )?(?:map<string, (\w+)>|(\w+))$/.exec(field) ?? [];
        fields[label] = {
          ...{ number: Number(number), type: map ?? plain ?? "", oneof },
          ...{ isRepeated: repeated !== undefined, isMap: map !== undefined },
        };
      };
    }
  }
  return { services, messages, enums };
}
