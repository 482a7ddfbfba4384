import { describe, expect, it } from "vitest";
import { recent } from "../../../../worker/policy/cedar/recent.ts";

describe("recent", () => {
  it("never holds more than its capacity, and keeps what goes on being used", () => {
    const cache = recent<number>(100);
    cache.set("used", 1);
    for (let index = 0; index < 10_000; index++) {
      cache.set(`once-${index}`, index);
      expect(cache.get("used")).toBe(1);
      expect(cache.size()).toBeLessThanOrEqual(100);
    }
    expect(cache.get("once-0")).toBeUndefined();
    expect(cache.get("once-9999")).toBe(9999);
    cache.clear();
    expect([cache.get("used"), cache.size()]).toEqual([undefined, 0]);
  });
});
