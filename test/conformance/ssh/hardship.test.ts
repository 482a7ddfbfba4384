/** Slow readers, lost connectors, and what the gateway's memory says to them. A system of its own. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { SshUser, sha256 } from "./client.ts";

let stack: PrivateStack;
let dba: SshUser;
let directory: string;

beforeAll(async () => {
  stack = await startPrivateStack();
  await stack.system.waitUntilOnline("web-1");
  dba = await SshUser.of(stack, "reviewer-a");
  directory = await mkdtemp(join(tmpdir(), "sally-ssh-hardship-"));
});

afterAll(async () => {
  await dba.dispose();
  await stack.stop();
  await rm(directory, { recursive: true, force: true });
});

/** Resident memory of workerd and the connector together, in bytes. */
function memory(): number {
  const pids = [...stack.workerdPids, stack.connectorPid];
  return pids.reduce(
    (sum, pid) =>
      sum + Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) * 1024,
    0,
  );
}

const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until a command runs again: the gateway may not know yet that a connector is gone. */
async function reachable(): Promise<void> {
  await expect
    .poll(async () => (await dba.run("ssh", ["-S", "none", "web-1", "echo back"])).text, { timeout: 60_000 })
    .toBe("back\n");
}

describe("a reader that does not read", () => {
  it("at the client stops the server, and the memory stays where it was", async () => {
    await dba.exec("true");
    const before = memory();
    const child = dba.start("ssh", [
      "-F",
      dba.configFile,
      "-S",
      "none",
      "web-1",
      "head -c 400000000 /dev/zero",
    ]);
    child.stdout?.pause();
    await pause(6000);
    const during = memory();
    child.kill("SIGKILL");
    expect(during - before).toBeLessThan(64 << 20);
  }, 60_000);

  it("at the server stops the client, and what was sent arrives when it reads again", async () => {
    const bytes = randomBytes(24 << 20);
    const before = memory();
    const running = dba.run("ssh", ["-S", "none", "web-1", "sleep 5; sha256sum"], {
      input: bytes,
      timeout: 60_000,
    });
    await pause(4000);
    const during = memory();
    expect((await running).text.split(" ")[0]).toBe(sha256(bytes));
    expect(during - before).toBeLessThan(64 << 20);
  }, 90_000);
});

describe("a connector that is killed", () => {
  it("in the middle of a transfer ends it with a message, and the next session works", async () => {
    const file = join(directory, "big");
    await writeFile(file, randomBytes(100 << 20));
    const child = dba.start("ssh", ["-F", dba.configFile, "-S", "none", "web-1", `cat ${file}; sleep 20`]);
    let said = "";
    child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    child.stdout?.resume();
    process.kill(stack.connectorPid, "SIGKILL");
    expect(await closed).toBe(255);
    expect(said).toContain("lost");
    await stack.system.startConnector();
    await reachable();
  }, 120_000);

  it("while a command is held leaves the hold as it is", async () => {
    const engineer = await SshUser.of(stack, "engineer");
    const child = engineer.start("ssh", [
      "-F",
      engineer.configFile,
      "-S",
      "none",
      "web-1",
      "touch /dev/null; echo ran",
    ]);
    let said = "";
    let out = "";
    child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    child.stdout?.on("data", (chunk: Buffer) => (out += chunk.toString()));
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    await expect.poll(() => said, { timeout: 20_000 }).toMatch(/apr_[a-z0-9]+/);
    process.kill(stack.connectorPid, "SIGKILL");
    await stack.system.startConnector();
    await reachable();
    await stack.sally("reviewer-b", ["approvals", "approve", /apr_[a-z0-9]+/.exec(said)?.[0] ?? ""]);
    expect([await closed, out], said).toEqual([0, "ran\n"]);
    await engineer.dispose();
  }, 120_000);
});

describe("a gateway that is restarted", () => {
  it("ends the session, keeps its host key, and takes new ones", async () => {
    const child = dba.start("ssh", ["-F", dba.configFile, "-S", "none", "web-1", "echo up; sleep 60"]);
    const closed = new Promise<number | null>((resolve) => child.once("close", resolve));
    await new Promise((resolve) => child.stdout?.once("data", resolve));
    await stack.system.gateway.stop();
    expect(await closed).toBe(255);
    await stack.system.startGateway();
    // The configuration of before: the host key it has is still the right one.
    await reachable();
  }, 180_000);
});
