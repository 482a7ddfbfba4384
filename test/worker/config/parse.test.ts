import { describe, expect, it } from "vitest";
import { describeChanges } from "../../../worker/config/changes.ts";
import { type Config, type ConfigChecks, parseConfig } from "../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { testCedar } from "../../support/cedar.ts";

const engine = createPolicyEngine(testCedar());

/** Errors as `file:line:column: message`. */
function errors(files: Record<string, string> | string, checks: ConfigChecks = {}): readonly string[] {
  const result = parseConfig(typeof files === "string" ? { "a.yaml": files } : files, engine, checks);
  return result.ok ? [] : result.error.map((e) => `${e.file}:${e.line}:${e.column}: ${e.message}`);
}

function good(files: Record<string, string>): Config {
  const result = parseConfig(files, engine);
  if (!result.ok) throw new Error(JSON.stringify(result.error));
  return result.value;
}

const RESOURCE = `resources:
  shop-db:
    protocol: postgres
    connector: demo
`;

describe("a configuration", () => {
  it("is read from all its files", () => {
    const config = good({
      "resources/shop.yaml": `resources:
  shop-db:
    protocol: postgres
    connector: demo
    database: shop
    labels: { env: production }
    masks:
      public.customers.card_number: last4
      public.customers.note: null
      public.customers.balance: { mask: round, step: 100 }
      public."Customer ""x""".SSN2: { mask: sql, expression: "left(value, 2)" }
    rows: { public.orders: "region = 'EU'" }
    detectors: off
    trustedFunctions: [public.total]
    recordResultBytes: 64KiB
    heldInTransaction: 90s
`.replace("SSN2", "ssn2"),
      "idp.yml": `issuers:
  - issuer: http://127.0.0.1:1234
    audience: sallyport
    algorithms: [RS256]
`,
      "p/a.cedar": `permit (principal, action, resource == Resource::"shop-db");`,
    });
    expect(config.resources).toEqual([
      {
        name: "shop-db",
        protocol: "postgres",
        connector: "demo",
        database: "shop",
        labels: { env: "production" },
        masks: [
          { schema: "public", relation: "customers", column: "card_number", mask: "last4" },
          { schema: "public", relation: "customers", column: "note", mask: "null" },
          { schema: "public", relation: "customers", column: "balance", mask: "round", step: 100 },
          {
            schema: "public",
            relation: 'Customer "x"',
            column: "ssn2",
            mask: "sql",
            expression: "left(value, 2)",
          },
        ],
        rows: [{ schema: "public", relation: "orders", condition: "region = 'EU'" }],
        detectors: "off",
        trustedFunctions: ["public.total"],
        recordResultBytes: 65_536,
        heldInTransaction: 90_000,
      },
    ]);
    expect(config.issuers).toEqual([
      {
        issuer: "http://127.0.0.1:1234",
        audience: ["sallyport"],
        algorithms: ["RS256"],
        scopes: ["openid", "profile", "email", "groups"],
        principal: "User",
        rules: [],
        require: {},
        nameClaim: "email",
        groupsClaim: "groups",
      },
    ]);
    expect(config.checkedPolicies.map((policy) => policy.id)).toEqual(["p/a.cedar:1"]);
    // It is stored and sent between objects as JSON.
    expect(JSON.parse(JSON.stringify(config))).toEqual(config);
  });

  it("may be empty, and a file may be", () => {
    const tokens = { requireProof: false, rotateKeys: 30 * 86_400_000 };
    expect(good({})).toEqual({
      issuers: [],
      saml: [],
      notifications: [],
      directories: [],
      resources: [],
      tokens,
      policies: [],
      checkedPolicies: [],
    });
    expect(
      good({ "a.yaml": "", "b.yaml": "# nothing\n", "c.yaml": "resources:\nissuers:\n", "d.cedar": "" })
        .resources,
    ).toEqual([]);
  });
});

describe("an error", () => {
  it.each([
    [
      "resorces: {}",
      `1:1: unknown key "resorces" (did you mean "resources"?); allowed: issuers, saml, scim, resources, tokens, notifications`,
    ],
    ["resources: []", "1:12: must map the name of each resource to what it is"],
    ["issuers: {}", "1:10: must be a list of identity providers"],
    ["- a", "1:1: must be a mapping with the keys issuers, saml, scim, resources, tokens, notifications"],
    [
      RESOURCE.replace("protocol: postgres", "protocl: postgres"),
      `3:5: unknown key "protocl" (did you mean "protocol"?); allowed: protocol, connector,`,
    ],
    [RESOURCE.replace("    connector: demo\n", ""), `2:3: "connector" is missing`],
    [
      RESOURCE.replace("postgres", "postgre"),
      `3:15: "postgre" is not known here (did you mean "postgres"?); allowed: postgres`,
    ],
    [RESOURCE.replace("shop-db", "Shop DB"), `2:3: "Shop DB": a name has 1 to 63 of a-z`],
    [`${RESOURCE}    labels: { env: 3 }`, `5:20: 3 must be text; put it in quotes: "3"`],
    [`${RESOURCE}    labels: { "a=b": x }`, `5:15: "a=b" is not a label's name`],
    [
      `${RESOURCE}    masks: { customers.ssn: full }`,
      `5:14: "customers.ssn" is not a column; a column is named schema.relation.column`,
    ],
    [
      `${RESOURCE}    masks: { public.Customers.ssn: full }`,
      `5:14: "public.Customers.ssn" has capitals: write customers, or "Customers" in double quotes`,
    ],
    [
      `${RESOURCE}    masks: { "public.customers.": full }`,
      `5:14: "public.customers." is not a name as SQL writes it`,
    ],
    [
      `${RESOURCE}    masks: { public.customers.ssn: lst4 }`,
      `5:36: "lst4" is not known here (did you mean "last4"?); allowed: null, full, last4`,
    ],
    [
      `${RESOURCE}    masks: { public.customers.ssn: round }`,
      `5:36: round needs a step: { mask: round, step: 100 }`,
    ],
    [`${RESOURCE}    masks: { public.c.a: { mask: round, step: -1 } }`, `5:47: -1 must be greater than 0`],
    [
      `${RESOURCE}    masks: { public.c.a: { mask: full, step: 1 } }`,
      `5:26: step belongs to round, not to full`,
    ],
    [
      `${RESOURCE}    masks: { public.c.a: { mask: full, stp: 1 } }`,
      `5:40: unknown key "stp" (did you mean "step"?); allowed: mask, step, expression`,
    ],
    [
      `${RESOURCE}    rows: { orders: "true" }`,
      `5:13: "orders" is not a relation; a relation is named schema.relation`,
    ],
    [`${RESOURCE}    rows: { public.orders: "" }`, `5:28: "" must not be empty`],
    [`${RESOURCE}    detectors: on`, `5:16: "on" is not known here; allowed: off, mask, block`],
    [
      `${RESOURCE}    trustedFunctions: [total]`,
      `5:24: "total" is not qualified; a function is named schema.function`,
    ],
    [`${RESOURCE}    heldInTransaction: 5`, `5:24: 5 must be a duration such as 90s, 5m or 1h`],
    [`${RESOURCE}    heldInTransaction: 2h`, `5:24: "2h" is out of bounds: from 1s to 1h`],
    [`${RESOURCE}    recordResultBytes: 1GB`, `5:24: "1GB" must be a size such as 512B, 64KiB or 1MiB`],
    [`issuers:\n  - issuer: https://a.example`, `2:5: "audience" is missing`],
    [`issuers:\n  - issuer: http://a.example`, `2:13: "http://a.example" must start with https://`],
    [
      `issuers:\n  - issuer: https://a.example/#b`,
      `2:13: "https://a.example/#b" must not hold a query or a fragment`,
    ],
    [
      `issuers:\n  - issuer: https://u:p@a.example`,
      `2:13: "https://u:p@a.example" must not hold a user or password`,
    ],
    [`issuers:\n  - issuer: x`, `2:13: "x" must be an address such as https://login.example.com`],
    [
      `issuers:\n  - { issuer: https://a.example, audience: x, algorithms: [HS256] }`,
      `2:60: "HS256" is not known here (did you mean "RS256"?); allowed: RS256,`,
    ],
    [
      `issuers:\n  - { issuer: https://a.example, audience: x, algorithms: none }`,
      `2:59: "none" is not known here`,
    ],
    [
      `issuers:\n  - { issuer: https://a.example, audience: [], algorithms: RS256 }`,
      `2:44: "audience" must not be empty`,
    ],
    [
      `issuers:\n  - { issuer: https://a.example, audience: x, algorithms: RS256, rules: [{ when: {}, principal: User }] }`,
      `"when" needs at least one claim`,
    ],
    [
      `issuers:\n  - { issuer: https://gitlab.com, audience: x, algorithms: RS256 }`,
      `2:15: https://gitlab.com signs tokens for everybody: say with require whose you accept`,
    ],
    ["? [a]\n: b", "1:3: a key has to be text"],
    ["a: 1\na: 2", "2:1: map keys must be unique"],
    ["a: &x 1\nb: *x", "2:4: aliases (*name) are not supported"],
    ["a: !!js/function 1", "1:4: unresolved tag"],
    ["a: [1,\nb: 2", "2:"],
    ["a: 1\n---\nb: 1", "source contains multiple documents"],
    [`a: ${"[".repeat(20_000)}`, "1:1: this YAML is nested too deeply"],
    [`a: ${"{a: ".repeat(20_000)}`, "1:1: this YAML is nested too deeply"],
  ])("in %j stands at its place", (text, expected) => {
    const found = errors(text);
    expect(found.join("\n")).toContain(expected);
    expect(found.length).toBeLessThanOrEqual(6);
  });

  it("tells where something was defined before, also in another file", () => {
    expect(errors({ "a.yaml": RESOURCE, "b.yaml": `# again\n${RESOURCE}` })).toEqual([
      `b.yaml:3:3: resource "shop-db" is already defined at a.yaml:2`,
    ]);
    const issuer = `issuers:\n  - { issuer: https://a.example, audience: x, algorithms: RS256 }\n`;
    expect(errors({ "a.yaml": issuer, "b.yaml": issuer })).toEqual([
      `b.yaml:2:7: issuer "https://a.example" is already defined at a.yaml:2`,
    ]);
  });

  it("refuses a policy about a resource that does not exist, with the one that was meant", () => {
    const policy = `permit (principal, action,\n  resource == Resource::"shop-bd");`;
    expect(errors({ "a.yaml": RESOURCE, "p.cedar": policy })).toEqual([
      `p.cedar:2:15: there is no resource "shop-bd" (did you mean "shop-db"?); known: shop-db`,
    ]);
  });

  it("refuses files that are no configuration, and paths that lead elsewhere", () => {
    for (const path of [
      "README.md",
      "a.yaml.exe",
      "../a.yaml",
      "/etc/a.yaml",
      "a//b.yaml",
      "a\\b.yaml",
      "",
      "a\n.yaml",
    ]) {
      expect(errors({ [path]: "" })[0]).toMatch(/:1:1: not a (usable path|configuration file)/);
    }
  });

  it("refuses more than can sensibly be read", () => {
    expect(errors({ "a.yaml": `# ${"x".repeat(3 << 20)}` })[0]).toContain("at most");
    const many = Object.fromEntries(Array.from({ length: 1001 }, (_, index) => [`${index}.yaml`, ""]));
    expect(errors(many)[0]).toContain("at most 1000 files");
  });

  it("comes from whoever checks SQL too, at the expression's place", () => {
    const text = `${RESOURCE}    rows: { public.orders: "region =" }\n    masks: { public.c.a: { mask: sql, expression: "left(" } }\n`;
    const expression: ConfigChecks["expression"] = (kind, sql) => `${kind}: cannot parse ${sql}`;
    expect(errors(text, { expression })).toEqual([
      "a.yaml:5:28: rows: cannot parse region =",
      "a.yaml:6:51: mask: cannot parse left(",
    ]);
  });

  it("is all that is told: nothing throws, whatever the text", () => {
    const hostile = [
      "\u0000",
      "%YAML 9",
      "? [a]: b",

      "<<: {a: 1}",
      "__proto__: 1",
      "resources: {__proto__: {protocol: postgres, connector: a}}",
      "resources: {constructor: 1}",
      "issuers: [~, 1, []]",
      "resources: {a: ~, b: [], c: 1}",
      `resources: {a: {masks: [1], rows: 3, labels: ~}}`,
    ];
    expect(hostile.filter((text) => errors(text).length === 0)).toEqual([]);
    expect(({} as Record<string, unknown>)["protocol"]).toBeUndefined();
  });
});

describe("the changes", () => {
  it("are told one by one", () => {
    const before = good({ "a.yaml": RESOURCE, "p.cedar": `@id("a") permit (principal, action, resource);` });
    expect(describeChanges(undefined, before)).toEqual(["resource shop-db added", "policy a added"]);
    expect(describeChanges(before, before)).toEqual([]);
    // Moved to other files and written differently, it still means the same.
    const moved = good({
      "x/b.yaml": "resources: { shop-db: { connector: demo, protocol: postgres } }",
      "q.cedar": `@id("a") permit (principal, action, resource);`,
    });
    expect(describeChanges(before, moved)).toEqual([]);
    const after = good({
      "a.yaml": `${RESOURCE}    masks: { public.c.a: full }\n    labels: { env: test }\n`,
      "p.cedar": `@id("a") forbid (principal, action, resource);\n@id("b") permit (principal, action, resource);`,
    });
    expect(describeChanges(before, after)).toEqual([
      "resource shop-db changed: labels, masks",
      "policy a changed: effect, text",
      "policy b added",
    ]);
    expect(describeChanges(after, before)).toContain("policy b removed");
  });
});
