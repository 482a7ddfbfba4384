/** One demo a checkout: two would fight over the same state. */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";

/**
 * Takes `file` for this process. Returns the process id of a demo that runs already, or undefined when this one
 * may go on. A file left behind by a process that was killed does not count.
 */
export function claimInstance(file: string): number | undefined {
  for (let attempt = 0; attempt < 3; attempt++) {
    try {
      const descriptor = openSync(file, "wx", 0o600);
      writeSync(descriptor, `${process.pid}\n`);
      closeSync(descriptor);
      process.on("exit", () => rmSync(file, { force: true }));
      return undefined;
    } catch {
      const pid = Number.parseInt(readIfThere(file), 10);
      if (Number.isInteger(pid) && isDemo(pid)) return pid;
      rmSync(file, { force: true });
    }
  }
  throw new Error(`cannot take ${file}`);
}

function isDemo(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it runs, but belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== "EPERM") return false;
  }
  const commandLine = readIfThere(`/proc/${pid}/cmdline`);
  return commandLine === "" || commandLine.includes("scripts/demo/main.ts");
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
