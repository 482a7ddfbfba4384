/** Channels that a connector opens by itself: only on one of the gateway's that takes such, and within credit. */
import { beforeEach, describe, expect, it } from "vitest";
import { LIMITS } from "../../../../wire/limits.ts";
import { type Frame, decodeFrames, encodeFrame } from "../../../../wire/tunnel.ts";
import { ConnectorLink } from "../../../../worker/objects/session/connector-link.ts";
import type { ChannelHandler } from "../../../../worker/objects/session/driver.ts";

/** What the gateway sends, and the connector's end of it, which says what it likes. */
class Connector {
  readonly sent: Frame[] = [];
  readonly link = new ConnectorLink();

  constructor() {
    const socket = {
      send: (message: ArrayBuffer | Uint8Array | string) => {
        if (typeof message === "string") return;
        const frames = decodeFrames(new Uint8Array(message));
        if (frames.ok) this.sent.push(...frames.value);
      },
      close: () => undefined,
    };
    // Of a WebSocket, the link uses these two.
    this.link.attach(socket as unknown as WebSocket, "tag");
  }

  says(frame: Frame): ReturnType<ConnectorLink["receive"]> {
    const bytes = encodeFrame(frame);
    const received = this.link.receive(bytes.slice().buffer);
    this.link.flush();
    return received;
  }
}

const forwarded = (forward: unknown): unknown => ({
  protocol: "ssh",
  kind: "forwarded",
  forward,
  originHost: "192.0.2.1",
  originPort: 5,
});

let connector: Connector;
let incoming: { channel: number; payload: unknown }[];
let data: Uint8Array[];
let listener: number;
let plain: number;

const handler = (): ChannelHandler => ({
  opened: () => undefined,
  data: (bytes) => data.push(bytes),
  signal: () => undefined,
  ended: () => undefined,
  closed: () => undefined,
});

beforeEach(() => {
  connector = new Connector();
  incoming = [];
  data = [];
  const open = (more: Partial<ChannelHandler>): number => {
    const opened = connector.link.open({ protocol: "ssh" }, { ...handler(), ...more });
    if (!opened.ok) throw new Error(opened.error.message);
    return opened.value;
  };
  listener = open({
    incoming: (channel, payload) => {
      incoming.push({ channel, payload });
      connector.link.listen(channel, handler());
    },
  });
  plain = open({});
  connector.link.flush();
  for (const channel of [listener, plain]) {
    const { ok } = connector.says({ kind: "opened", channel, payload: {} });
    if (!ok) throw new Error("the gateway's own channel was not opened");
  }
});

const opens = (channel: number, payload: unknown): ReturnType<Connector["says"]> =>
  connector.says({ kind: "open", channel, payload });

describe("a channel that the connector opens", () => {
  it("is handed to the channel that it names, and may be used once that has taken it", () => {
    expect(opens(2, forwarded(listener)).ok).toBe(true);
    expect(incoming).toEqual([{ channel: 2, payload: forwarded(listener) }]);
    connector.link.accept(2);
    connector.link.flush();
    expect(connector.sent.at(-1)).toEqual({ kind: "opened", channel: 2, payload: {} });
    expect(connector.says({ kind: "data", channel: 2, bytes: Uint8Array.of(1, 2) }).ok).toBe(true);
    expect(data).toEqual([Uint8Array.of(1, 2)]);
  });

  it.each<[string, () => unknown]>([
    ["no channel", () => ({ protocol: "ssh" })],
    ["a channel that takes none", () => forwarded(plain)],
    ["a channel that never was", () => forwarded(listener + 100)],
    ["a channel of the connector's own", () => forwarded(2)],
    ["channel 0", () => forwarded(0)],
    ["no number", () => forwarded("1")],
    ["a negative number", () => forwarded(-1)],
    ["nothing", () => null],
  ])("and names %s breaks the tunnel", (_, payload) => {
    expect(opens(2, payload())).toMatchObject({ ok: false, error: { code: "upstream_lost" } });
    expect(incoming).toEqual([]);
  });

  it("with one of the gateway's numbers, or one twice, breaks the tunnel", () => {
    expect(opens(listener + 10, forwarded(listener)).ok).toBe(false);
    expect(opens(2, forwarded(listener)).ok).toBe(true);
    expect(opens(2, forwarded(listener)).ok).toBe(false);
  });

  it("on one that the gateway has just closed is closed, and the tunnel goes on", () => {
    connector.link.close(listener);
    expect(opens(2, forwarded(listener)).ok).toBe(true);
    expect(incoming).toEqual([]);
    expect(connector.sent.at(-1)).toMatchObject({ kind: "close", channel: 2 });
  });

  it("carries nothing before it is accepted, and not a byte more than its credit after that", () => {
    opens(2, forwarded(listener));
    opens(4, forwarded(listener));
    connector.link.accept(4);
    const chunk = new Uint8Array(LIMITS.tunnel.chunk);
    for (let sent = 0; sent < LIMITS.tunnel.window; sent += chunk.length)
      expect(connector.says({ kind: "data", channel: 4, bytes: chunk }).ok).toBe(true);
    expect(connector.says({ kind: "data", channel: 4, bytes: Uint8Array.of(0) }).ok).toBe(false);
    expect(new Connector().says({ kind: "data", channel: 2, bytes: chunk }).ok).toBe(false);
    expect(connector.says({ kind: "data", channel: 2, bytes: chunk }).ok).toBe(false);
  });

  it("too many of them break the tunnel", () => {
    const results = Array.from({ length: LIMITS.tunnel.channels }, (_, index) =>
      opens(2 + 2 * index, forwarded(listener)),
    );
    expect(results.findIndex(({ ok }) => !ok)).toBe(LIMITS.tunnel.channels - 2);
  });
});
