/*
 * Writes docs/functions.md: `make docs`.
 */
import { writeFileSync } from "node:fs";
import { functionsMarkdown } from "./extension-script.ts";

writeFileSync("docs/functions.md", functionsMarkdown());
