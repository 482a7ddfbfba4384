import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Readable } from "node:stream";
import { finished, pipeline } from "node:stream/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import {
  ChannelClosed,
  type CloseReason,
  DONE,
  type TunnelChannel,
  TunnelSocket,
} from "../../../connectors/lib/tunnel-socket.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { encodeFrame } from "../../../wire/tunnel.ts";
import { type Pair, pair, rawPair } from "./socket-pair.ts";

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

async function echoPair(): Promise<Pair> {
  const made = await pair(
    {},
    {
      onOpen: (channel, payload) => {
        channel.accept({ echo: payload });
        void pipeline(channel, channel).catch(() => undefined);
      },
    },
  );
  ends.push(made.end);
  return made;
}

function openOn(
  tunnel: TunnelSocket,
  payload: unknown,
  onOpened?: (payload: unknown) => void,
): TunnelChannel {
  const channel = tunnel.open(payload, onOpened);
  if (channel === undefined) throw new Error("no channel");
  return channel;
}

async function readAll(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

describe("a tunnel over a WebSocket", () => {
  it("carries 20 MiB there and back unchanged, through many windows of credit", async () => {
    const { gateway } = await echoPair();
    const channel = openOn(gateway, "x");
    const sent = randomBytes(20 << 20);
    const back = readAll(channel);
    Readable.from(
      (function* () {
        for (let at = 0; at < sent.length; at += 300_001) yield sent.subarray(at, at + 300_001);
      })(),
    ).pipe(channel);
    expect(
      createHash("sha256")
        .update(await back)
        .digest("hex"),
    ).toBe(createHash("sha256").update(sent).digest("hex"));
  });

  it("hands the OPENED payload over and holds writes until then", async () => {
    const made = await pair(
      {},
      {
        onOpen: (channel) =>
          setTimeout(() => {
            channel.accept({ ready: 1 });
            channel.pipe(channel);
          }, 30),
      },
    );
    ends.push(made.end);
    let opened: unknown;
    const channel = openOn(made.gateway, "x", (payload) => (opened = payload));
    channel.end("early");
    expect((await readAll(channel)).toString()).toBe("early");
    expect(opened).toEqual({ ready: 1 });
  });

  it("sends END after OPENED when the writer ended an empty stream while opening", async () => {
    const made = await pair(
      {},
      {
        onOpen: (channel) =>
          setTimeout(() => {
            channel.accept({});
            channel.pipe(channel);
          }, 20),
      },
    );
    ends.push(made.end);
    const channel = openOn(made.gateway, "x");
    channel.end();
    expect((await readAll(channel)).length).toBe(0);
  });

  it("stops the writer at one window while the reader does not read, and goes on when it does", async () => {
    let far: TunnelChannel | undefined;
    const made = await pair(
      {},
      {
        onOpen: (channel) => {
          far = channel;
          channel.accept({});
        },
      },
    );
    ends.push(made.end);
    const channel = openOn(made.gateway, "x");
    const chunk = Buffer.alloc(LIMITS.tunnel.chunk, 7);
    let written = 0;
    const total = 40 * LIMITS.tunnel.window;
    const writing = (async () => {
      while (written < total) {
        written += chunk.length;
        if (!channel.write(chunk)) await once(channel, "drain");
      }
      channel.end();
    })();
    await sleep(200);
    const stopped = written;
    expect(stopped).toBeLessThanOrEqual(LIMITS.tunnel.window + 4 * LIMITS.tunnel.chunk);
    await sleep(100);
    expect(written).toBe(stopped);
    if (far === undefined) throw new Error("not opened");
    let received = 0;
    for await (const part of far) received += (part as Buffer).length;
    await writing;
    expect(received).toBe(total);
  });

  it("lets another channel go on while one is stuck", async () => {
    const made = await pair(
      {},
      {
        onOpen: (channel, payload) => {
          channel.accept({});
          if (payload === "echo") channel.pipe(channel);
        },
      },
    );
    ends.push(made.end);
    const stuck = openOn(made.gateway, "stuck");
    stuck.write(Buffer.alloc(8 << 20));
    const live = openOn(made.gateway, "echo");
    live.end(Buffer.alloc(3 << 20, 1));
    expect((await readAll(live)).length).toBe(3 << 20);
    stuck.destroy();
  });

  it("keeps a window of one-byte frames from costing an object each", async () => {
    let far: TunnelChannel | undefined;
    const { accepted, dialled, end } = await rawPair();
    ends.push(end);
    new TunnelSocket(dialled, {
      onOpen: (channel) => {
        far = channel;
        channel.accept({});
      },
    });
    accepted.send(encodeFrame({ kind: "open", channel: 1, payload: {} }));
    const frame = encodeFrame({ kind: "data", channel: 1, bytes: new Uint8Array([65]) });
    for (let i = 0; i < 50_000; i += 1) accepted.send(frame);
    accepted.send(encodeFrame({ kind: "end", channel: 1 }));
    await sleep(500);
    if (far === undefined) throw new Error("not opened");
    const parts: Buffer[] = [];
    for await (const part of far) parts.push(part as Buffer);
    expect(Buffer.concat(parts).equals(Buffer.alloc(50_000, 65))).toBe(true);
    expect(parts.length).toBeLessThan(20);
  });

  it("delivers what came before a CLOSE that tells of a failure, then the failure", async () => {
    const made = await pair(
      {},
      {
        onOpen: (channel) => {
          channel.accept({});
          channel.write(Buffer.alloc(200_000, 9), () =>
            channel.close({ code: "upstream_lost", message: "the server went away" }),
          );
        },
      },
    );
    ends.push(made.end);
    const channel = openOn(made.gateway, "x");
    const closed = new Promise<CloseReason>((resolve) => channel.listen({ onRemoteClose: resolve }));
    await closed;
    await sleep(20);
    let received = 0;
    let failure: unknown;
    try {
      for await (const part of channel) received += (part as Buffer).length;
    } catch (error) {
      failure = error;
    }
    expect(received).toBe(200_000);
    expect(failure).toBeInstanceOf(ChannelClosed);
    expect(failure).toMatchObject({ code: "upstream_lost", message: "the server went away" });
  });

  it("carries signals in order, opening or open", async () => {
    const signals: unknown[] = [];
    const made = await pair(
      {},
      {
        onOpen: (channel) =>
          channel.listen({
            onSignal: (payload) => {
              signals.push(payload);
              if (signals.length === 2) channel.close(DONE);
            },
          }),
      },
    );
    ends.push(made.end);
    const channel = openOn(made.gateway, "x");
    channel.signal({ type: "cancel" });
    channel.signal({ n: 2 });
    channel.resume();
    channel.end();
    await finished(channel);
    expect(signals).toEqual([{ type: "cancel" }, { n: 2 }]);
  });

  it("ignores frames that cross its CLOSE", async () => {
    const { gateway, connector } = await echoPair();
    for (let i = 0; i < 50; i += 1) {
      const channel = openOn(gateway, i);
      channel.on("error", () => undefined);
      channel.write(Buffer.alloc(100_000));
      await once(channel, "data");
      channel.destroy();
    }
    await sleep(50);
    expect(gateway.closed).toBeUndefined();
    expect(connector.closed).toBeUndefined();
  });

  it("tells every channel when the WebSocket is lost", async () => {
    const made = await echoPair();
    const channel = openOn(made.gateway, "x", () => made.connectorSocket.terminate());
    channel.resume();
    await expect(finished(channel)).rejects.toMatchObject({ code: "tunnel_lost" });
    expect(made.gateway.closed?.code).toBe("tunnel_lost");
    expect(made.gateway.open("y")).toBeUndefined();
  });

  it("closes on an overrun of credit", async () => {
    const { accepted, dialled, end } = await rawPair();
    ends.push(end);
    const closed = new Promise<CloseReason>((resolve) => {
      new TunnelSocket(dialled, {
        onOpen: (channel) => {
          channel.on("error", () => undefined);
          channel.accept({});
        },
        onClosed: resolve,
      });
    });
    accepted.send(encodeFrame({ kind: "open", channel: 1, payload: {} }));
    const frame = encodeFrame({
      kind: "data",
      channel: 1,
      bytes: new Uint8Array(LIMITS.tunnel.chunk),
    });
    // One window, what the stream itself takes in and gives back at once, and one frame more.
    for (let i = 0; i < 40; i += 1) accepted.send(frame);
    const [code] = (await once(accepted, "close")) as [number];
    expect(code).toBe(1002);
    expect(await closed).toMatchObject({
      code: "protocol_violation",
      message: expect.stringContaining("credit_overrun"),
    });
  });

  it("passes control messages as text and refuses one over the limit", async () => {
    const texts: string[] = [];
    const made = await pair({}, { onControl: (text) => texts.push(text) });
    ends.push(made.end);
    made.gateway.control({ type: "held" });
    const lost = new Promise<void>((resolve) => made.connectorSocket.once("close", () => resolve()));
    made.gateway.control({ type: "x".repeat(LIMITS.tunnel.control) });
    await lost;
    expect(texts).toEqual(['{"type":"held"}']);
    expect(made.connector.closed?.code).toBe("protocol_violation");
  });

  it("gives a peer up that answers no ping", async () => {
    const { accepted, dialled, end } = await rawPair();
    ends.push(end);
    // A paused socket reads nothing, so it answers no ping: a peer behind a dead link.
    accepted.pause();
    const reason = await new Promise<CloseReason>((resolve) => {
      new TunnelSocket(dialled, { keepAlive: 20, onClosed: resolve });
    });
    expect(reason).toMatchObject({ code: "tunnel_lost", message: "the gateway does not answer" });
  });
});
