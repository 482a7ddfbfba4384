/** The command `sally`: reads the process's world, runs one command line, exits with its code. */
import packageJson from "../../package.json" with { type: "json" };
import { sally } from "./sally.ts";

// A reader that has seen enough (`sally ls | head -1`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

process.exitCode = await sally(
  process.argv.slice(2),
  process.env,
  { out: (text) => void process.stdout.write(text), err: (text) => void process.stderr.write(text) },
  packageJson.version,
);
