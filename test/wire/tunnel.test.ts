import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../wire/limits.ts";
import {
  type Frame,
  FrameKind,
  type Tunnel,
  acceptChannel,
  addChannel,
  batchFrames,
  closeChannel,
  consume,
  decodeFrame,
  decodeFrames,
  encodeFrame,
  endChannel,
  isOpening,
  grantCredit,
  newTunnel,
  nextChannel,
  receiveFrame,
  sendable,
  spend,
} from "../../wire/tunnel.ts";

const WINDOW = LIMITS.tunnel.window;
const MAX_CHANNEL = 0xffff_ffff;

const anyChannel = fc.integer({ min: 0, max: MAX_CHANNEL });
const anyJson = fc.jsonValue({ maxDepth: 3 });
const anyFrame: fc.Arbitrary<Frame> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("open" as const, "opened" as const, "signal" as const),
    channel: anyChannel,
    payload: anyJson,
  }),
  fc.record({
    kind: fc.constant("data" as const),
    channel: anyChannel,
    bytes: fc.uint8Array({ minLength: 1, maxLength: 300 }),
  }),
  fc.record({
    kind: fc.constant("credit" as const),
    channel: anyChannel,
    amount: fc.integer({ min: 1, max: MAX_CHANNEL }),
  }),
  fc.record({ kind: fc.constant("end" as const), channel: anyChannel }),
  fc.record({
    kind: fc.constant("close" as const),
    channel: anyChannel,
    code: fc.string(),
    message: fc.string(),
  }),
);

function received(tunnel: Tunnel, frame: Frame): string | undefined {
  const result = receiveFrame(tunnel, frame);
  return result.ok ? result.value?.kind : `error: ${result.error}`;
}

function data(channel: number, length: number): Frame {
  return { kind: "data", channel, bytes: new Uint8Array(length) };
}

/** Two ends of one tunnel with channel 1 open. */
function openPair(): { gateway: Tunnel; connector: Tunnel } {
  const gateway = newTunnel("gateway");
  const connector = newTunnel("connector");
  addChannel(gateway, 1, "opening");
  received(connector, { kind: "open", channel: 1, payload: {} });
  acceptChannel(connector, 1);
  received(gateway, { kind: "opened", channel: 1, payload: {} });
  return { gateway, connector };
}

describe("frames", () => {
  it("come back as they were", () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const decoded = decodeFrame(encodeFrame(frame));
        // JSON has no -0.
        expect(decoded).toEqual({ ok: true, value: JSON.parse(JSON.stringify(frame), revive) ?? frame });
        function revive(key: string, value: unknown): unknown {
          return key === "bytes" && frame.kind === "data" ? frame.bytes : value;
        }
      }),
    );
  });

  it("cut at any byte are refused or are another whole frame, never an exception", () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const bytes = encodeFrame(frame);
        for (let end = 0; end < bytes.length; end += 1) {
          const decoded = decodeFrame(bytes.subarray(0, end));
          // What stays a whole frame is one of the same kind on the same channel.
          const whole = { ok: true, value: { kind: frame.kind, channel: frame.channel } };
          expect(decoded).toMatchObject(decoded.ok && end >= 5 ? whole : { ok: false });
        }
      }),
    );
  });

  it("of garbage are values, never exceptions", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(decodeFrame(bytes)).toHaveProperty("ok");
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ["nothing", [], "frame_too_short"],
    ["kind 0", [0, 0, 0, 0, 0], "kind_unknown"],
    ["kind 8", [8, 0, 0, 0, 0], "kind_unknown"],
    ["kind 255", [255, 0, 0, 0, 0, 1], "kind_unknown"],
    ["DATA without data", [FrameKind.DATA, 0, 0, 0, 1], "payload_malformed"],
    ["CREDIT of 0", [FrameKind.CREDIT, 0, 0, 0, 1, 0, 0, 0, 0], "payload_malformed"],
    ["CREDIT of three bytes", [FrameKind.CREDIT, 0, 0, 0, 1, 0, 0, 1], "payload_malformed"],
    ["CREDIT of five bytes", [FrameKind.CREDIT, 0, 0, 0, 1, 0, 0, 0, 0, 1], "payload_malformed"],
    ["END with a byte", [FrameKind.END, 0, 0, 0, 1, 0], "payload_malformed"],
    ["OPEN without JSON", [FrameKind.OPEN, 0, 0, 0, 1], "payload_malformed"],
    ["OPEN with half a JSON", [FrameKind.OPEN, 0, 0, 0, 1, 0x7b], "payload_malformed"],
    ["SIGNAL of invalid UTF-8", [FrameKind.SIGNAL, 0, 0, 0, 1, 0x22, 0xff, 0x22], "payload_malformed"],
    ["CLOSE of null", [FrameKind.CLOSE, 0, 0, 0, 1, 0x6e, 0x75, 0x6c, 0x6c], "payload_malformed"],
    ["CLOSE of a number", [FrameKind.CLOSE, 0, 0, 0, 1, 0x31], "payload_malformed"],
    [
      "CLOSE without a message",
      [FrameKind.CLOSE, 0, 0, 0, 1, ...Buffer.from('{"code":"x"}')],
      "payload_malformed",
    ],
    [
      "CLOSE with a number as code",
      [FrameKind.CLOSE, 0, 0, 0, 1, ...Buffer.from('{"code":1,"message":""}')],
      "payload_malformed",
    ],
  ])("refuse %s", (_what, bytes, error) => {
    expect(decodeFrame(Uint8Array.from(bytes))).toEqual({ ok: false, error });
  });

  it("hold at most the limits", () => {
    expect(decodeFrame(new Uint8Array(LIMITS.tunnel.frame + 1).fill(FrameKind.DATA, 0, 1))).toEqual({
      ok: false,
      error: "frame_too_large",
    });
    expect(decodeFrame(new Uint8Array(LIMITS.tunnel.frame).fill(FrameKind.DATA, 0, 1)).ok).toBe(true);
    const json = (length: number) =>
      encodeFrame({ kind: "signal", channel: 1, payload: "x".repeat(length - 2) });
    expect(decodeFrame(json(LIMITS.tunnel.json)).ok).toBe(true);
    expect(decodeFrame(json(LIMITS.tunnel.json + 1))).toEqual({ ok: false, error: "frame_too_large" });
  });
});

describe("channels", () => {
  it("open, answer, end both ways and close", () => {
    const { gateway, connector } = openPair();
    expect(received(connector, data(1, 10))).toBe("data");
    expect(endChannel(gateway, 1)).toBe(true);
    expect(endChannel(gateway, 1)).toBe(false);
    expect(sendable(gateway, 1)).toBe(0);
    expect(received(connector, { kind: "end", channel: 1 })).toBe("end");
    expect(received(connector, data(1, 1))).toBe("error: data_after_end");
    expect(received(gateway, data(1, 10))).toBe("data");
    expect(closeChannel(gateway, 1)).toBe(true);
    expect(closeChannel(gateway, 1)).toBe(false);
    expect(received(connector, { kind: "close", channel: 1, code: "done", message: "" })).toBe("close");
    expect(gateway.channels).toEqual({});
    expect(connector.channels).toEqual({});
  });

  it("that are gone ignore what crossed the CLOSE, those that never were break the tunnel", () => {
    const { gateway } = openPair();
    closeChannel(gateway, 1);
    const crossing: Frame[] = [
      data(1, 5),
      { kind: "credit", channel: 1, amount: 5 },
      { kind: "end", channel: 1 },
      { kind: "signal", channel: 1, payload: 0 },
      { kind: "opened", channel: 1, payload: 0 },
      { kind: "close", channel: 1, code: "done", message: "" },
    ];
    for (const frame of crossing)
      expect(receiveFrame(gateway, frame)).toEqual({ ok: true, value: undefined });
    for (const frame of crossing) {
      for (const channel of [0, 2, 3, 5, MAX_CHANNEL]) {
        expect(received(gateway, { ...frame, channel })).toBe("error: channel_unknown");
      }
    }
  });

  it("are numbered by their opener: odd by the gateway, even from 2 by the other side, never twice", () => {
    const gateway = newTunnel("gateway");
    const connector = newTunnel("connector");
    expect(nextChannel(gateway)).toBe(1);
    expect(nextChannel(connector)).toBe(2);
    for (const channel of [0, 1, 3, MAX_CHANNEL]) {
      expect(received(gateway, { kind: "open", channel, payload: {} })).toBe("error: illegal_in_state");
    }
    for (const channel of [0, 2, 4]) {
      expect(received(connector, { kind: "open", channel, payload: {} })).toBe("error: illegal_in_state");
    }
    expect(received(gateway, { kind: "open", channel: 4, payload: {} })).toBe("open");
    closeChannel(gateway, 4);
    for (const channel of [2, 4])
      expect(received(gateway, { kind: "open", channel, payload: {} })).toBe("error: channel_in_use");
    expect(addChannel(connector, 0, "open").ok).toBe(true);
    expect(addChannel(connector, 0, "open")).toEqual({ ok: false, error: "channel_in_use" });
    expect(nextChannel(connector)).toBe(2);
  });

  it("are at most so many", () => {
    const connector = newTunnel("connector");
    const open = (channel: number) => received(connector, { kind: "open", channel, payload: {} });
    for (let i = 0; i < LIMITS.tunnel.channels; i += 1) expect(open(2 * i + 1)).toBe("open");
    expect(open(2 * LIMITS.tunnel.channels + 1)).toBe("error: channels_over_limit");
    closeChannel(connector, 1);
    expect(open(2 * LIMITS.tunnel.channels + 1)).toBe("open");
  });

  it("that are opening take nothing but OPENED, SIGNAL and CLOSE, and OPENED only from the side that was asked", () => {
    const asking = () => {
      const tunnel = newTunnel("gateway");
      addChannel(tunnel, 1, "opening");
      return tunnel;
    };
    const asked = () => {
      const tunnel = newTunnel("connector");
      received(tunnel, { kind: "open", channel: 1, payload: {} });
      return tunnel;
    };
    const frames: Frame[] = [
      { kind: "opened", channel: 1, payload: 0 },
      data(1, 1),
      { kind: "credit", channel: 1, amount: 1 },
      { kind: "end", channel: 1 },
      { kind: "signal", channel: 1, payload: 0 },
      { kind: "close", channel: 1, code: "x", message: "" },
    ];
    const illegal = "error: illegal_in_state";
    expect(frames.map((frame) => received(asking(), frame))).toEqual([
      "opened",
      illegal,
      illegal,
      illegal,
      "signal",
      "close",
    ]);
    expect(frames.map((frame) => received(asked(), frame))).toEqual([
      illegal,
      illegal,
      illegal,
      illegal,
      "signal",
      "close",
    ]);
    expect(acceptChannel(asking(), 1)).toBe(false);
    expect(sendable(asking(), 1)).toBe(0);
    const { gateway } = openPair();
    expect(received(gateway, { kind: "opened", channel: 1, payload: 0 })).toBe(illegal);
    expect(received(gateway, { kind: "end", channel: 1 })).toBe("end");
    expect(received(gateway, { kind: "end", channel: 1 })).toBe(illegal);
  });
});

describe("credit", () => {
  it("is one window at first, and a byte more breaks the tunnel", () => {
    const { connector } = openPair();
    let left = WINDOW;
    while (left > 0) {
      const length = Math.min(left, 900_000);
      expect(received(connector, data(1, length))).toBe("data");
      left -= length;
    }
    expect(received(connector, data(1, 1))).toBe("error: credit_overrun");
  });

  it("cannot be given back beyond what was sent", () => {
    const { gateway } = openPair();
    expect(received(gateway, { kind: "credit", channel: 1, amount: 1 })).toBe("error: credit_overflow");
    spend(gateway, 1, 100);
    expect(received(gateway, { kind: "credit", channel: 1, amount: 101 })).toBe("error: credit_overflow");
    expect(received(gateway, { kind: "credit", channel: 1, amount: MAX_CHANNEL })).toBe(
      "error: credit_overflow",
    );
    expect(received(gateway, { kind: "credit", channel: 1, amount: 100 })).toBe("credit");
  });

  it("that is spent or given back without being there is a bug of ours", () => {
    const { gateway, connector } = openPair();
    expect(() => spend(gateway, 1, WINDOW + 1)).toThrow("spent more credit");
    expect(() => spend(gateway, 9, 1)).toThrow("spent more credit");
    expect(() => consume(connector, 1, 1)).toThrow("gave back more credit");
    expect(() => grantCredit(connector, 1, 1)).toThrow("gave back more credit");
  });

  it("comes back in few frames", () => {
    const { connector } = openPair();
    let frames = 0;
    for (let i = 0; i < WINDOW / 1024; i += 1) {
      received(connector, data(1, 1024));
      if (consume(connector, 1, 1024) > 0) frames += 1;
    }
    expect(frames).toBe(4);
  });

  it("never lets more than a window be under way, nor gets stuck, whatever two honest ends do", () => {
    const step = fc.record({
      end: fc.constantFrom("gateway" as const, "connector" as const),
      action: fc.constantFrom("send" as const, "deliver" as const, "read" as const, "end" as const),
      amount: fc.integer({ min: 1, max: 400_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const tunnels = openPair();
        const wires: Record<"gateway" | "connector", Frame[]> = { gateway: [], connector: [] };
        const unread = { gateway: 0, connector: 0 };
        const sent = { gateway: 0, connector: 0 };
        const got = { gateway: 0, connector: 0 };
        const other = { gateway: "connector", connector: "gateway" } as const;

        const deliver = (end: "gateway" | "connector") => {
          const frame = wires[end].shift();
          if (frame === undefined) return false;
          // Over the wire, as bytes.
          const decoded = decodeFrame(encodeFrame(frame));
          if (!decoded.ok) throw new Error(decoded.error);
          const result = receiveFrame(tunnels[end], decoded.value);
          if (!result.ok) throw new Error(result.error);
          if (decoded.value.kind === "data") {
            unread[end] += decoded.value.bytes.length;
            got[end] += decoded.value.bytes.length;
          }
          return true;
        };
        const read = (end: "gateway" | "connector", amount: number) => {
          const length = Math.min(amount, unread[end]);
          unread[end] -= length;
          const credit = length === 0 ? 0 : consume(tunnels[end], 1, length);
          if (credit > 0) wires[other[end]].push({ kind: "credit", channel: 1, amount: credit });
          return length > 0;
        };
        const check = () => {
          for (const end of ["gateway", "connector"] as const) {
            const flying = wires[end].reduce(
              (sum, frame) => sum + (frame.kind === "data" ? frame.bytes.length : 0),
              0,
            );
            expect(flying + unread[end]).toBeLessThanOrEqual(WINDOW);
          }
        };

        for (const { end, action, amount } of steps) {
          if (action === "send") {
            const length = Math.min(amount, sendable(tunnels[end], 1));
            if (length > 0) {
              spend(tunnels[end], 1, length);
              sent[end] += length;
              wires[other[end]].push(data(1, length));
            }
          } else if (action === "deliver") deliver(end);
          else if (action === "read") read(end, amount);
          else if (amount > 390_000 && endChannel(tunnels[end], 1))
            wires[other[end]].push({ kind: "end", channel: 1 });
          check();
        }
        // Everything under way arrives and is read: then both ends may send again, unless they ended.
        let moved = true;
        while (moved) {
          moved = false;
          for (const end of ["gateway", "connector"] as const) {
            if (deliver(end)) moved = true;
            if (read(end, WINDOW)) moved = true;
          }
        }
        for (const end of ["gateway", "connector"] as const) {
          expect(got[end]).toBe(sent[other[end]]);
          const state = tunnels[end].channels[1];
          expect(state?.weEnded === true || (state?.sendCredit ?? 0) > (WINDOW * 3) / 4).toBe(true);
        }
      }),
      { numRuns: 150 },
    );
  });

  it("survives being stored and taken up again", () => {
    const { gateway } = openPair();
    spend(gateway, 1, 1000);
    const restored = JSON.parse(JSON.stringify(gateway)) as Tunnel;
    expect(restored).toEqual(gateway);
    expect(received(restored, { kind: "credit", channel: 1, amount: 1000 })).toBe("credit");
    expect(received(restored, { kind: "credit", channel: 1, amount: 1 })).toBe("error: credit_overflow");
  });
});

describe("a batch", () => {
  it("holds frames in their order, in as few messages as fit", () => {
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 40 }), (frames) => {
        const messages = batchFrames(frames.map(encodeFrame));
        const decoded = messages.flatMap((message) => {
          const result = decodeFrames(message);
          if (!result.ok) throw new Error(result.error);
          return result.value;
        });
        expect(decoded.map(encodeFrame)).toEqual(frames.map(encodeFrame));
        for (const message of messages) expect(message.length).toBeLessThanOrEqual(LIMITS.tunnel.chunk);
        if (frames.length > 0 && frames.length < 10) expect(messages).toHaveLength(1);
      }),
    );
  });

  it("leaves a frame that is alone, or too long to share a message, as it is", () => {
    const long = encodeFrame(data(1, LIMITS.tunnel.chunk));
    const end = encodeFrame({ kind: "end", channel: 1 });
    expect(batchFrames([end])).toEqual([end]);
    expect(batchFrames([end, long, end])).toEqual([end, long, end]);
    expect(batchFrames([])).toEqual([]);
  });

  it("is refused when it is cut short, empty, nested or on a channel", () => {
    const end = encodeFrame({ kind: "end", channel: 1 });
    const [whole = new Uint8Array()] = batchFrames([end, end]);
    for (let length = 1; length < whole.length; length++) {
      const cut = decodeFrames(whole.subarray(0, length));
      // Cut between two frames it is a batch of one.
      expect(cut.ok).toBe(length === 5 + 4 + end.length);
    }
    const error = (bytes: Uint8Array): string => {
      const decoded = decodeFrames(bytes);
      return decoded.ok ? "none" : decoded.error;
    };
    expect(error(whole.slice(0, 5))).toBe("payload_malformed");
    expect(error(Uint8Array.of(FrameKind.BATCH, 0, 0, 0, 1, ...whole.subarray(5)))).toBe("payload_malformed");
    expect(error(Uint8Array.of(FrameKind.BATCH, 0, 0, 0, 0, 255, 255, 255, 255))).toBe("frame_too_short");
    const nested = Uint8Array.of(FrameKind.BATCH, 0, 0, 0, 0, 0, 0, 0, whole.length, ...whole);
    expect(error(nested)).toBe("kind_unknown");
    expect(error(new Uint8Array(LIMITS.tunnel.frame + 1).fill(FrameKind.BATCH, 0, 1))).toBe(
      "frame_too_large",
    );
  });
});

it("knows which channels wait for OPENED", () => {
  const tunnel = newTunnel("gateway");
  addChannel(tunnel, 1, "opening");
  expect(isOpening(tunnel, 1)).toBe(true);
  expect(received(tunnel, { kind: "opened", channel: 1, payload: {} })).toBe("opened");
  expect(isOpening(tunnel, 1)).toBe(false);
  expect(isOpening(tunnel, 3)).toBe(false);
});
