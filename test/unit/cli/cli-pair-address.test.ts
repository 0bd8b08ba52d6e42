import { expect, test } from "vitest";
import { addressesOf, parseAddress } from "../../../cli/commands/pair-address.ts";
import type { Candidate } from "../../../cli/connection/resolve.ts";

/* Where each server of a pair is for the other one. */

const at = (host: string, port = 5432): { readonly candidate: Candidate } => ({
  candidate: {
    ...{ host, address: host, port, isSocket: host.startsWith("/") },
    passwordHost: host,
  },
});

test.each([
  ["db1", { host: "db1", port: 5432 }],
  ["db1:6000", { host: "db1", port: 6000 }],
  ["10.0.0.1:6000", { host: "10.0.0.1", port: 6000 }],
  ["[fd00::1]:6000", { host: "fd00::1", port: 6000 }],
  ["[fd00::1]", { host: "fd00::1", port: 5432 }],
  ["fd00::1", { host: "fd00::1", port: 5432 }],
])("%s is read", (text, address) => {
  expect(parseAddress(text, 5432, "--peer-address")).toEqual(address);
});

test.each(["", ":5432", "db1:", "db1:0", "db1:65536", "db1:x", "[fd00::1"])(
  "%s is refused",
  (text) => {
    expect(() => parseAddress(text, 5432, "--peer-address")).toThrow("--peer-address");
  },
);

test("hosts of the connection strings are taken", () => {
  expect(addressesOf(at("db1"), at("db2", 6000), {})).toEqual({
    local: { host: "db1", port: 5432 },
    peer: { host: "db2", port: 6000 },
  });
  expect(addressesOf(at("/tmp"), at("localhost", 6000), {})).toEqual({
    local: { host: "/tmp", port: 5432 },
    peer: { host: "localhost", port: 6000 },
  });
});

test.each(["localhost", "127.0.0.1", "::1", "/var/run/postgresql"])(
  "%s of one machine is nothing to another",
  (near) => {
    expect(() => addressesOf(at(near), at("db2"), {})).toThrow("the peer cannot reach");
    expect(() => addressesOf(at("db1"), at(near), {})).toThrow("cannot reach the peer");
    expect(addressesOf(at(near), at("db2"), { localAddress: "db1:6000" }).local).toEqual({
      ...{ host: "db1", port: 6000 },
    });
    expect(addressesOf(at("db1"), at(near, 7000), { peerAddress: "db2" }).peer).toEqual({
      ...{ host: "db2", port: 7000 },
    });
  },
);
