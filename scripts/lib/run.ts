/** Runs a command of the repository in the foreground. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Resolves to the exit code, 128 for a command that a signal ended. */
export function runForeground(command: string, args: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(join(ROOT, "node_modules/.bin", command), args, { cwd: ROOT, stdio: "inherit" });
    const passOn = (signal: NodeJS.Signals): boolean => child.kill(signal);
    process.on("SIGINT", passOn);
    process.on("SIGTERM", passOn);
    child.once("error", reject);
    child.once("exit", (code) => {
      process.removeListener("SIGINT", passOn);
      process.removeListener("SIGTERM", passOn);
      resolve(code ?? 128);
    });
  });
}
