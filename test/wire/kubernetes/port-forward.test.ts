import { describe, expect, it } from "vitest";
import { concat } from "../../../wire/bytes.ts";
import { PortForwardMeter } from "../../../wire/kubernetes/port-forward.ts";
import { LIMITS } from "../../../wire/limits.ts";

function word(value: number): readonly number[] {
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255];
}

function control(type: number, body: readonly number[], flags = 0, version = 3): Uint8Array {
  return Uint8Array.from([0x80, version, 0, type, flags, ...word(body.length).slice(1), ...body]);
}

function data(stream: number, length: number, flags = 0): Uint8Array {
  return concat([
    Uint8Array.from([...word(stream), flags, ...word(length).slice(1)]),
    new Uint8Array(length),
  ]);
}

/** Stream, associated stream, priority, slot, then compressed headers. */
const syn = (stream: number, flags = 0): Uint8Array =>
  control(1, [...word(stream), ...word(0), 0, 0, 9, 9, 9], flags);
const reply = (stream: number, flags = 0): Uint8Array => control(2, [...word(stream), 9, 9], flags);
const reset = (stream: number): Uint8Array => control(3, [...word(stream), ...word(5)]);
const ping = control(6, word(1));
const settings = control(4, [...word(1), 0, 0, 0, 4, ...word(100)]);
const FIN = 1;

describe("PortForwardMeter", () => {
  const client = concat([settings, syn(1, FIN), syn(3), data(3, 1_000), ping, data(3, 24, FIN)]);
  const server = concat([
    reply(1),
    reply(3),
    data(3, 5_000),
    data(1, 0, FIN),
    data(3, 0, FIN),
    control(7, [...word(3), ...word(0)]),
  ]);

  it("counts connections and bytes, however the frames are cut", () => {
    for (const size of [1, 3, 8, 11, 12, 13, 1_000, 100_000]) {
      const meter = new PortForwardMeter();
      for (const [from, bytes] of [
        ["client", client],
        ["server", server],
      ] as const) {
        for (let at = 0; at < bytes.length; at += size)
          expect(meter.push(from, bytes.subarray(at, at + size))).toEqual({ ok: true, value: undefined });
      }
      expect(meter.summary).toEqual({ connections: 1, sent: 1_024, received: 5_000 });
    }
  });

  it("forgets streams that are over, so that a long tunnel stays open", () => {
    const meter = new PortForwardMeter();
    for (let stream = 1; stream < 4 * LIMITS.kubernetes.connections; stream += 2) {
      expect(meter.push("client", syn(stream, FIN)).ok).toBe(true);
      expect(
        meter.push("server", stream % 4 === 1 ? reset(stream) : concat([reply(stream), data(stream, 1, FIN)]))
          .ok,
      ).toBe(true);
    }
    expect(meter.summary.connections).toBe(LIMITS.kubernetes.connections);
  });

  it("stops at too many connections at once", () => {
    const meter = new PortForwardMeter();
    const open = (stream: number): boolean => meter.push("client", syn(stream)).ok;
    for (let index = 0; index < 2 * LIMITS.kubernetes.connections; index++)
      expect(open(2 * index + 1)).toBe(true);
    expect(meter.push("client", syn(100_001))).toEqual({ ok: false, error: "over_limit" });
  });

  it.each<[string, "client" | "server", Uint8Array, string]>([
    ["a frame longer than the limit", "client", Uint8Array.of(0, 0, 0, 1, 0, 0x7f, 0xff, 0xff), "over_limit"],
    ["another version", "client", control(1, [...word(1), ...word(0), 0, 0], 0, 2), "malformed"],
    ["an unknown type", "client", control(5, word(1)), "malformed"],
    ["a stream that the server opens", "server", syn(2), "malformed"],
    ["a stream that is open already", "client", concat([syn(1), syn(1)]), "malformed"],
    ["a stream without headers", "client", control(1, word(1)), "malformed"],
    ["a reset of nothing", "client", control(3, word(1)), "malformed"],
    ["an empty opening", "client", control(1, []), "malformed"],
  ])("stops at %s", (_, from, bytes, error) => {
    const whole = new PortForwardMeter();
    expect(whole.push(from, bytes)).toEqual({ ok: false, error });
    const bytewise = new PortForwardMeter();
    const results = Array.from(bytes, (_byte, at) => bytewise.push(from, bytes.subarray(at, at + 1)));
    expect(results.find((result) => !result.ok)).toEqual({ ok: false, error });
  });
});
