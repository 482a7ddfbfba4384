/** Forged authority on the inner sockets: grants, tickets, and a connector that is not what it should be. */
import { createHash, randomUUID } from "node:crypto";
import { type CryptoKey, SignJWT, exportJWK, generateKeyPair } from "jose";
import WebSocket from "ws";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Frame, decodeFrame, encodeFrame } from "../../../wire/tunnel.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type PrivateStack, startPrivateStack } from "../../support/stack.ts";
import { testConfiguration } from "../../support/test-system.ts";
import { b, f, startup } from "../../wire/postgres/support/messages.ts";

/** A resource whose connector is this test. */
const ROGUE = "rogue-db";

let stack: PrivateStack;
let key: CryptoKey;
let token: string;
const sockets: { terminate(): void }[] = [];

beforeAll(async () => {
  stack = await startPrivateStack({
    configuration: async (values) => {
      const files = await testConfiguration(values);
      const rogue = `\n  ${ROGUE}:\n    protocol: postgres\n    connector: rogue\n    database: rogue\n`;
      return { ...files, "sallyport.yaml": `${files["sallyport.yaml"] ?? ""}${rogue}` };
    },
  });
  token = await stack.sessionToken("reviewer-a");
  const { token: joinToken } = (await callApi(stack.gateway, "POST", "/v1/connectors/rogue/join-tokens", {
    token,
  })) as { token: string };
  const pair = await generateKeyPair("EdDSA");
  key = pair.privateKey;
  const body = { token: joinToken, name: "rogue", publicKey: await exportJWK(pair.publicKey) };
  await callApi(stack.gateway, "POST", "/connector/enroll", { body });
});
afterAll(() => stack?.stop());
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.terminate();
});

type Open = { session: string; resource: string; ticket: string };

type Dialled = { socket: WebSocket; frames: Frame[]; closed: Promise<number> } | { status: number };

function dial(path: string, headers: Record<string, string>): Promise<Dialled> {
  const socket = new WebSocket(`${stack.gateway.replace("http", "ws")}${path}`, "sallyport.v1", { headers });
  sockets.push(socket);
  const frames: Frame[] = [];
  socket.on("message", (data: Buffer, binary: boolean) => {
    const frame = binary ? decodeFrame(data) : undefined;
    if (frame?.ok === true) frames.push(frame.value);
  });
  const closed = new Promise<number>((resolve) => socket.on("close", resolve));
  return new Promise((resolve) => {
    socket.on("open", () => resolve({ socket, frames, closed }));
    socket.on("unexpected-response", (_request, response) => {
      response.resume();
      resolve({ status: response.statusCode ?? 0 });
    });
    socket.on("error", () => undefined);
  });
}

const dialBack = (session: string, ticket: string): Promise<Dialled> =>
  dial(`/dial-back/${session}`, { authorization: `Ticket ${ticket}` });

async function connectorToken(claims: object = {}, signWith: CryptoKey = key): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  return new SignJWT({
    iss: "rogue",
    sub: "rogue",
    aud: stack.gateway,
    iat: now,
    exp: now + 50,
    jti: randomUUID(),
    ...claims,
  })
    .setProtectedHeader({ alg: "EdDSA" })
    .sign(signWith);
}

/** The control socket of a connector process that serves `ROGUE`, and the opens that it is asked for. */
async function rogueConnector(): Promise<{ socket: WebSocket; nextOpen(): Promise<Open> }> {
  const dialled = await dial("/connector/control", { authorization: `Bearer ${await connectorToken()}` });
  if ("status" in dialled) throw new Error(`control socket: ${dialled.status}`);
  const opens: Open[] = [];
  let wake = (): void => undefined;
  dialled.socket.on("message", (data: Buffer) => {
    const message = JSON.parse(data.toString()) as Open & { type: string };
    if (message.type === "open") opens.push(message);
    wake();
  });
  const hello = {
    type: "hello",
    process: randomUUID(),
    version: "0",
    resources: [{ name: ROGUE, protocol: "postgres" }],
  };
  dialled.socket.send(JSON.stringify(hello));
  const nextOpen = async (): Promise<Open> => {
    for (;;) {
      const open = opens.shift();
      if (open !== undefined) return open;
      await new Promise<void>((resolve) => (wake = resolve));
    }
  };
  return { socket: dialled.socket, nextOpen };
}

async function until<T>(read: () => T | undefined): Promise<T> {
  for (const started = performance.now(); performance.now() - started < 20_000;) {
    const value = read();
    if (value !== undefined) return value;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("it did not come");
}

async function rogueClient(): Promise<GatewayClient> {
  const dialled = await GatewayClient.dial(stack.gateway, `/connect/${ROGUE}`, {
    authorization: `Bearer ${token}`,
  });
  if (!dialled.ok) throw new Error(dialled.body);
  dialled.client.send(
    startup([
      ["user", "app"],
      ["database", "rogue"],
    ]),
  );
  return dialled.client;
}

const UTF8_SERVER = [
  ["server_version", "18.0"],
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
];

/** A session with the rogue connector behind it, up to the client's first ReadyForQuery. */
async function rogueSession(): Promise<{
  client: GatewayClient;
  channel: number;
  socket: WebSocket;
  open: Open;
  frames: Frame[];
}> {
  const connector = await rogueConnector();
  const client = await rogueClient();
  const open = await connector.nextOpen();
  const dialled = await dialBack(open.session, open.ticket);
  if ("status" in dialled) throw new Error(`dial-back: ${dialled.status}`);
  const { channel } = await until(() => dialled.frames.find(({ kind }) => kind === "open"));
  dialled.socket.send(
    encodeFrame({ kind: "opened", channel, payload: { parameters: UTF8_SERVER, database: "rogue" } }),
  );
  expect((await client.words("Z")).at(-1)).toBe("Z I");
  return { client, channel, socket: dialled.socket, open, frames: dialled.frames };
}

describe("a grant", () => {
  it("that a client forges in a header is not looked at", async () => {
    const forged = Buffer.from(
      JSON.stringify({
        session: "ses_00000000000000000000000000",
        principal: { type: "User", issuer: "x", subject: "x", name: "root", groups: ["dba"] },
        resource: "shop-db",
        expiresAt: 4_000_000_000_000,
        noWait: false,
        tokenId: "x",
      }),
    );
    const engineer = await stack.sessionToken("engineer");
    for (const encoded of [forged.toString("base64url"), forged.toString("base64"), forged.toString()]) {
      expect(
        await GatewayClient.dial(stack.gateway, "/connect/shop-db", { "sally-grant": encoded }),
      ).toMatchObject({
        ok: false,
        status: 401,
      });
      const dialled = await GatewayClient.dial(stack.gateway, "/connect/shop-db", {
        "sally-grant": encoded,
        authorization: `Bearer ${engineer}`,
      });
      if (!dialled.ok) throw new Error(dialled.body);
      const { client } = dialled;
      client.send(
        startup([
          ["user", "app"],
          ["database", "shop"],
        ]),
      );
      await client.until("Z");
      const words = await client.run(f.query("select card_number from customers where id = 1"));
      expect(words).toContainEqual(expect.stringMatching(/^D \*{4}\d{4}$/));
      const session = (await callApi(stack.gateway, "GET", `/v1/sessions/${client.session}`, { token })) as {
        principal: { name: string };
      };
      expect(session.principal.name).toBe("engineer@shop.example");
      client.close();
    }
  });
});

describe("a ticket", () => {
  it("that is forged, malformed or missing opens nothing, whatever the session", async () => {
    const client = await GatewayClient.open(stack.gateway, "shop-db", token);
    const guess = `tkt_${createHash("sha256").update("guess").digest("base64url")}`;
    for (const session of [
      client.session,
      "ses_00000000000000000000000000",
      "../control",
      "control",
      "x".repeat(5000),
    ]) {
      for (const ticket of [guess, "", "tkt_", "undefined", token]) {
        expect(await dialBack(encodeURIComponent(session), ticket), session).toMatchObject({ status: 401 });
      }
    }
    expect(await client.run(f.query("select 1"))).toContain("D 1");
    client.close();
  });

  it("opens one socket of one session, once", async () => {
    const connector = await rogueConnector();
    const client = await rogueClient();
    const open = await connector.nextOpen();
    const other = await GatewayClient.open(stack.gateway, "shop-db", token);
    expect(await dialBack(other.session, open.ticket)).toEqual({ status: 401 });
    // Ten at once: a thief in a race with the connector gets it or the connector does, never both.
    const tries = await Promise.all(Array.from({ length: 10 }, () => dialBack(open.session, open.ticket)));
    expect(tries.filter((each) => "socket" in each)).toHaveLength(1);
    expect(await dialBack(open.session, open.ticket)).toEqual({ status: 401 });
    client.drop();
    other.close();
  });

  it("is worth nothing when its session has ended", async () => {
    const connector = await rogueConnector();
    const client = await rogueClient();
    const open = await connector.nextOpen();
    client.drop();
    await expect
      .poll(async () => dialBack(open.session, open.ticket), { timeout: 10_000 })
      .toEqual({ status: 401 });
  });
});

describe("a connector", () => {
  it("is not believed without a fresh token by its own key", async () => {
    const { privateKey } = await generateKeyPair("EdDSA");
    const now = Math.floor(Date.now() / 1000);
    const good = await connectorToken();
    const used = await dial("/connector/control", { authorization: `Bearer ${good}` });
    expect("socket" in used).toBe(true);
    for (const bad of [
      good,
      await connectorToken({}, privateKey),
      await connectorToken({ aud: "https://elsewhere.example" }),
      await connectorToken({ exp: now + 3600 }),
      await connectorToken({ iat: now - 600, exp: now - 550 }),
      await connectorToken({ iss: "demo", sub: "demo" }),
      await connectorToken({ jti: undefined }),
      token,
      "",
    ]) {
      expect(await dial("/connector/control", { authorization: `Bearer ${bad}` })).toEqual({ status: 401 });
    }
  });

  it("that does not dial back, or says that it cannot, costs the client a clear error", async () => {
    const connector = await rogueConnector();
    const refused = await rogueClient();
    const open = await connector.nextOpen();
    const cannot = {
      type: "cannot_open",
      session: open.session,
      code: "upstream_unreachable",
      message: "no route",
    };
    connector.socket.send(JSON.stringify(cannot));
    expect((await refused.words("never")).join()).toMatch(/^E 08\w{3} no route/);
    const silent = await rogueClient();
    const started = performance.now();
    expect((await silent.words("never")).join()).toMatch(/^E 08\w{3} the connector did not dial back/);
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it("cannot end sessions that it was not asked to open", async () => {
    const connector = await rogueConnector();
    const client = await GatewayClient.open(stack.gateway, "shop-db", token);
    for (const session of [client.session, "ses_00000000000000000000000000", "../x", "control"]) {
      const message = { type: "cannot_open", session, code: "session_killed", message: "gone" };
      connector.socket.send(JSON.stringify(message));
    }
    expect(await client.run(f.query("select 1"))).toContain("D 1");
    client.close();
  });

  it.each([
    [
      "more than its credit",
      (channel: number) =>
        Array.from({ length: 40 }, () =>
          encodeFrame({
            kind: "data",
            channel,
            bytes: Buffer.concat([Buffer.from("D"), Buffer.from([0, 16, 0, 0]), Buffer.alloc(60_000)]),
          }),
        ),
    ],
    ["data on another channel", () => [encodeFrame({ kind: "data", channel: 9, bytes: Buffer.from("x") })]],
    ["no frame at all", () => [Buffer.from("nonsense")]],
    [
      "an answer that nobody asked for",
      (channel: number) => [encodeFrame({ kind: "data", channel, bytes: b.complete("SELECT 1") })],
    ],
    [
      "a message that declares 4 GiB",
      (channel: number) => [
        encodeFrame({ kind: "data", channel, bytes: Buffer.from([0x54, 255, 255, 255, 255]) }),
      ],
    ],
    [
      "a setting that changes what statements mean",
      (channel: number) => [
        encodeFrame({ kind: "data", channel, bytes: b.status("standard_conforming_strings", "off") }),
      ],
    ],
    [
      "a demand for a password",
      (channel: number) => [
        encodeFrame({ kind: "data", channel, bytes: Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 3]) }),
      ],
    ],
  ] as const)(
    "that sends %s ends that session, recorded, and no other",
    { timeout: 30_000 },
    async (_what, frames) => {
      const bystander = await GatewayClient.open(stack.gateway, "shop-db", token);
      const { client, channel, socket, open } = await rogueSession();
      client.pause();
      for (const frame of frames(channel)) socket.send(frame);
      const words = (await client.words("never")).filter((word) => !word.startsWith("D"));
      expect(words.join()).toMatch(/^(E 08\w{3} .*)?$/);
      const { status, endReason } = (await callApi(stack.gateway, "GET", `/v1/sessions/${open.session}`, {
        token,
      })) as {
        status: string;
        endReason: string;
      };
      expect({ status, endReason }).toMatchObject({
        status: "ended",
        endReason: expect.stringMatching(/upstream|protocol/),
      });
      expect(await bystander.run(f.query("select 1"))).toContain("D 1");
      bystander.close();
    },
  );

  it("cannot open channels to the gateway, nor pass for the client's credit", async () => {
    const { client, socket } = await rogueSession();
    socket.send(
      encodeFrame({ kind: "open", channel: 2, payload: { protocol: "postgres", resource: "shop-db" } }),
    );
    socket.send(encodeFrame({ kind: "credit", channel: 0, amount: LIMITS.tunnel.window }));
    expect((await client.words("never")).join()).toMatch(/^E 08/);
  });
});
