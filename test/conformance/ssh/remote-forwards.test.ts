/** `ssh -R`: the server listens, each connection comes back through the gateway to the client. */
import type { ChildProcess } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { type Server, createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../../scripts/lib/ports.ts";
import { sharedStack } from "../../support/stack.ts";
import { SshUser, recordedSession, sha256 } from "./client.ts";

const stack = sharedStack();
const body = randomBytes(700_000);
let dba: SshUser;
let engineer: SshUser;
let behindClient: Server;
let local: number;
const started: ChildProcess[] = [];

beforeAll(async () => {
  [dba, engineer] = await Promise.all([SshUser.of(stack, "reviewer-a"), SshUser.of(stack, "engineer")]);
  behindClient = createServer((request, response) => {
    const got: Buffer[] = [];
    request.on("data", (chunk: Buffer) => got.push(chunk));
    request.on("end", () => response.end(request.method === "POST" ? sha256(Buffer.concat(got)) : body));
  });
  await new Promise<void>((resolve) => behindClient.listen(0, "127.0.0.1", () => resolve()));
  local = (behindClient.address() as AddressInfo).port;
});

afterAll(async () => {
  for (const child of started) child.kill("SIGKILL");
  behindClient.closeAllConnections();
  behindClient.close();
  for (const user of [dba, engineer]) await user.dispose();
});

type Forward = {
  readonly child: ChildProcess;
  readonly said: () => string;
  readonly closed: Promise<number | null>;
};

/** Runs `ssh -R remote:127.0.0.1:local` with a command that stays until its input ends. */
function forward(user: SshUser, remote: string, marker: string, target = local): Forward {
  const child = user.start("ssh", [
    ...["-F", user.configFile, "-S", "none", "-o", "ExitOnForwardFailure=yes"],
    ...["-R", `${remote}:127.0.0.1:${target}`, "web-1", `echo ${marker}; cat`],
  ]);
  started.push(child);
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  return { child, said: () => said, closed: new Promise((resolve) => child.once("close", resolve)) };
}

const fetched = async (port: number, init?: RequestInit): Promise<string> => {
  const answer = await fetch(`http://127.0.0.1:${port}/`, init);
  return sha256(new Uint8Array(await answer.arrayBuffer()));
};

const listens = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });

describe("a remote forward", () => {
  it("brings many connections at once back, both ways, each of them recorded, until the client goes", async () => {
    const port = await freePort();
    const marker = `marker-${randomUUID()}`;
    const { child, said, closed } = forward(dba, String(port), marker);
    await expect.poll(said, { timeout: 30_000 }).toContain(marker);
    const got = await Promise.all(Array.from({ length: 12 }, () => fetched(port)));
    expect(new Set(got)).toEqual(new Set([sha256(body)]));
    const up = await fetch(`http://127.0.0.1:${port}/`, { method: "POST", body });
    expect(await up.text()).toBe(sha256(body));
    child.stdin?.end();
    expect(await closed).toBe(0);
    await expect.poll(() => listens(port), { timeout: 20_000 }).toBe(false);
    const { bodies } = await recordedSession(stack, "reviewer-a", marker, (all) =>
      all.some(({ type, exit }) => type === "channel" && exit !== undefined),
    );
    expect(bodies.find(({ kind }) => kind === "remoteForward")).toMatchObject({
      actions: ["ssh:remote_forward"],
      facts: [{ host: "localhost", port }],
      decision: { effect: "allow" },
    });
    const connections = bodies.filter(({ type }) => type === "connection");
    expect(connections.length).toBeGreaterThanOrEqual(1);
    expect(connections[0]).toMatchObject({
      originHost: "127.0.0.1",
      text: `remote forward from localhost:${port}`,
    });
  }, 120_000);

  it("of port 0 gets one that the server chooses", async () => {
    const marker = `marker-${randomUUID()}`;
    const { child, said } = forward(dba, "0", marker);
    await expect.poll(said, { timeout: 30_000 }).toContain(marker);
    const port = Number(/Allocated port (\d+)/.exec(said())?.[1]);
    expect(await fetched(port)).toBe(sha256(body));
    child.kill();
    await expect.poll(() => listens(port), { timeout: 20_000 }).toBe(false);
  }, 90_000);

  it("to where nothing listens at the client ends that connection, and the session goes on", async () => {
    const port = await freePort();
    const marker = `marker-${randomUUID()}`;
    const { child, said, closed } = forward(dba, String(port), marker, await freePort());
    await expect.poll(said, { timeout: 30_000 }).toContain(marker);
    for (let i = 0; i < 3; i++) await expect(fetched(port)).rejects.toThrow("fetch failed");
    child.stdin?.end("still here\n");
    expect(await closed).toBe(0);
    expect(said()).toContain("still here");
  }, 90_000);

  it("on a port that is taken fails, and says so", async () => {
    const { said, closed } = forward(dba, `127.0.0.1:${local}`, "never");
    expect(await closed).toBe(255);
    expect(said()).toContain("remote port forwarding failed");
  }, 60_000);

  it("is cancelled by the client, and only that one", async () => {
    const [kept, gone] = [await freePort(), await freePort()];
    const marker = `marker-${randomUUID()}`;
    const control = `${dba.directory}/forwards`;
    const child = dba.start("ssh", [
      ...["-F", dba.configFile, "-S", control, "-M", "-R", `${kept}:127.0.0.1:${local}`],
      ...["-R", `${gone}:127.0.0.1:${local}`, "web-1", `echo ${marker}; cat`],
    ]);
    started.push(child);
    let said = "";
    child.stdout?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    await expect.poll(() => said, { timeout: 30_000 }).toContain(marker);
    expect(await fetched(gone)).toBe(sha256(body));
    const cancel = ["-S", control, "-O", "cancel", "-R", `${gone}:127.0.0.1:${local}`, "web-1"];
    expect((await dba.run("ssh", cancel)).code).toBe(0);
    await expect.poll(() => listens(gone), { timeout: 20_000 }).toBe(false);
    expect(await fetched(kept)).toBe(sha256(body));
    child.kill();
  }, 90_000);

  it("that needs approval listens only after it", async () => {
    const port = await freePort();
    const marker = `marker-${randomUUID()}`;
    const { child, said } = forward(engineer, String(port), marker);
    const text = `remote forward from localhost:${port}`;
    let approval: string | undefined;
    await expect
      .poll(
        async () => {
          const listed = await stack.sally("reviewer-b", ["approvals", "ls", "--json"]);
          const { approvals } = JSON.parse(listed.stdout) as {
            approvals: { id: string; operation: { text: string } }[];
          };
          approval = approvals.find(({ operation }) => operation.text === text)?.id;
          return approval;
        },
        { timeout: 30_000 },
      )
      .toBeDefined();
    expect(await listens(port)).toBe(false);
    await stack.sally("reviewer-b", ["approvals", "approve", approval ?? ""]);
    await expect.poll(() => listens(port), { timeout: 30_000 }).toBe(true);
    expect(said()).not.toContain(marker);
    child.kill();
  }, 120_000);
});
