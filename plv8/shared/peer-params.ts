import { invalidArgument } from "../db/steep-error.ts";
import { optionalNames, type Raw, requiredText } from "./params.ts";

/**
 * Check what SQL and C read of a job that has a peer. A role may have put it
 * into the queue by itself, and of any JSON type.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function checkPeerParams(raw: Raw): void {
  requiredText(raw, "peer");
  const isConninfo = raw.is_conninfo ?? false;
  if (typeof isConninfo !== "boolean") {
    throw invalidArgument("is_conninfo must be true or false");
  }
}

/**
 * The same of a comparison of rows. That keys are columns is SQL's to say.
 *
 * @throws SteepError 22023 for a bad argument
 */
export function checkOverlapParams(raw: Raw): void {
  checkPeerParams(raw);
  optionalNames(raw, "tables");
  requiredText(raw, "catch_up_timeout");
}
