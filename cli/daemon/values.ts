import { type Timestamp, timestampFromMs } from "@bufbuild/protobuf/wkt";

/* What PostgreSQL printed, as messages have it; NULL is what proto3 has for none. */

export const textValue = (value: string | null | undefined): string => value ?? "";

/** Of whole numbers that fit. */
export const intValue = (value: string | null | undefined): number =>
  value === null || value === undefined ? 0 : Math.trunc(Number(value));

export const floatValue = (value: string | null | undefined): number => Number(value ?? 0);

export const bigValue = (value: string | null | undefined): bigint =>
  BigInt((value ?? "0").replace(/\..*$/, ""));

export const boolValue = (value: string | null | undefined): boolean => value === "t";

/** A timestamptz as `extract(epoch from …) * 1000` printed it. */
export const timeValue = (epochMs: string | null | undefined): Timestamp | undefined =>
  epochMs === null || epochMs === undefined
    ? undefined
    : timestampFromMs(Math.round(Number(epochMs)));
