import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { testCedar } from "../../support/cedar.ts";

const engine = createPolicyEngine(testCedar());

function parsed(options: string): ReturnType<typeof parseConfig> {
  const text = `resources:\n  prod:\n    protocol: kubernetes\n    connector: office\n${options}`;
  return parseConfig({ "a.yaml": text }, engine);
}

function problems(options: string): readonly string[] {
  const result = parsed(options);
  return result.ok ? [] : result.error.map(({ line, column, message }) => `${line}:${column}: ${message}`);
}

describe("a cluster", () => {
  it("has masks by resource and field", () => {
    const result = parsed(`    kubernetes:
      masks:
        widgets.example.com: { spec.token: full, spec.size: { mask: round, step: 10 } }
        serviceaccounts/token: { status.token: last4 }
        "*": { 'data["tls.crt"]': null }
`);
    expect(result.ok && result.value.resources[0]?.kubernetes).toEqual({
      masks: [
        { resource: "widgets.example.com", field: "spec.token", mask: "full" },
        { resource: "widgets.example.com", field: "spec.size", mask: "round", step: 10 },
        { resource: "serviceaccounts/token", field: "status.token", mask: "last4" },
        { resource: "*", field: 'data["tls.crt"]', mask: "null" },
      ],
    });
  });

  it("needs none", () => {
    const result = parsed("");
    expect(result.ok && result.value.resources[0]?.kubernetes).toEqual({ masks: [] });
  });

  // A protection that does not protect would be worse than none.
  it.each([
    [
      "a resource without its group",
      "deployments: { spec.x: full }",
      '"deployments" is not in the core group',
    ],
    ["a kind", "Secret: { data.x: full }", '"Secret" is not a resource'],
    ["one of its objects", "secret: { data.x: full }", '"secret" is not in the core group'],
    ["a field from the top", "secrets: { $.data.x: full }", '"$.data.x" begins with $'],
    ["every field", 'secrets: { "*": full }', '"*" names every field'],
    ["an index", '"*": { "items[0].x": full }', '"items[0].x" has a step that cannot be read'],
    ["a mask of columns", "secrets: { data.x: { mask: sql, expression: value } }", "sql"],
    ["round without a step", "secrets: { data.x: round }", "round needs a step"],
  ])("cannot mask %s", (_, masks, message) => {
    expect(problems(`    kubernetes:\n      masks:\n        ${masks}\n`).join("\n")).toContain(message);
  });

  it("has no masks of columns, and others have none of objects", () => {
    expect(problems("    masks: { public.a.b: full }\n")).toEqual([
      expect.stringContaining("write the fields under kubernetes.masks"),
    ]);
    const text = "resources:\n  a:\n    protocol: http\n    connector: o\n    kubernetes: {}\n";
    const other = parseConfig({ "a.yaml": text }, engine);
    expect(other.ok ? [] : other.error.map(({ message }) => message)).toEqual([
      '"kubernetes" belongs to resources with protocol: kubernetes',
    ]);
  });
});
