import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  ID_TOKEN_TYPE,
  TOKEN_EXCHANGE_GRANT,
  parseTokenExchange,
  targetRefused,
  tokenRefused,
} from "../../../worker/identity/token-exchange.ts";

const NOW = Date.UTC(2026, 10, 22, 12);
const GOOD = { grant_type: TOKEN_EXCHANGE_GRANT, subject_token: "a.b.c", subject_token_type: ID_TOKEN_TYPE };

function parse(fields: Record<string, string | string[] | undefined>): ReturnType<typeof parseTokenExchange> {
  const form = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...GOOD, ...fields })) {
    for (const one of [value].flat()) if (one !== undefined) form.append(name, one);
  }
  return parseTokenExchange(form, NOW);
}

describe("a token request", () => {
  it("names a subject token and resources", () => {
    expect(parse({})).toEqual({
      ok: true,
      value: {
        subject: { token: "a.b.c", type: ID_TOKEN_TYPE },
        actor: undefined,
        details: undefined,
        resources: null,
      },
    });
    const named = parse({ resource: ["shop-db", "web-1", "shop-db"] });
    expect(named.ok && named.value.resources).toEqual(["shop-db", "web-1"]);
  });

  it("may hold parameters that nobody knows, and empty ones", () => {
    expect(parse({ unknown: "x", scope: "", audience: "", resource: "" }).ok).toBe(true);
  });

  it.each([
    ["no grant type", { grant_type: undefined }, "invalid_request"],
    ["another grant type", { grant_type: "password" }, "unsupported_grant_type"],
    ["two grant types", { grant_type: [TOKEN_EXCHANGE_GRANT, "password"] }, "invalid_request"],
    ["two subject tokens", { subject_token: ["a.b.c", "d.e.f"] }, "invalid_request"],
    ["no subject token", { subject_token: undefined }, "invalid_request"],
    ["an empty subject token", { subject_token: "" }, "invalid_request"],
    ["a huge subject token", { subject_token: "x".repeat(70_000) }, "invalid_request"],
    [
      "an unknown token type",
      { subject_token_type: "urn:ietf:params:oauth:token-type:saml1" },
      "invalid_request",
    ],
    [
      "a refresh token asked for",
      { requested_token_type: "urn:ietf:params:oauth:token-type:refresh_token" },
      "invalid_request",
    ],
    ["an actor without its type", { actor_token: "a.b.c" }, "invalid_request"],
    ["an actor's type without a token", { actor_token_type: ID_TOKEN_TYPE }, "invalid_request"],
    ["no rights in the details", { authorization_details: "[]" }, "invalid_authorization_details"],
    ["details that are no JSON", { authorization_details: "{" }, "invalid_authorization_details"],
    [
      "details of another type",
      { authorization_details: '[{"type":"payment"}]' },
      "invalid_authorization_details",
    ],
    ["a scope", { scope: "admin" }, "invalid_scope"],
    ["another audience", { audience: "https://other" }, "invalid_target"],
    ["a resource that is no name", { resource: "../shop" }, "invalid_target"],
    ["65 resources", { resource: Array.from({ length: 65 }, (_, index) => `r${index}`) }, "invalid_target"],
  ])("is refused with %s", (_, fields, error) => {
    const result = parse(fields);
    expect(result.ok ? "ok" : result.error).toMatchObject({ status: 400, body: { error } });
  });

  it("never throws and never repeats what it was given", () => {
    const names = fc.constantFrom(...Object.keys(GOOD), "resource", "scope");
    const answers = fc.sample(fc.array(fc.tuple(names, fc.string())), 300).map((pairs) => {
      const marked = pairs.map(([name, value]): [string, string] => [name, `${value}<<secret>>`]);
      const result = parseTokenExchange(new URLSearchParams(marked), NOW);
      return JSON.stringify(result.ok ? "ok" : result.error);
    });
    expect(answers.filter((answer) => answer.includes("<<secret>>"))).toEqual([]);
  });

  it("does not say which check of a token failed", () => {
    const answers = (["signature_wrong", "expired", "issuer_unknown", "groups_over_limit"] as const).map(
      tokenRefused,
    );
    expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
    expect(tokenRefused("provider_unreachable").status).toBe(503);
    expect(targetRefused().body.error).toBe("invalid_target");
  });
});
