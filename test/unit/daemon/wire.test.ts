import { type DescField, ScalarType } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { file_steep_repl } from "../../../cli/rpc/generated/steep_repl_pb.ts";
import { readWire, type WireField } from "../../support/grpc/wire.ts";

const wire = readWire();

const lastWord = (name: string) => name.slice(name.lastIndexOf(".") + 1);

function typeOf(field: DescField): string {
  if (field.message) return lastWord(field.message.typeName);
  if (field.enum) return lastWord(field.enum.typeName);
  return ScalarType[field.scalar as ScalarType].toLowerCase();
}

const ours = (field: DescField): WireField => ({
  number: field.number,
  type: typeOf(field),
  isRepeated: field.fieldKind === "list",
  isMap: field.fieldKind === "map",
  oneof: field.oneof?.name,
});

test("each message has the fields of the contract", () => {
  expect(
    Object.fromEntries(
      file_steep_repl.messages.map((m) => [
        m.name,
        Object.fromEntries(m.fields.map((f) => [f.name, ours(f)])),
      ]),
    ),
  ).toEqual(wire.messages);
});

test("each enum has the values of the contract", () => {
  const all = [...file_steep_repl.enums, ...file_steep_repl.messages.flatMap((m) => m.nestedEnums)];
  expect(
    Object.fromEntries(
      all.map((e) => [e.name, Object.fromEntries(e.values.map((v) => [v.name, v.number]))]),
    ),
  ).toEqual(wire.enums);
});

test("each service has the RPCs of the contract", () => {
  expect(
    Object.fromEntries(
      file_steep_repl.services.map((s) => [
        s.name,
        Object.fromEntries(
          s.methods.map((m) => [
            m.name,
            {
              request: m.input.name,
              response: m.output.name,
              isStream: m.methodKind === "server_streaming",
            },
          ]),
        ),
      ]),
    ),
  ).toEqual(wire.services);
});
