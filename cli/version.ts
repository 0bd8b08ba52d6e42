declare const STEEP_VERSION: string;

/** Of the control file; the build puts it here. */
export const version: string = STEEP_VERSION;
