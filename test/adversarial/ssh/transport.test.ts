/** The gateway's own SSH transport, from a client that does not behave: what it offers, and what it lets pass. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Duplex } from "node:stream";
import { afterEach, describe, expect, it } from "vitest";
import { ClientTransport, HOST_KEY_ALGORITHMS } from "../../../connectors/agent/ssh/transport.ts";
import { SALLY } from "../../../scripts/lib/sally.ts";
import { concat, utf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type SshMessage, decodeMessage, encodeMessage } from "../../../wire/ssh/messages.ts";
import { Reader, byte, string, uint32 } from "../../../wire/ssh/reader.ts";
import { sharedStack } from "../../support/stack.ts";

const stack = sharedStack();
const open: ChildProcessWithoutNullStreams[] = [];

afterEach(() => {
  for (const child of open.splice(0)) child.kill("SIGKILL");
});

/** A byte pipe to the gateway's SSH server, as ssh has it. */
function pipe(user: "reviewer-a" | "agent" = "reviewer-a"): ChildProcessWithoutNullStreams {
  const child = spawn(SALLY, ["proxy", "web-1", "--gateway", stack.gateway], {
    env: {
      ...process.env,
      SALLY_TOKEN_FILE: stack.tokenFiles[user],
      XDG_CONFIG_HOME: mkdtempSync(join(tmpdir(), "sally-raw-")),
    },
  });
  child.stdin.on("error", () => undefined);
  open.push(child);
  return child;
}

/** Everything until the pipe ends, or until `enough`. */
function read(
  child: ChildProcessWithoutNullStreams,
  enough: (bytes: Buffer) => boolean,
): Promise<{ bytes: Buffer; ended: boolean }> {
  let bytes = Buffer.alloc(0);
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve({ bytes, ended: false }), 20_000);
    const settle = (ended: boolean): void => {
      clearTimeout(timer);
      resolve({ bytes, ended });
    };
    child.stdout.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (enough(bytes)) settle(false);
    });
    child.stdout.once("end", () => settle(true));
  });
}

const never = (): boolean => false;

/** An unencrypted packet (RFC 4253 section 6). */
function packet(payload: Uint8Array): Uint8Array {
  const padding = 8 - ((payload.length + 5) % 8) + 8;
  return concat([uint32(payload.length + padding + 1), byte(padding), payload, new Uint8Array(padding)]);
}

function kexinit(lists: readonly string[]): Uint8Array {
  return concat([byte(20), new Uint8Array(16), ...lists.map((list) => string(list)), byte(0), uint32(0)]);
}

const GOOD_LISTS = [
  "curve25519-sha256,kex-strict-c-v00@openssh.com",
  "ssh-ed25519",
  ...["aes128-gcm@openssh.com", "aes128-gcm@openssh.com"],
  ...["hmac-sha2-256-etm@openssh.com", "hmac-sha2-256-etm@openssh.com"],
  ...["none", "none", "", ""],
];

describe("what is offered", () => {
  it("is the list of docs/ssh.md and nothing else, with strict key exchange", async () => {
    const child = pipe();
    // The server speaks first, and tells no version of its software.
    const { bytes: greeting } = await read(child, (seen) => seen.includes("\r\n"));
    expect(greeting.toString()).toBe("SSH-2.0-Sallyport\r\n");
    const offered = read(child, (seen) => seen.length > 400);
    child.stdin.write("SSH-2.0-test\r\n");
    const reader = new Reader(new Uint8Array((await offered).bytes), 5);
    expect(reader.byte()).toBe(20);
    for (let i = 0; i < 16; i++) reader.byte();
    const lists = Array.from({ length: 8 }, () => reader.text().split(","));
    expect(lists).toEqual([
      [
        "curve25519-sha256",
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "kex-strict-s-v00@openssh.com",
      ],
      ["ssh-ed25519"],
      ...[0, 1].map(() => ["aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes128-ctr", "aes256-ctr"]),
      ...[0, 1].map(() => ["hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com"]),
      ...[0, 1].map(() => ["none"]),
    ]);
  });

  it.each([
    ["diffie-hellman-group14-sha1", 0],
    ["diffie-hellman-group18-sha512", 0],
    ["ssh-rsa", 1],
    ["chacha20-poly1305@openssh.com", 2],
    ["3des-cbc", 2],
    ["zlib@openssh.com", 6],
  ])("ends at once with a client that has only %s", async (algorithm, list) => {
    const child = pipe();
    const lists = GOOD_LISTS.with(list, algorithm);
    child.stdin.write(concat([utf8("SSH-2.0-test\r\n"), packet(kexinit(lists))]));
    expect((await read(child, never)).ended).toBe(true);
  });
});

describe("Terrapin: nothing may stand before or among the messages of a strict key exchange", () => {
  it.each([
    ["IGNORE", concat([byte(2), string("")])],
    ["DEBUG", concat([byte(4), byte(0), string(""), string("")])],
    ["UNIMPLEMENTED", concat([byte(3), uint32(0)])],
  ])("%s before KEXINIT ends the connection", async (_, message) => {
    const child = pipe();
    child.stdin.write(concat([utf8("SSH-2.0-test\r\n"), packet(message), packet(kexinit(GOOD_LISTS))]));
    expect((await read(child, never)).ended).toBe(true);
  });

  it("IGNORE after KEXINIT ends the connection", async () => {
    const child = pipe();
    child.stdin.write(
      concat([utf8("SSH-2.0-test\r\n"), packet(kexinit(GOOD_LISTS)), packet(concat([byte(2), string("")]))]),
    );
    expect((await read(child, never)).ended).toBe(true);
  });
});

describe("before authentication", () => {
  it.each<[string, Uint8Array]>([
    ["a line that is no identification", utf8("GET / HTTP/1.1\r\n\r\n")],
    ["an identification without end", new Uint8Array(20_000).fill(65)],
    ["an old protocol", utf8("SSH-1.5-old\r\n")],
    ["a packet of 4 GiB", concat([utf8("SSH-2.0-test\r\n"), uint32(0xffffffff), new Uint8Array(64)])],
    ["a packet of nothing", concat([utf8("SSH-2.0-test\r\n"), uint32(0), new Uint8Array(64)])],
    [
      "an authentication before keys",
      concat([
        utf8("SSH-2.0-test\r\n"),
        packet(kexinit(GOOD_LISTS)),
        packet(encodeMessage({ kind: "serviceRequest", service: "ssh-userauth" })),
      ]),
    ],
    [
      "a key of zeros",
      concat([
        utf8("SSH-2.0-test\r\n"),
        packet(kexinit(GOOD_LISTS)),
        packet(concat([byte(30), string(new Uint8Array(32))])),
      ]),
    ],
    [
      "a short key",
      concat([
        utf8("SSH-2.0-test\r\n"),
        packet(kexinit(GOOD_LISTS)),
        packet(concat([byte(30), string(new Uint8Array(5))])),
      ]),
    ],
    ["NEWKEYS at once", concat([utf8("SSH-2.0-test\r\n"), packet(kexinit(GOOD_LISTS)), packet(byte(21))])],
    [
      "two KEXINITs",
      concat([utf8("SSH-2.0-test\r\n"), packet(kexinit(GOOD_LISTS)), packet(kexinit(GOOD_LISTS))]),
    ],
  ])("%s ends the connection", async (_, bytes) => {
    const child = pipe();
    child.stdin.write(bytes);
    expect((await read(child, never)).ended).toBe(true);
  });

  it("random bytes end it, or wait for more; the gateway lives on", async () => {
    for (let i = 0; i < 10; i++) {
      const child = pipe();
      child.stdin.end(concat([utf8("SSH-2.0-test\r\n"), randomBytes(300 + i * 100)]));
      expect((await read(child, never)).ended).toBe(true);
    }
    expect((await fetch(`${stack.gateway}/healthz`)).status).toBe(200);
  });
});

type Connected = {
  readonly transport: ClientTransport;
  readonly received: SshMessage[];
  readonly lost: Promise<string>;
};

/** A client with real keys, that says what it likes. */
function connect(user: "reviewer-a" | "agent" = "reviewer-a"): Promise<Connected> {
  const child = pipe(user);
  const stream = Duplex.from({ readable: child.stdout, writable: child.stdin });
  const received: SshMessage[] = [];
  const lost = Promise.withResolvers<string>();
  return new Promise((resolve) => {
    const transport: ClientTransport = new ClientTransport(stream, () => true, HOST_KEY_ALGORITHMS, {
      ready: () => resolve({ transport, received, lost: lost.promise }),
      payload: (payload) => {
        const decoded = decodeMessage(payload.slice());
        if (decoded.ok) received.push(decoded.value);
      },
      lost: (why) => lost.resolve(why),
    });
  });
}

const say = ({ transport }: Connected, message: SshMessage): void => transport.send(encodeMessage(message));

async function authenticated(user: "reviewer-a" | "agent" = "reviewer-a"): Promise<Connected> {
  const client = await connect(user);
  say(client, { kind: "serviceRequest", service: "ssh-userauth" });
  say(client, {
    kind: "userauthRequest",
    user: "root",
    service: "ssh-connection",
    method: "none",
    data: new Uint8Array(),
  });
  await expect
    .poll(() => client.received.some(({ kind }) => kind === "userauthSuccess"), { timeout: 10_000 })
    .toBe(true);
  return client;
}

describe("with keys", () => {
  it("too many packets before authentication end it", async () => {
    const client = await connect();
    for (let i = 0; i <= LIMITS.ssh.packetsBeforeAuthentication; i++) say(client, { kind: "ignore" });
    await client.lost;
  });

  it("an agent that skips the client's manners gets no further: a second exec, another channel's number, a shell", async () => {
    const client = await authenticated("agent");
    say(client, {
      kind: "channelOpen",
      type: "session",
      sender: 0,
      window: 1 << 20,
      maximumPacket: 1 << 15,
      data: new Uint8Array(),
    });
    await expect
      .poll(() => client.received.some(({ kind }) => kind === "channelOpenConfirmation"))
      .toBe(true);
    const exec = (command: string): void =>
      say(client, {
        kind: "channelRequest",
        recipient: 1,
        type: "exec",
        wantReply: true,
        data: string(command),
      });
    exec("uptime");
    exec("id");
    say(client, {
      kind: "channelRequest",
      recipient: 1,
      type: "shell",
      wantReply: true,
      data: new Uint8Array(),
    });
    await expect
      .poll(() => client.received.some(({ kind }) => kind === "channelClose"), { timeout: 15_000 })
      .toBe(true);
    const replies = client.received.flatMap(({ kind }) =>
      kind === "channelSuccess" || kind === "channelFailure" ? [kind] : [],
    );
    expect(replies).toEqual(["channelSuccess", "channelFailure", "channelFailure"]);
    const output = client.received
      .map((message) => (message.kind === "channelData" ? Buffer.from(message.data).toString() : ""))
      .join("");
    expect(output).toContain("load average");
    expect(output).not.toContain("uid=");
  });

  it("data over the window ends it", async () => {
    const client = await authenticated();
    say(client, {
      kind: "channelOpen",
      type: "session",
      sender: 0,
      window: 1 << 20,
      maximumPacket: 1 << 15,
      data: new Uint8Array(),
    });
    const chunk = new Uint8Array(32 << 10);
    for (let sent = 0; sent <= LIMITS.ssh.window; sent += chunk.length)
      say(client, { kind: "channelData", recipient: 1, data: chunk });
    await client.lost;
    expect(client.received.find(({ kind }) => kind === "disconnect")).toMatchObject({
      description: expect.stringContaining("window") as string,
    });
  });

  it("key exchange in a loop ends it", async () => {
    const client = await connect();
    // A second exchange before authentication is one too many.
    client.transport.send(kexinit(GOOD_LISTS));
    await client.lost;
  });

  it("random messages end it or do nothing; nothing of them reaches the server", async () => {
    for (let i = 0; i < 8; i++) {
      const client = await authenticated("agent");
      for (let j = 0; j < 40; j++) {
        const type = [1, 2, 5, 50, 80, 90, 93, 94, 96, 97, 98][Math.floor(Math.random() * 11)] ?? 2;
        client.transport.send(
          concat([byte(type), new Uint8Array(randomBytes(Math.floor(Math.random() * 60)))]),
        );
      }
      client.transport.close();
    }
    expect((await fetch(`${stack.gateway}/healthz`)).status).toBe(200);
    const denied = await stack.sally("agent", ["ssh", "web-1", "--", "uptime"]);
    expect(denied.code).toBe(0);
  });
});
