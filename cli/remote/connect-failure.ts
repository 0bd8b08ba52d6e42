import { NoConnection } from "../cli-error.ts";
import { oneLine } from "../output/one-line.ts";
import type { Address } from "./address.ts";
import { Closed, NoGreeting } from "./connection.ts";

interface Explanation {
  readonly message: string;
  readonly hint: string;
}

const wrongAuthority: Explanation = {
  message: "its certificate is of an authority that is not trusted here",
  hint: "name the authority's certificate with --ca",
};
const refusedCertificate: Explanation = {
  message: "it refuses this client's certificate",
  hint: "give --cert and --key of its own authority, which have not expired",
};

/** By the code of an error of Node.js: what it means to the user. */
const explanations: readonly (readonly [code: RegExp, explanation: Explanation])[] = [
  [/^(UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|CERT_UNTRUSTED|INVALID_CA)/, wrongAuthority],
  [
    /^CERT_HAS_EXPIRED$/,
    {
      message: "its certificate has expired",
      hint: "have a new one made there, as by steep-repl tls init, and start the daemon again",
    },
  ],
  [
    /^CERT_NOT_YET_VALID$/,
    { message: "its certificate is not valid yet", hint: "compare the clocks of both machines" },
  ],
  [
    /^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|BAD_RECORD_TYPE)/,
    {
      message: "it does not speak TLS",
      hint: "give it a certificate (steep-repl tls init), or --insecure here, with which anybody on the way reads and writes all",
    },
  ],
  [
    /ALERT_CERTIFICATE_REQUIRED$/,
    {
      message: "it asks for a client's certificate",
      hint: "give --cert and --key",
    },
  ],
  [/ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_\w+|ACCESS_DENIED)$/, refusedCertificate],
  [
    /ALERT_(PROTOCOL_VERSION|HANDSHAKE_FAILURE)$|UNSUPPORTED_PROTOCOL/,
    { message: "it speaks no TLS 1.3", hint: "have it speak TLS 1.3, which the daemon does" },
  ],
  [
    /^ERR_HTTP2_/,
    { message: "what answers there speaks no gRPC", hint: "check host and port of the daemon" },
  ],
  [
    /^ECONNREFUSED$/,
    {
      message: "connection refused",
      hint: "is steep-repl daemon running there, and does it listen on this address?",
    },
  ],
  [
    /^(ENOTFOUND|EAI_AGAIN)$/,
    {
      message: "could not translate the host name to an address",
      hint: "check the host's name",
    },
  ],
  [/^(ETIMEDOUT|\w+UNREACH)$/, { message: "no answer", hint: "check host, port and firewalls" }],
];

/** Say what kept us from reaching a daemon, and what to do about it. */
export function connectFailure(error: Error, address: Address, isTls: boolean): NoConnection {
  const { message, hint } = explain(error, address, isTls);
  return new NoConnection(
    `connection to the daemon at ${address.text} failed: ${oneLine(message)}`,
    hint,
  );
}

function explain(error: Error, { host }: Address, isTls: boolean): Explanation {
  // of a name with several addresses Node.js reports all failures in one
  const first = error instanceof AggregateError ? (error.errors[0] as Error) : error;
  const { code = "", message } = first as NodeJS.ErrnoException;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") {
    return {
      message: `its certificate is not for the host name "${host}"`,
      hint: `reach it by a name of its certificate, or make one with steep-repl tls init --hosts ${host}`,
    };
  }
  const found = explanations.find(([pattern]) => pattern.test(code));
  if (found) return found[1];
  if (first instanceof NoGreeting) return { message, hint: "check host, port and firewalls" };
  if (first instanceof Closed || code === "ECONNRESET" || code === "EPIPE") {
    return {
      message: "it closed the connection",
      hint: isTls
        ? `it may want another client's certificate: ${refusedCertificate.hint}`
        : "it may speak TLS: give --ca instead of --insecure",
    };
  }
  return { message: message || code, hint: "see the daemon's log" };
}
