/** Set by the builder, from the control file. */
declare const STEEP_VERSION: string;

/** The version of this bundle. */
export function bundleVersion(): string {
  return STEEP_VERSION;
}
