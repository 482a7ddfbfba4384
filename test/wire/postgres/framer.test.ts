import { describe, expect, it } from "vitest";
import {
  type Framer,
  newFramer,
  peekType,
  peekUint32,
  push,
  take,
  takePart,
  takeRun,
} from "../../../wire/postgres/framer.ts";
import { b } from "./support/messages.ts";

const filled = (...chunks: Uint8Array[]): Framer => {
  const framer = newFramer();
  for (const chunk of chunks) push(framer, new Uint8Array(chunk));
  return framer;
};

describe("framer", () => {
  const bytes = new Uint8Array(b.dataRow("hello"));

  it("gives the same message at every split point, and byte by byte", () => {
    for (let at = 0; at <= bytes.length; at++) {
      const framer = filled(bytes.subarray(0, at), bytes.subarray(at));
      expect(peekType(framer)).toBe(0x44);
      expect(peekUint32(framer, 1)).toBe(bytes.length - 1);
      expect(take(framer, bytes.length)).toEqual(bytes);
      expect(framer.buffered).toBe(0);
    }
    const single = filled(...[...bytes].map((byte) => Uint8Array.of(byte)));
    expect(take(single, bytes.length)).toEqual(bytes);
  });

  it("hands out views of a chunk and copies only across chunks", () => {
    const whole = newFramer();
    push(whole, bytes);
    expect(take(whole, 5).buffer).toBe(bytes.buffer);
  });

  it("packs single bytes instead of keeping an object for each", () => {
    const framer = newFramer();
    for (let i = 0; i < 200_000; i++) push(framer, Uint8Array.of(i));
    expect(framer.buffered).toBe(200_000);
    expect(framer.chunks.length).toBeLessThan(20);
    const taken = take(framer, 200_000);
    for (let i = 0; i < taken.length; i += 997) expect(taken[i]).toBe(i & 0xff);
  });

  it("does not change what it handed out when more arrives", () => {
    const framer = filled(Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3));
    take(framer, 1);
    const view = take(framer, 1);
    push(framer, Uint8Array.of(4));
    push(framer, Uint8Array.of(5));
    expect([...view]).toEqual([2]);
    expect([...take(framer, 3)]).toEqual([3, 4, 5]);
  });

  it("takes runs of one type and stops at another, at a cut message and at a length out of bounds", () => {
    const rows = Buffer.concat([b.dataRow("a"), b.dataRow("bb"), b.complete("SELECT 2")]);
    const framer = filled(rows);
    expect(takeRun(framer, 0x44, 6, 100)).toMatchObject({ count: 2 });
    expect(peekType(framer)).toBe(0x43);
    expect(takeRun(filled(b.dataRow("a").subarray(0, 8)), 0x44, 6, 100).count).toBe(0);
    expect(takeRun(filled(b.dataRow("a".repeat(200))), 0x44, 6, 100).count).toBe(0);
    expect(takeRun(newFramer(), 0x44, 6, 100).count).toBe(0);
  });

  it("takes parts that lie in one chunk", () => {
    const framer = filled(new Uint8Array(3000), new Uint8Array(3000));
    expect(takePart(framer, 5000).length).toBe(3000);
    expect(takePart(framer, 2000).length).toBe(2000);
    expect(framer.buffered).toBe(1000);
  });

  it("goes through thousands of chunks without keeping those that are done", () => {
    const framer = newFramer();
    for (let i = 0; i < 1000; i++) push(framer, new Uint8Array(3000).fill(i));
    for (let i = 0; i < 999; i++) expect(take(framer, 3000)[0]).toBe(i & 0xff);
    expect(framer.chunks.length).toBeLessThan(100);
  });
});
