import { describe, expect, it } from "vitest";
import { ago, bytes, count, grouped, laidOut, plural, span } from "../../../worker/console/model/text.ts";

describe("what people read", () => {
  it.each([
    [0, "0 ms"],
    [999, "999 ms"],
    [1500, "1.5 s"],
    [7000, "7 s"],
    [59_400, "59 s"],
    [59_600, "1 min"],
    [90_000, "1 min 30 s"],
    [3_600_000, "1 h"],
    [7_500_000, "2 h 5 min"],
    [90_000_000, "1 d"],
    [-5, "0 ms"],
  ])("a span of %d ms is %s", (milliseconds, text) => {
    expect(span(milliseconds)).toBe(text);
  });

  it.each([
    [0, "just now"],
    [25_000, "20 s ago"],
    [61_000, "1 min ago"],
    [119_000, "1 min ago"],
  ])("%d ms ago is %s", (milliseconds, text) => {
    expect(ago(milliseconds)).toBe(text);
  });

  it("counts", () => {
    expect([
      count(1234),
      count(1_234_567),
      plural(1, "row"),
      plural(0, "row"),
      plural(2, "entry", "entries"),
    ]).toEqual(["1,234", "1.2M", "1 row", "0 rows", "2 entries"]);
    expect([bytes(5), bytes(1536), bytes(3_250_000)]).toEqual(["5 B", "1.5 KiB", "3.1 MiB"]);
  });

  it("groups a hash without losing any of it", () => {
    const hash = "0123456789abcdef".repeat(4);
    expect(grouped(hash).join("")).toBe(hash);
    expect(grouped(hash)).toHaveLength(8);
  });

  it("lays JSON out only where nothing is lost by it", () => {
    expect(laidOut('{"a":[1]}\n')).toBe('{\n  "a": [\n    1\n  ]\n}');
    for (const text of ['{"id":12345678901234567890}', '{"a":1,"a":2}', '{"a":1}{"b":2}', "plain"]) {
      expect(laidOut(text)).toBe(text);
    }
  });
});
