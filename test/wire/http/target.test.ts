import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matchRoute, parseRoute } from "../../../wire/http/routes.ts";
import { parseTarget } from "../../../wire/http/target.ts";

function canonical(raw: string): string | undefined {
  const parsed = parseTarget(raw);
  return parsed.ok ? parsed.value.path + parsed.value.query : undefined;
}

describe("parseTarget", () => {
  it("gives a fixed point: of itself and of the WHATWG URL parser", () => {
    const character = fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(..."abzAZ09-._~!$&'()*+,=:@/?|^[]{}\"%".split("")) },
      {
        weight: 2,
        arbitrary: fc.integer({ min: 0, max: 255 }).map((byte) => `%${byte.toString(16).padStart(2, "0")}`),
      },
      {
        weight: 1,
        arbitrary: fc.constantFrom("%c3%bc", "%e2%82%ac", "%2e", "%2F", "..", "./", ";", "\\", "#"),
      },
    );
    fc.assert(
      fc.property(fc.array(character, { maxLength: 12 }), (parts) => {
        const found = canonical(`/${parts.join("")}`);
        if (found === undefined) return;
        expect(canonical(found)).toBe(found);
        expect(new URL(`http://host${found}`).href).toBe(`http://host${found}`);
        expect(found).toMatch(/^\/[!-~]*$/);
        expect(found).not.toMatch(/[\\#;]/);
      }),
      { numRuns: 5_000 },
    );
  });

  it("leaves no dot segment, empty segment or separator in a path, however it is decoded", () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z.%2efF5cC3b/;\\]{0,20}$/), (text) => {
        const parsed = parseTarget(`/${text}`);
        if (!parsed.ok) return;
        for (const [index, segment] of parsed.value.segments.entries()) {
          expect(segment).not.toMatch(/^\.{1,2}$|[/\\;]/);
          if (index < parsed.value.segments.length - 1) expect(segment).not.toBe("");
          expect(decodeURIComponent(segment.replaceAll(/%(?![0-9A-Fa-f]{2})/g, "%25"))).not.toMatch(
            /^\.{1,2}$/,
          );
        }
      }),
      { numRuns: 5_000 },
    );
  });

  it("names the query's parameters once each, decoded", () => {
    const parsed = parseTarget("/a?b=1&c%64=2&b=3&&e+f&%c3%bc=");
    expect(parsed.ok && parsed.value.queryKeys).toEqual(["b", "cd", "e f", "ü"]);
  });
});

describe("matchRoute", () => {
  const routes = [
    "/orders",
    "/orders/{id}",
    "/orders/{id}/items/{item}",
    "/orders/new",
    "/{kind}/new",
    "/",
  ].map((text) => {
    const parsed = parseRoute(text);
    if (!parsed.ok) throw new Error(parsed.error);
    return parsed.value;
  });
  const match = (path: string): string => {
    const target = parseTarget(path);
    return target.ok ? matchRoute(routes, target.value.segments) : "refused";
  };

  it("prefers what is concrete, from left to right", () => {
    expect(match("/orders/new")).toBe("/orders/new");
    expect(match("/orders/7")).toBe("/orders/{id}");
    expect(match("/customers/new")).toBe("/{kind}/new");
    expect(match("/")).toBe("/");
  });

  it("matches whole paths only", () => {
    expect(match("/orders/")).toBe("");
    expect(match("/orders/7/items")).toBe("");
    expect(match("/orders/7/items/8")).toBe("/orders/{id}/items/{item}");
    expect(match("/Orders")).toBe("");
  });

  for (const text of ["orders", "/a/{}", "/a/{b", "/a/x{b}", "/a//b", "/a/../b", "/a?b"])
    it(`has no template ${text}`, () => expect(parseRoute(text).ok).toBe(false));
});
