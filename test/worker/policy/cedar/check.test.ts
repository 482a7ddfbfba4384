import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPolicyEngine } from "../../../../worker/policy/cedar/engine.ts";
import { SHOP, statement, user } from "./fixtures.ts";
import { testCedar } from "../../../support/cedar.ts";

const engine = createPolicyEngine(testCedar());

/** Errors as `file:line:column: message`. */
function errors(text: string, file = "p.cedar"): readonly string[] {
  const result = engine.check([{ file, text }]);
  return result.ok ? [] : result.error.map((e) => `${e.file}:${e.line}:${e.column}: ${e.message}`);
}

describe("policy errors", () => {
  it("stand at their line and column, counted in characters after text of several bytes each", () => {
    expect(errors(`// äöü 🚪\n  permit (principal, action, resource) when { context.hasWere };`)[0]).toMatch(
      /^p\.cedar:2:47: attribute `hasWere` in context is not known for approval:decide.*did you mean `hasWhere`\?/,
    );
    expect(errors(`// 🚪🚪\n/*`)[0]).toMatch(/^p\.cedar:2:1: /);
    expect(errors(`permit (principal, action, resource)\nwen { true };`)).toEqual([
      "p.cedar:2:1: invalid policy condition: wen; condition must be either `when` or `unless`",
    ]);
    expect(errors(`permit (\n  principal in Grup::"dba", action, resource);`)).toEqual([
      "p.cedar:2:16: unrecognized entity type `Grup`; did you mean `Group`?",
    ]);
    expect(errors(`permit (principal, action == Action::"postgres:selekt", resource);`)).toEqual([
      'p.cedar:1:30: unrecognized action `Action::"postgres:selekt"`; did you mean `Action::"postgres:select"`?',
    ]);
    expect(errors(`permit (principal, action, resource`)[0]).toMatch(
      /^p\.cedar:1:36: unexpected end of input/,
    );
  });

  it("are all told at once, over all files", () => {
    const result = engine.check([
      {
        file: "a.cedar",
        text: `@foo("x") permit (principal, action, resource);\n@quorum("0") permit (principal, action, resource);`,
      },
      { file: "b.cedar", text: `permit (principal, action, resource` },
    ]);
    expect(result.ok ? [] : result.error.map((error) => `${error.file}:${error.line}`)).toEqual([
      "a.cedar:1",
      "a.cedar:2",
      "a.cedar:2",
      "b.cedar:1",
    ]);
  });

  it("name the annotation that is unknown and those that are allowed", () => {
    expect(
      errors(
        `permit (principal, action, resource);\n\n@approvl("dba")\npermit (principal, action, resource);`,
      ),
    ).toEqual([
      "p.cedar:3:1: unknown annotation @approvl; allowed: @id, @approval, @quorum, @escalate, @batch, @reason",
    ]);
  });

  it.each([
    [`@approval("dba") forbid (principal, action, resource);`, "a forbid cannot be approved away"],
    [`@quorum("2") permit (principal, action, resource);`, `it needs @approval("group") beside it`],
    [`@approval("dba") @quorum("0") permit (principal, action, resource);`, "a number from 1 to 20"],
    [`@approval("dba") @quorum("-1") permit (principal, action, resource);`, "a number from 1 to 20"],
    [`@approval("dba") @quorum("1.5") permit (principal, action, resource);`, "a number from 1 to 20"],
    [`@approval("dba") @quorum("02") permit (principal, action, resource);`, "a number from 1 to 20"],
    [`@approval("dba") @quorum("21") permit (principal, action, resource);`, "a number from 1 to 20"],
    [`@approval("dba |") permit (principal, action, resource);`, "or up to 10 different ones"],
    [`@approval("a | a") permit (principal, action, resource);`, "or up to 10 different ones"],
    [`@approval("dba") @escalate("oncall") permit (principal, action, resource);`, "a group and a time"],
    [`@approval("dba") @escalate("oncall after 2h") permit (principal, action, resource);`, "up to 1h"],
    [`@escalate("oncall after 5m") permit (principal, action, resource);`, "belongs beside an @approval"],
    [`@approval("dba") @batch("0") permit (principal, action, resource);`, "a number from 1 to 1000"],
    [`@batch("5") permit (principal, action, resource);`, "belongs beside an @approval"],
    [`@approval permit (principal, action, resource);`, "@approval needs a value"],
    [`@approval("") permit (principal, action, resource);`, "@approval needs a value"],
    [`@id("a\\u{202e}b") permit (principal, action, resource);`, "@id needs a value"],
    [`@reason("a\\nb") permit (principal, action, resource);`, "@reason needs a value"],
    [`@id("a") @id("b") permit (principal, action, resource);`, "duplicate annotation: @id"],
    [
      `permit (principal == ?principal, action, resource);`,
      "templates (?principal, ?resource) are not supported",
    ],
    [`permit (principal == User::"alice", action, resource);`, "a User is named by issuer and subject"],
    [`permit (principal == Workload::"#x", action, resource);`, "a Workload is named by issuer and subject"],
    [
      `permit (principal, action == Action::"config:write", resource == Gateway::"x");`,
      `the only Gateway is Gateway::"sallyport"`,
    ],
    [`forbid (principal, action, resource) when { false };`, "this policy can never apply"],
    [
      `forbid (principal, action == Action::"config:write", resource == Resource::"x");`,
      "this policy can never apply",
    ],
    [`permit (principal in Group::"db\u0430", action, resource);`, "mixed scripts"],
    [`permit (principal in Group::"d\u202eba", action, resource);`, "BIDI control characters"],
    [
      `permit (principal, action, resource) when { resource.labels.contains("a=b") };`,
      "write `resource is Resource` in the policy's scope",
    ],
    [`permit (principal, action, resource) when { principal.name == "alice" };`, "attribute `name`"],
    [
      `permit (principal, action, resource) when { ip("bad").isLoopback() };`,
      "failed to parse as IP address",
    ],
    [`permit (principal, action, resource) when { "unclosed };`, "this string is not closed"],
  ])("refuse %s", (text, message) => {
    const found = errors(text);
    expect(found.length).toBeGreaterThan(0);
    expect(found.join("\n")).toContain(message);
  });

  it("refuse one id for two policies, in whatever files", () => {
    const result = engine.check([
      { file: "a.cedar", text: `@id("same") permit (principal, action, resource);` },
      { file: "b.cedar", text: `\n@id("same") forbid (principal, action, resource);` },
    ]);
    expect(result.ok ? [] : result.error).toEqual([
      {
        file: "b.cedar",
        line: 2,
        column: 1,
        message: `@id("same") is already used at a.cedar:1; every policy needs its own`,
      },
    ]);
  });
});

describe("a checked policy", () => {
  it("has its id, place, approval, reason and the resources that it names", () => {
    const text = `// first\npermit (principal, action, resource == Resource::"shop-db");
@id("second") @approval("dba") @reason("because; \\"of\\" // this")
permit (principal, action, resource) when { resource == Resource::"a\\"b" /* no comment in Cedar */ };`;
    const withoutComment = text.replace(" /* no comment in Cedar */", "");
    const result = engine.check([{ file: "dir/p.cedar", text: withoutComment }]);
    expect(result.ok ? result.value : result.error).toMatchObject([
      {
        id: "dir/p.cedar:1",
        line: 2,
        effect: "permit",
        resources: [{ name: "shop-db", line: 2, column: 40 }],
      },
      {
        id: "second",
        line: 3,
        approval: { group: "dba", quorum: 1 },
        reason: `because; "of" // this`,
        resources: [{ name: 'a"b', line: 4, column: 57 }],
      },
    ]);
  });
});

describe("any text", () => {
  it("is either checked or refused at a place inside it, and never throws", () => {
    const pieces = fc.constantFrom(
      ...[
        "permit",
        "forbid",
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        ",",
        ";",
        "::",
        "@",
        "principal",
        "action",
        "resource",
      ],
      ...[
        "when",
        "unless",
        "if",
        "then",
        "else",
        "==",
        "&&",
        "||",
        "!",
        ".",
        "1",
        "true",
        `"a"`,
        `"`,
        "\\",
        "//",
        "/*",
      ],
      ...[
        "\n",
        "ü",
        "🚪",
        "\u0000",
        "\ud800",
        "\u2028",
        `Resource::"x"`,
        `@id("a")`,
        "context",
        "like",
        "in",
        "is",
      ],
      "permit (principal, action, resource);",
    );
    const texts = fc.array(pieces, { maxLength: 60 }).map((parts) => parts.join(" "));
    fc.assert(
      fc.property(texts, (text) => {
        const result = engine.check([{ file: "p.cedar", text }]);
        const lines = text.split("\n");
        const places = result.ok ? [] : result.error;
        const outside = places.filter(
          ({ line, column }) =>
            line < 1 || column < 1 || column > Array.from(lines[line - 1] ?? "").length + 1,
        );
        expect(outside).toEqual([]);
      }),
      { numRuns: 400 },
    );
    stillDecides();
  });
});

describe("text that would harm the evaluator", () => {
  const deep = (open: string, close: string, middle: string): string =>
    `permit (principal, action, resource) when { ${open.repeat(1000)}${middle}${close.repeat(1000)} };`;

  it.each([
    ["parentheses", deep("(", ")", "true")],
    ["lists", deep("[", "]", "true")],
    ["records", deep("{a: ", "}", "true")],
    [
      "conditionals",
      `permit (principal, action, resource) when { ${"if true then true else ".repeat(1000)}true };`,
    ],
    ["conditionals in conditions", deep("if ", " then true else true", "true")],
    ["a mixture", deep("(if [", "] == [] then true else true)", "1")],
    ["brackets behind strings and comments", deep(`"(" == "(" && // (\n(`, ")", "true")],
  ])("is refused before it is parsed: %s nested 1,000 deep", (_, text) => {
    expect(errors(text)).toEqual([
      expect.stringMatching(/nested more than 64 deep|at most .* (operators|characters)/),
    ]);
    stillDecides();
  });

  it.each([
    ["a chain of additions", `permit (principal, action, resource) when { ${"1+".repeat(7000)}1 == 1 };`],
    ["a chain of members", `permit (principal, action, resource) when { context${".a".repeat(7000)} };`],
    ["a chain of indexes", `permit (principal, action, resource) when { context${'["a"]'.repeat(2000)} };`],
    ["one huge policy", `permit (principal, action, resource) when { "${"x".repeat(20_000)}" == "" };`],
    ["more than 1 MiB in all", `permit (principal, action, resource);\n`.repeat(30_000)],
    ["too many policies", `permit(principal,action,resource);`.repeat(2001)],
    [
      "surplus closing brackets before opening ones",
      `permit (principal, action, resource) when { ${")".repeat(500)}${"(".repeat(560)} };`,
    ],
    [
      "closing brackets of another kind",
      `permit (principal, action, resource) when { ${"(]".repeat(1000)} };`,
    ],
  ])("is refused, and the evaluator goes on: %s", (_, text) => {
    expect(errors(text).length).toBeGreaterThan(0);
    stillDecides();
  });

  it("is parsed up to the bounds", () => {
    const nested = `permit (principal, action, resource) when { ${"(".repeat(60)}true${")".repeat(60)} };`;
    const chained = `permit (principal, action, resource) when { ${"true || ".repeat(400)}true };`;
    expect(errors(`${nested}\n${chained}`)).toEqual([]);
  });
});

function stillDecides(): void {
  const fresh = createPolicyEngine(testCedar());
  expect(fresh.load(1, [{ file: "p.cedar", text: `permit (principal, action, resource);` }]).ok).toBe(true);
  expect(fresh.decide(user("a"), SHOP, statement("select")).effect).toBe("allow");
}
