import { describe, expect, it } from "vitest";
import {
  type TerminalEvent,
  asciicastEvent,
  asciicastHeader,
  newAsciicastClock,
} from "../../../wire/ssh/asciicast.ts";

const header = {
  startedAt: 1_700_000_000_500,
  columns: 100,
  rows: 30,
  term: "xterm-256color",
  title: "web-1: shell",
};
const events: readonly TerminalEvent[] = [
  { kind: "output", at: 1_700_000_000_600, text: "$ \u001b[1mls\r\n" },
  { kind: "input", at: 1_700_000_001_600, text: "x" },
  { kind: "resize", at: 1_700_000_002_000, columns: 120, rows: 40 },
  { kind: "exit", at: 1_700_000_003_000, status: 3 },
];

function cast(version: 2 | 3, list = events): unknown[] {
  const clock = newAsciicastClock(header.startedAt);
  const text =
    asciicastHeader(version, header) + list.map((event) => asciicastEvent(version, clock, event)).join("");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as unknown);
}

describe("an asciicast", () => {
  it("of version 2 counts from the start", () => {
    expect(cast(2)).toEqual([
      {
        version: 2,
        width: 100,
        height: 30,
        timestamp: 1_700_000_000,
        title: "web-1: shell",
        env: { TERM: "xterm-256color" },
      },
      [0.1, "o", "$ \u001b[1mls\r\n"],
      [1.1, "i", "x"],
      [1.5, "r", "120x40"],
    ]);
  });

  it("of version 3 counts from the event before, and knows the exit", () => {
    expect(cast(3)).toEqual([
      {
        version: 3,
        term: { cols: 100, rows: 30, type: "xterm-256color" },
        timestamp: 1_700_000_000,
        title: "web-1: shell",
      },
      [0.1, "o", "$ \u001b[1mls\r\n"],
      [1, "i", "x"],
      [0.4, "r", "120x40"],
      [1, "x", "3"],
    ]);
  });

  it("never goes back in time, and gives a terminal without a size the usual one", () => {
    expect(cast(3, [{ kind: "output", at: 0, text: "a" }]).at(1)).toEqual([0, "o", "a"]);
    expect(JSON.parse(asciicastHeader(2, { ...header, columns: 0, rows: 0 }))).toMatchObject({
      width: 80,
      height: 24,
    });
  });
});
