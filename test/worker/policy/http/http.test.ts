/** What HTTP requests mean for policy, what answers need before they are delivered, and how fields are shown. */
import { describe, expect, it } from "vitest";
import { utf8 } from "../../../../wire/bytes.ts";
import { boundHeaders, requestHeaders } from "../../../../wire/http/headers.ts";
import { parseTarget } from "../../../../wire/http/target.ts";
import { LIMITS } from "../../../../wire/limits.ts";
import { maskJsonValue } from "../../../../worker/policy/http/mask-value.ts";
import {
  type HttpRequest,
  NO_HTTP_OPTIONS,
  httpOperation,
  httpRules,
} from "../../../../worker/policy/http/operations.ts";
import { planBody } from "../../../../worker/policy/http/response.ts";
import type { HttpFacts, HttpOptions } from "../../../../worker/policy/types.ts";

function operationOf(
  method: HttpRequest["method"],
  target: string,
  more: { type?: string; body?: string; upgrade?: boolean; options?: Partial<HttpOptions> } = {},
): { action: string; facts: HttpFacts } | string {
  const parsed = parseTarget(target);
  if (!parsed.ok) throw new Error(parsed.error.message);
  const request: HttpRequest = {
    method,
    target: parsed.value,
    headers: more.type === undefined ? [] : [["content-type", more.type]],
    upgrade: more.upgrade ?? false,
    hasBody: more.body !== undefined,
  };
  const rules = httpRules({ ...NO_HTTP_OPTIONS, ...more.options });
  const operation = httpOperation(request, more.body === undefined ? undefined : utf8(more.body), rules);
  if (!operation.ok) return operation.error.code;
  const [action] = operation.value.actions;
  return action as { action: string; facts: HttpFacts };
}

describe("httpOperation", () => {
  it("reads with GET, HEAD and OPTIONS, writes with the rest and with every WebSocket", () => {
    for (const method of ["GET", "HEAD", "OPTIONS"] as const)
      expect(operationOf(method, "/x")).toMatchObject({ action: "http:read" });
    for (const method of ["POST", "PUT", "PATCH", "DELETE"] as const)
      expect(operationOf(method, "/x")).toMatchObject({ action: "http:write" });
    expect(operationOf("GET", "/x", { upgrade: true })).toMatchObject({
      action: "http:write",
      facts: { upgrade: true },
    });
  });

  it("names the route, the query's keys and the media type", () => {
    const options = { routes: ["/orders/{id}"] };
    expect(
      operationOf("GET", "/orders/7?a=1&b=2", { options, type: "Application/JSON; charset=utf-8" }),
    ).toMatchObject({
      facts: {
        route: "/orders/{id}",
        path: "/orders/7",
        queryKeys: ["a", "b"],
        contentType: "application/json",
      },
    });
  });

  it("names service and method of gRPC", () => {
    for (const type of ["application/grpc", "application/grpc+proto", "application/grpc-web-text"])
      expect(operationOf("POST", "/shop.Orders/Cancel", { type })).toMatchObject({
        facts: { grpcService: "shop.Orders", grpcMethod: "Cancel" },
      });
  });

  const options = { graphql: ["/graphql"] };
  const graphql = (body: unknown): ReturnType<typeof operationOf> =>
    operationOf("POST", "/graphql", { options, type: "application/json", body: JSON.stringify(body) });
  it("reads with a GraphQL query, through aliases and fragments", () => {
    const query =
      "query Q { a: orders { id } ... on Query { customers { id } } ...F } fragment F on Query { items }";
    expect(graphql({ query })).toMatchObject({
      action: "http:read",
      facts: { graphqlOperation: "query", graphqlFields: ["orders", "customers", "items"] },
    });
  });

  it("counts every operation of a GraphQL document and of a batch", () => {
    expect(graphql({ query: "query A { a } mutation B { b }", operationName: "A" })).toMatchObject({
      action: "http:write",
      facts: { graphqlOperation: "mutation", graphqlFields: ["a", "b"] },
    });
    expect(graphql([{ query: "{ a }" }, { query: "mutation { b }" }])).toMatchObject({
      action: "http:write",
    });
    expect(operationOf("GET", "/graphql?query=mutation%7Bb%7D", { options })).toMatchObject({
      action: "http:write",
    });
  });

  it("refuses GraphQL that it cannot read", () => {
    for (const body of [
      {},
      [],
      { query: "" },
      { query: 1 },
      { query: "{" },
      { query: "{ ...Missing }" },
      [{ query: "{ a }" }, { id: "stored" }],
    ])
      expect(graphql(body)).toBe("statement_not_parsed");
    const deep = `{${"a{".repeat(10_000)}b${"}".repeat(10_000)}}`;
    expect(graphql({ query: deep })).toBe("statement_not_parsed");
    const twice = operationOf("POST", "/graphql", {
      options,
      type: "application/json",
      body: '{"query":"{a}","query":"mutation{b}"}',
    });
    expect(twice).toBe("statement_not_parsed");
    expect(
      operationOf("POST", "/graphql?query=%7Ba%7D", {
        options,
        type: "application/json",
        body: '{"query":"{b}"}',
      }),
    ).toBe("statement_not_parsed");
  });
});

describe("planBody", () => {
  const masks = [{ field: "ssn", mask: "full" }] as const;
  const plan = (type: string, status = 200, more: [string, string][] = []): string => {
    const planned = planBody(
      { method: "GET", status, headers: [["content-type", type], ...more] },
      masks,
      "off",
      "deny",
    );
    if (!planned.ok) return planned.error.code;
    return planned.value.kind === "pass" ? "pass" : `${planned.value.fields} ${planned.value.decode}`;
  };
  const table: readonly (readonly [string, string, number?, [string, string][]?])[] = [
    ["application/json", "json identity"],
    ["application/problem+json; charset=UTF-8", "json identity"],
    ["application/x-ndjson", "json identity"],
    ["text/event-stream", "events identity"],
    ["application/json", "json gzip", 200, [["content-encoding", "gzip"]]],
    ["application/json", "mask_value_withheld", 200, [["content-encoding", "br"]]],
    ["application/json", "mask_value_withheld", 200, [["content-encoding", "gzip, gzip"]]],
    ["application/json; charset=utf-16", "mask_value_withheld"],
    ["application/json", "mask_value_withheld", 206],
    ["multipart/byteranges; boundary=x", "mask_value_withheld"],
    ["text/csv", "mask_value_withheld"],
    ["text/html", "mask_value_withheld"],
    ["application/octet-stream", "mask_value_withheld"],
    ["", "mask_value_withheld"],
    ["text/html", "pass", 304],
    ["text/html", "pass", 204],
    ["text/html", "pass", 200, [["content-length", "0"]]],
  ];
  for (const [type, expected, status, more] of table)
    it(`${type || "no type"} ${status ?? 200} ${JSON.stringify(more ?? [])}: ${expected}`, () =>
      expect(plan(type, status, more)).toBe(expected));
});

describe("maskJsonValue", () => {
  const hash = (text: string): string => `#${text.length}`;
  const string = (text: string) => ({ kind: "string", text }) as const;
  const number = (text: string) => ({ kind: "number", text }) as const;
  const table = [
    ["full", string("secret"), '"****"'],
    ["null", string("secret"), "null"],
    ["last4", string("4556737586899855"), '"****9855"'],
    ["last4", string("short"), '"****"'],
    ["last4", number("4556737586899855"), "9855"],
    ["last4", number("4556737586890055"), "55"],
    ["first1", string("Ada"), '"A***"'],
    ["email", string("ada@example.com"), '"a***@example.com"'],
    ["email", string("not an address"), '"***"'],
    ["hash", string("abc"), '"#3"'],
    ["date_year", string("1990-05-06"), '"1990-01-01"'],
    ["date_year", string("1990-05-06T07:08:09Z"), '"1990-01-01T00:00:00Z"'],
    ["date_year", string("May 1990"), "null"],
    ["full", number("12"), "0"],
    ["full", { kind: "boolean", text: "true" }, "false"],
    ["hash", { kind: "whole" }, "null"],
    ["full", { kind: "null", text: "null" }, "null"],
  ] as const;
  for (const [mask, value, expected] of table)
    it(`${mask} of ${JSON.stringify(value)} is ${expected}`, () =>
      expect(maskJsonValue({ field: "x", mask }, value, hash)).toBe(expected));
  it("rounds towards zero in the mask's steps", () => {
    const mask = { field: "x", mask: "round", step: 100 } as const;
    expect(maskJsonValue(mask, number("1299"), hash)).toBe("1200");
    expect(maskJsonValue(mask, number("-1299"), hash)).toBe("-1200");
    expect(maskJsonValue(mask, string("1299"), hash)).toBe("null");
  });
});

describe("header fields", () => {
  it("are refused beyond the limits", () => {
    const many = Array.from({ length: LIMITS.http.headers + 1 }, (_, index) => [`x-${index}`, "1"] as const);
    expect(requestHeaders(many, false)).toMatchObject({ ok: false, error: { code: "over_limit" } });
    expect(requestHeaders([["x-a", "b".repeat(LIMITS.http.head)]], false)).toMatchObject({ ok: false });
  });

  it("are part of an approval unless they change by themselves", () => {
    const bound = boundHeaders([
      ["x-request-id", "1"],
      ["content-type", "a/b"],
      ["user-agent", "x"],
      ["if-match", '"1"'],
      ["accept", "x"],
    ]);
    expect(bound.map(([name]) => name)).toEqual(["content-type", "if-match"]);
  });
});
