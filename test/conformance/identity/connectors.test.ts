/** How far a connector is trusted: its key, its followers, and what is configured for it. */
import { cp, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startConnector } from "../../../scripts/lib/connector.ts";
import { type Supervised, supervise, tail } from "../../../scripts/lib/processes.ts";
import { ROOT } from "../../../scripts/lib/run.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { api } from "../../support/token-endpoint.ts";
import { f } from "../../wire/postgres/support/messages.ts";

let stack: PrivateStack;
let reviewer: string;
let engineer: string;
const started: Supervised[] = [];
beforeAll(async () => {
  stack = await startPrivateStack();
  reviewer = await stack.sessionToken("reviewer-a");
  engineer = await stack.sessionToken("engineer");
});
afterAll(async () => {
  for (const process of started) await process.stop("SIGINT");
  await stack.stop();
});

async function until(condition: () => Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

type Listed = { readonly name: string; readonly processes: readonly { readonly process: string }[] };

async function processesOf(name: string): Promise<number> {
  const { body } = await api(stack.gateway, reviewer, "GET", "/v1/connectors");
  return (body["connectors"] as Listed[]).find((each) => each.name === name)?.processes.length ?? 0;
}

async function works(): Promise<boolean> {
  const client = await GatewayClient.open(stack.gateway, "scratch-db", engineer).catch(() => undefined);
  const answer = await client?.run(f.query("select 1"));
  client?.close();
  return answer?.includes("C SELECT 1") === true;
}

async function runConnector(directory: string, ...more: string[]): Promise<Supervised> {
  const running = await supervise({
    name: "a connector",
    command: process.execPath,
    args: [join(ROOT, "connectors/agent/main.ts"), "--config", join(directory, "connector.yaml"), ...more],
    env: process.env,
    logFile: join(stack.directory, "logs", `connector-${started.length}.log`),
  });
  started.push(running);
  return running;
}

describe("a connector's key", () => {
  it("is followed by a new one on the word of the old one; a copy of the old one is worth nothing then", async () => {
    const directory = join(stack.directory, "connector");
    const stolen = join(stack.directory, "stolen");
    await cp(directory, stolen, { recursive: true });
    const before = await readFile(join(directory, "state/connector.key"), "utf8");

    const rotation = await runConnector(directory, "--rotate-key");
    expect((await rotation.exited).code, tail(rotation.logFile)).toBe(0);
    const key = join(directory, "state/connector.key");
    expect(await readFile(key, "utf8")).not.toBe(before);
    expect((await stat(key)).mode & 0o077).toBe(0);
    // The process that was running finds the new key and comes back by itself.
    await until(works, "the connector is back with its new key");

    // The copy has the old key, in a directory that nobody renews.
    const config = join(stolen, "connector.yaml");
    const text = await readFile(config, "utf8");
    await writeFile(config, text.replaceAll(directory, stolen));
    const thief = await runConnector(stolen);
    await until(async () => tail(thief.logFile).includes("connector_not_trusted"), "the copy is refused");
    expect(await processesOf("demo")).toBe(1);
    await thief.stop("SIGINT");
    const again = await runConnector(stolen, "--rotate-key");
    expect((await again.exited).code).not.toBe(0);
    expect(await works()).toBe(true);
  });

  it("is replaced by itself when it is older than --rotate-key-after says, and only then", async () => {
    const directory = join(stack.directory, "connector");
    const file = join(directory, "state/connector.key");
    const before = await readFile(file, "utf8");
    const threeDaysAgo = new Date(Date.now() - 3 * 24 * 60 * 60_000);
    await utimes(file, threeDaysAgo, threeDaysAgo);
    const patient = await runConnector(directory, "--rotate-key-after", "4");
    await until(async () => (await processesOf("demo")) === 2, "the patient one is connected");
    expect(await readFile(file, "utf8")).toBe(before);
    await patient.stop("SIGINT");

    const strict = await runConnector(directory, "--rotate-key-after", "2");
    await until(async () => tail(strict.logFile).includes("the key is replaced"), "the key is replaced");
    const after = await readFile(file, "utf8");
    expect(after).not.toBe(before);
    // Both go on with the new key, the one that rotated and the one that did not know.
    await until(async () => (await processesOf("demo")) === 2, "both are connected under the new key");
    await until(works, "sessions open under the new key");
    await strict.stop("SIGINT");
    await until(async () => (await processesOf("demo")) === 1, "the first one stays");

    const again = await runConnector(directory, "--rotate-key-after", "2");
    await until(async () => (await processesOf("demo")) === 2, "it is connected");
    expect(await readFile(file, "utf8")).toBe(after);
    await again.stop("SIGINT");
    await until(async () => (await processesOf("demo")) === 1, "the first one stays");
  });

  it("shows when two processes use it", async () => {
    const second = await runConnector(join(stack.directory, "connector"));
    await until(async () => (await processesOf("demo")) === 2, "the second process is seen");
    const { stdout, stderr } = await stack.sally("reviewer-a", ["connector", "ls"]);
    expect(stdout).toMatch(/demo +online +2/);
    expect(stderr).toContain("2 processes use the key of demo");
    await second.stop("SIGINT");
    await until(async () => (await processesOf("demo")) === 1, "the second process is gone");
  });
});

describe("a connector", () => {
  it("gets no session of a resource that is configured for another, whatever it says it serves", async () => {
    const made = await api(stack.gateway, reviewer, "POST", "/v1/connectors/impostor/join-tokens");
    const impostor = await startConnector({
      name: "impostor",
      gateway: stack.gateway,
      directory: join(stack.directory, "impostor"),
      joinToken: String(made.body["token"]),
      resources: {
        "scratch-db": {
          protocol: "postgres",
          address: "127.0.0.1:1",
          database: "x",
          user: "x",
          password: "env:HOME",
        },
      },
    });
    started.push(impostor);
    await until(async () => (await processesOf("impostor")) === 1, "the impostor is connected");
    for (let attempt = 0; attempt < 4; attempt++) expect(await works()).toBe(true);
    await stack.system.connector.stop("SIGINT");
    await until(async () => (await processesOf("demo")) === 0, "the real one is gone");
    const refused = await stack.sally("engineer", ["psql", "scratch-db", "--", "-Atc", "select 1"]);
    expect(refused.code).toBe(6);
    expect(refused.stderr).toContain("no connector serves scratch-db");
  });

  it("that is revoked is cut off with every session that it carries, and does not come back", async () => {
    await stack.system.startConnector();
    await stack.system.waitUntilOnline("scratch-db");
    const client = await GatewayClient.open(stack.gateway, "scratch-db", engineer);
    client.send(f.query("select pg_sleep(30)"));
    const running = stack.system.connector;
    // It does not hear of it: what ends is ended by the gateway.
    running.process.kill("SIGSTOP");
    const began = performance.now();
    expect((await stack.sally("reviewer-a", ["connector", "revoke", "demo"])).code).toBe(0);
    await client.closed;
    expect(performance.now() - began).toBeLessThan(5000);
    expect(client.notices.at(-1)).toMatchObject({
      type: "ended",
      message: expect.stringContaining("connector demo has been revoked") as string,
    });
    running.process.kill("SIGCONT");
    expect((await running.exited).code).toBe(5);
    expect(await processesOf("demo")).toBe(0);
    const again = await runConnector(join(stack.directory, "connector"));
    await until(
      async () => tail(again.logFile).includes("connector_not_trusted") || (await exited(again)),
      "it is refused",
    );
    expect(await processesOf("demo")).toBe(0);
  });
});

function exited(connector: Supervised): Promise<boolean> {
  return Promise.race([
    connector.exited.then(() => true),
    new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 10)),
  ]);
}
