import { exitCode } from "./cli-error.ts";
import { catchInterrupts } from "./interrupt.ts";
import { reportError } from "./output/report-error.ts";
import { runProgram } from "./program.ts";

// The command line may hold a password: from here on nobody sees it in the list of processes.
process.title = "steep-repl";

// Who reads our output may stop early, as head does.
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    process.exit(error.code === "EPIPE" ? exitCode.success : exitCode.bug);
  });
}

catchInterrupts();
runProgram(process.argv.slice(2))
  .catch(reportError)
  .then((code) => process.exit(code));
