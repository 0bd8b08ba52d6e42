/**
 * JSON.stringify in ASCII. Only ASCII means the same to PL/V8, PL/JS and a
 * database in any encoding; jsonb knows the escapes for the rest.
 */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
