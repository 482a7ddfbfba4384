/** When what a program prints goes on: at once, after what follows it, or when its time is up. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { OutputDetectors } from "../../../../worker/objects/session/output-detectors.ts";

const CARD = "4111111111111111";
const STARS = "*".repeat(16);

let late: string[];
let found: string[];
let turns: number;
let detectors: OutputDetectors;

beforeEach(() => {
  vi.useFakeTimers();
  late = [];
  found = [];
  turns = 0;
  detectors = new OutputDetectors({
    turn: (work) => {
      turns += 1;
      work();
    },
    now: () => Date.now(),
    late: (stream, bytes) => late.push(`${stream}:${Buffer.from(bytes).toString()}`),
    found: (stream, kinds) => found.push(`${stream}:${kinds.join()}`),
  });
});
afterEach(() => void vi.useRealTimers());

const push = (text: string, stream = 0): string =>
  Buffer.from(detectors.push(stream, Buffer.from(text))).toString();
const end = (): string[] =>
  detectors.end().map(({ stream, bytes }) => `${stream}:${Buffer.from(bytes).toString()}`);

describe("output", () => {
  it("passes at once where nothing has begun, without a timer", () => {
    expect(push("total 12\r\nuser@host:~$ ")).toBe("total 12\r\nuser@host:~$ ");
    vi.advanceTimersByTime(1000);
    expect(turns).toBe(0);
  });

  it("waits for what follows, and goes on by itself in a turn when nothing does", () => {
    expect(push("number 4111")).toBe("number ");
    vi.advanceTimersByTime(15);
    expect(late).toEqual([]);
    vi.advanceTimersByTime(10);
    expect([late, turns]).toEqual([["0:4111"], 1]);
    expect(end()).toEqual([]);
  });

  it("is overwritten across pieces, in each stream by itself", () => {
    expect(push(`to ${CARD.slice(0, 9)}`, 1)).toBe("to ");
    expect(push("other\n", 0)).toBe("other\n");
    expect(push(`${CARD.slice(9)}\n`, 1)).toBe(`${STARS}\n`);
    expect(found).toEqual(["1:card"]);
  });

  it("that comes in drops is not held for longer than the most", () => {
    const started = Date.now();
    for (let drop = 0; drop < 40 && late.length === 0; drop++) {
      expect(push("1")).toBe("");
      vi.advanceTimersByTime(15);
    }
    expect(late).toHaveLength(1);
    expect(Date.now() - started).toBeLessThanOrEqual(120);
  });

  it("that is the echo of a keystroke passes at once, once for each, and no long output in its place", () => {
    detectors.typed(1);
    expect(push("4")).toBe("4");
    expect(push("1")).toBe("");
    expect(end()).toEqual(["0:1"]);
    detectors.typed(3);
    expect(push(`${"x".repeat(200)}1`)).not.toContain("1");
    detectors.typed(1000);
    expect(push(" 4111")).toContain("x");
  });

  it("that is held comes out at the end", () => {
    push("a@b");
    push("jane.doe@example.com", 1);
    expect(end()).toEqual(["0:a@b", `1:${"*".repeat(20)}`]);
    vi.advanceTimersByTime(1000);
    expect(late).toEqual([]);
  });

  it("stays where it is once whoever heard of a match has closed it", () => {
    const closing: OutputDetectors = new OutputDetectors({
      turn: (work) => work(),
      now: () => Date.now(),
      late: (_stream, bytes) => late.push(Buffer.from(bytes).toString()),
      found: () => closing.close(),
    });
    expect(Buffer.from(closing.push(1, Buffer.from("half 41111"))).toString()).toBe("half ");
    expect(closing.push(0, Buffer.from(`before ${CARD}\n`))).toHaveLength(0);
    expect(closing.push(0, Buffer.from("after\n"))).toHaveLength(0);
    vi.advanceTimersByTime(1000);
    expect([late, closing.end()]).toEqual([[], []]);
  });
});
