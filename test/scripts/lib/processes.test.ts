import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { supervise, tail, waitUntilReady } from "../../../scripts/lib/processes.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "sallyport-processes-"));
});
afterEach(() => rm(directory, { recursive: true }));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error("it did not become true");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

describe("a supervised process", () => {
  it("is stopped with what it started, even if it ignores the signal", async () => {
    const logFile = join(directory, "log");
    const script = "trap '' TERM; sleep 300 & echo $!; while :; do sleep 300; done";
    const child = await supervise({ name: "stubborn", command: "/bin/sh", args: ["-c", script], logFile });
    await until(() => /\d+/.test(tail(logFile)));
    const grandchild = Number(tail(logFile));
    expect(isAlive(grandchild)).toBe(true);
    await child.stop("SIGTERM", 200);
    expect((await child.exited).signal).toBe("SIGKILL");
    await until(() => !isAlive(grandchild));
  });

  it("fails to start with a sentence when the command does not exist", async () => {
    await expect(
      supervise({ name: "the gateway", command: join(directory, "nothing"), args: [] }).then(
        (child) => child.exited,
      ),
    ).resolves.not.toMatchObject({ code: 0 });
  });

  it("that ends before it is ready is reported with the end of its log", async () => {
    const logFile = join(directory, "log");
    const child = await supervise({
      name: "it",
      command: "/bin/sh",
      args: ["-c", "echo no luck; exit 7"],
      logFile,
    });
    await expect(waitUntilReady(child, async () => false)).rejects.toThrow(
      /it ended before it was ready \(exit code 7\)\nno luck/,
    );
  });

  it("does not outlive a parent that was killed", async () => {
    const module = fileURLToPath(new URL("../../../scripts/lib/processes.ts", import.meta.url));
    const pidFile = join(directory, "pid");
    const source = `
      import { writeFileSync } from "node:fs";
      import { supervise } from ${JSON.stringify(module)};
      const child = await supervise({ name: "sleep", command: "/bin/sleep", args: ["300"] });
      writeFileSync(${JSON.stringify(pidFile)}, String(child.pid));
      setInterval(() => {}, 1000);`;
    const parent = await supervise({
      name: "parent",
      command: process.execPath,
      args: ["--input-type=module-typescript", "-e", source],
    });
    await until(async () => (await readFile(pidFile, "utf8").catch(() => "")) !== "");
    const child = Number(await readFile(pidFile, "utf8"));
    expect(isAlive(child)).toBe(true);
    process.kill(parent.pid, "SIGKILL");
    await parent.exited;
    await until(() => !isAlive(child));
  });
});
