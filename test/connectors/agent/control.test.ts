/** The control socket's life: identity, refusals, revocation, back-off, silence. */
import { once } from "node:events";
import { type AddressInfo } from "node:net";
import { createServer } from "node:http";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ControlEnd, ControlSocket, type ControlTiming } from "../../../connectors/agent/control.ts";
import { type Identity, enrol, loadIdentity } from "../../../connectors/agent/identity.ts";
import { createLog } from "../../../connectors/agent/log.ts";
import { ConnectorProcess } from "./connector-process.ts";
import { GatewayStandIn } from "./gateway-stand-in.ts";

const FAST: Partial<ControlTiming> = {
  ping: 30,
  silence: 1000,
  firstDelay: 10,
  longestDelay: 40,
  settled: 1000,
};

let gateway: GatewayStandIn;
let directory: string;
const lines: string[] = [];
const stops: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  gateway = await GatewayStandIn.start();
  directory = await mkdtemp(join(tmpdir(), "control-test-"));
  lines.length = 0;
});

afterEach(async () => {
  for (const stop of stops.splice(0)) await stop();
  await gateway.stop();
  await rm(directory, { recursive: true, force: true });
});

async function identity(): Promise<Identity> {
  const enrolled = await enrol(
    { gateway: gateway.url, name: "demo", stateDirectory: directory },
    gateway.joinToken,
  );
  if (!enrolled.ok) throw new Error(enrolled.error.message);
  return enrolled.value;
}

function control(who: Identity, opens: unknown[] = []): { socket: ControlSocket; end: Promise<ControlEnd> } {
  const socket = new ControlSocket({
    identity: who,
    hello: { type: "hello", process: "p", version: "0", resources: [] },
    onOpen: (open) => opens.push(open),
    log: createLog((line) => lines.push(line)),
    timing: FAST,
  });
  const end = socket.run();
  stops.push(() => {
    socket.stop();
    return end;
  });
  return { socket, end };
}

describe("the control socket", () => {
  it("signs a fresh token for each attempt", async () => {
    control(await identity());
    await gateway.connected();
    gateway.controls.at(-1)?.close(1012);
    await gateway.until(() => gateway.tokens.length === 2);
    expect(gateway.tokens[0]?.["jti"]).not.toBe(gateway.tokens[1]?.["jti"]);
  });

  it("keeps itself alive with pings and gives up a gateway that falls silent", async () => {
    control(await identity());
    await gateway.connected();
    await gateway.until(() => gateway.messages.filter((message) => message.type === "ping").length >= 6);
    expect(gateway.attempts).toHaveLength(1);
    gateway.controls.at(-1)?.removeAllListeners("message");
    await gateway.until(() => gateway.attempts.length === 2, 5000);
    expect(lines.join("")).toContain("the gateway does not answer");
  });

  it("comes back after refusals, with growing and random delays, as often as it takes", async () => {
    const who = await identity();
    gateway.refuseControl = { status: 503, body: { title: "not now" } };
    control(who);
    await gateway.until(() => gateway.attempts.length >= 12);
    gateway.refuseControl = undefined;
    await gateway.connected();
    const delays = lines
      .map((line) => JSON.parse(line) as { event: string; milliseconds?: number })
      .filter((line) => line.event === "reconnecting");
    const waits = delays.map((line) => line.milliseconds ?? -1);
    expect(Math.max(...waits)).toBeLessThanOrEqual(40);
    expect(waits[0]).toBeLessThanOrEqual(10);
    expect(new Set(waits).size).toBeGreaterThan(4);
    expect(lines.join("")).toContain('"reason":"not now"');
  });

  it("ends when the gateway revokes it, and does not come back", async () => {
    const { end } = control(await identity());
    await gateway.connected();
    gateway.send({ type: "revoked" });
    expect(await end).toEqual({ reason: "revoked", message: "the gateway has revoked this connector" });
    await sleep(100);
    expect(gateway.attempts).toHaveLength(1);
  });

  it("ends when the gateway no longer trusts its key, but not on a token it merely cannot read", async () => {
    const who = await identity();
    gateway.refuseControl = { status: 401, body: { title: "the token has expired", code: "token_expired" } };
    const { end } = control(who);
    await gateway.until(() => gateway.attempts.length >= 3);
    gateway.refuseControl = {
      status: 401,
      body: { title: "this connector is not trusted", code: "connector_not_trusted" },
    };
    const before = gateway.attempts.length;
    expect(await end).toEqual({ reason: "not_trusted", message: "this connector is not trusted" });
    expect(gateway.attempts.length - before).toBeGreaterThanOrEqual(4);
  });

  it.each([
    ["JSON that is no message", '{"type":"drop tables"}'],
    ["no JSON", "hello"],
    ["too much", JSON.stringify({ type: "pong", filler: "x".repeat(70_000) })],
    ["bytes", Buffer.from('{"type":"pong"}')],
  ])("hangs up on %s and dials again", async (_what, message) => {
    control(await identity());
    await gateway.connected();
    const first = gateway.controls[0];
    if (first === undefined) throw new Error("no socket");
    first.send(message);
    const [code] = (await once(first, "close")) as [number];
    expect(code).toBe(1002);
    await gateway.until(() => gateway.controls.length === 2);
  });

  it("hands opens over and stops taking them once it is stopped", async () => {
    const opens: unknown[] = [];
    const { socket, end } = control(await identity(), opens);
    await gateway.connected();
    const open = { type: "open", session: "s", resource: "r", ticket: "t" } as const;
    gateway.send(open);
    await expect.poll(() => opens).toEqual([open]);
    socket.stop();
    gateway.send({ ...open, session: "late" });
    expect(await end).toMatchObject({ reason: "stopped" });
    expect(opens).toHaveLength(1);
  });
});

describe("the connector's identity", () => {
  const where = () => ({ gateway: gateway.url, name: "demo", stateDirectory: directory });

  it("is used again, for the same gateway and name only", async () => {
    const made = await identity();
    const loaded = await loadIdentity(where());
    expect(loaded.ok && loaded.value?.key.equals(made.key)).toBe(true);
    expect(await loadIdentity({ ...where(), name: "other" })).toEqual({ ok: true, value: undefined });
    expect(await loadIdentity({ ...where(), gateway: "https://other.example" })).toEqual({
      ok: true,
      value: undefined,
    });
  });

  it("is not used when others can read its key", async () => {
    await identity();
    await chmod(join(directory, "connector.key"), 0o640);
    expect(await loadIdentity(where())).toMatchObject({
      ok: false,
      error: { message: expect.stringContaining("can be read by others") },
    });
  });

  it("is not used when the key is damaged or of another kind", async () => {
    await identity();
    const { generateKeyPairSync } = await import("node:crypto");
    const ec = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
      type: "pkcs8",
      format: "pem",
    });
    for (const text of ["", "garbage", ec.toString()]) {
      await writeFile(join(directory, "connector.key"), text, { mode: 0o600 });
      expect(await loadIdentity(where())).toMatchObject({
        ok: false,
        error: { message: expect.stringContaining("does not hold an Ed25519 private key") },
      });
    }
  });

  it("keeps its key when enrolling failed, for the next join token", async () => {
    const refused = await enrol(where(), "wrong");
    expect(refused).toMatchObject({
      ok: false,
      error: {
        message: 'the gateway refused to enrol "demo": the join token is not valid',
        hint: expect.stringContaining("sally connector enroll demo"),
      },
    });
    expect(await loadIdentity(where())).toEqual({ ok: true, value: undefined });
    await enrol(where(), gateway.joinToken);
    await enrol(where(), gateway.joinToken);
    expect(gateway.enrolled).toHaveLength(2);
    expect(gateway.enrolled[0]?.publicKey).toEqual(gateway.enrolled[1]?.publicKey);
  });

  it("does not follow a redirect with the join token", async () => {
    const asked: (string | undefined)[] = [];
    const elsewhere = createServer((request, response) => {
      asked.push(request.url);
      response.writeHead(307, { location: "/elsewhere" }).end();
    });
    elsewhere.listen(0, "127.0.0.1");
    await once(elsewhere, "listening");
    const address = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}`;
    expect(await enrol({ ...where(), gateway: address }, "token")).toMatchObject({
      ok: false,
      error: { code: "unreachable" },
    });
    expect(asked).toEqual(["/connector/enroll"]);
    await new Promise((resolve) => elsewhere.close(resolve));
    expect(await enrol({ ...where(), gateway: address }, "token")).toMatchObject({
      ok: false,
      error: { code: "unreachable", message: `cannot reach the gateway ${address}: connection refused` },
    });
  });
});

describe("the process", () => {
  async function runToEnd(
    config: Record<string, unknown> | string,
    environment: Record<string, string> = {},
  ) {
    const connector = await ConnectorProcess.start(config, environment);
    stops.push(() => connector.stop());
    const code = await connector.exit();
    return { code, stderr: connector.stderr, connector };
  }

  const resources = { db: { protocol: "postgres", address: "127.0.0.1:5432", database: "d", user: "u" } };

  it("says how to enrol when it cannot", async () => {
    const { code, stderr } = await runToEnd({ gateway: gateway.url, name: "demo", resources });
    expect(code).toBe(5);
    expect(stderr).toContain("is not enrolled with");
    expect(stderr).toContain("sally connector enroll demo");
  });

  it("ends with 5 and a clear message when it is revoked", async () => {
    const connector = await ConnectorProcess.start(
      { gateway: gateway.url, name: "demo", joinToken: "env:T", resources },
      { T: gateway.joinToken },
    );
    stops.push(() => connector.stop());
    await gateway.connected();
    gateway.send({ type: "revoked" });
    expect(await connector.exit()).toBe(5);
    expect(connector.event("connector ended")).toMatchObject({
      reason: "the gateway has revoked this connector",
    });
  });

  it("says file, line and what is allowed when the config has a typo, with exit code 2", async () => {
    const { code, stderr, connector } = await runToEnd(
      "gateway: https://gateway.example\nname: demo\nstateDirectory: x\nresources:\n  db:\n    protocol: postgres\n    adress: 127.0.0.1\n    database: d\n    user: u\n",
    );
    expect(code).toBe(2);
    expect(stderr).toContain(
      `${join(connector.directory, "connector.yaml")}:7:5: resources.db: unknown key "adress" (did you mean "address"?); allowed: protocol, address, database, user, password, tls, ca`,
    );
  });

  it("ends with 0 on SIGINT, and with its usage on wrong arguments", async () => {
    const connector = await ConnectorProcess.start(
      { gateway: gateway.url, name: "demo", joinToken: "env:T", resources },
      { T: gateway.joinToken },
    );
    stops.push(() => connector.stop());
    await gateway.connected();
    connector.child.kill("SIGINT");
    expect(await connector.exit()).toBe(0);
  });
});
