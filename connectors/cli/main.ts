/** The command `sally`: reads the process's world, runs one command line, exits with its code. */
import { mkdirSync } from "node:fs";
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { EXIT } from "../../wire/refusals.ts";
import packageJson from "../../package.json" with { type: "json" };

// A reader that has seen enough (`sally ls | head -1`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  process.exit(error.code === "EPIPE" ? 0 : 1);
});

cacheCompiledCode();
const { sally } = await import("./sally.ts");

try {
  process.exitCode = await sally(
    process.argv.slice(2),
    process.env,
    { out: (text) => void process.stdout.write(text), err: (text) => void process.stderr.write(text) },
    packageJson.version,
  );
} catch (error) {
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`sally: this is a bug in sally; please report it with what follows\n${text}\n`);
  process.exit(EXIT.failed);
}

/**
 * Halves the time to start. The directory is the user's own: Node's default lies in the shared temporary
 * directory, where another user could put code for us to run.
 */
function cacheCompiledCode(): void {
  const configured = process.env["XDG_CACHE_HOME"];
  const home = process.env["HOME"];
  const base = configured?.startsWith("/")
    ? configured
    : home === undefined
      ? undefined
      : join(home, ".cache");
  if (base === undefined) return;
  try {
    const directory = join(base, "sally");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    enableCompileCache(directory);
  } catch {
    // Without a place to write it just starts more slowly.
  }
}
