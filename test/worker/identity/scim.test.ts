/** Filters and changes of SCIM, away from any store. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseFilter } from "../../../worker/identity/scim/filter.ts";
import { applyPatch, readResource } from "../../../worker/identity/scim/patch.ts";

const USER = { userName: "ada", active: true, emails: [{ type: "work", value: "a@x" }] };

function patch(...Operations: readonly object[]) {
  const patched = applyPatch(USER, { Operations });
  return patched.ok ? patched.value : patched.error.scimType;
}

describe("a filter", () => {
  const parse = (text: string) => {
    const parsed = parseFilter(text, ["userName", "externalId", "active"]);
    return parsed.ok ? parsed.value : parsed.error.scimType;
  };

  it.each([
    ['userName eq "ada"', [{ attribute: "userName", value: "ada" }]],
    ['USERNAME EQ "a\\"b"', [{ attribute: "userName", value: 'a"b' }]],
    ['urn:ietf:params:scim:schemas:core:2.0:User:userName eq "a"', [{ attribute: "userName", value: "a" }]],
    [
      'externalId eq "e" and active eq True',
      [
        { attribute: "externalId", value: "e" },
        { attribute: "active", value: true },
      ],
    ],
  ])("%s", (text, expected) => {
    expect(parse(text)).toEqual(expected);
  });

  it.each([
    "",
    "userName",
    "userName eq ada",
    'userName ne "a"',
    'userName eq "a" or active eq true',
    'userName eq "a" and',
    'userName eq "a" userName eq "b"',
    'password eq "a"',
    'userName eq "a',
    `userName eq "${"a".repeat(2_000)}"`,
  ])("is refused: %j", (text) => {
    expect(parse(text)).toBe("invalidFilter");
  });
});

describe("a change", () => {
  it.each<readonly [string, object[], object]>([
    ["of Okta", [{ op: "replace", value: { active: false } }], { ...USER, active: false }],
    ["of Entra ID", [{ op: "Replace", path: "active", value: "False" }], { ...USER, active: "False" }],
    [
      "with paths for keys",
      [{ op: "replace", value: { "name.givenName": "Ada", displayName: "A" } }],
      { ...USER, name: { givenName: "Ada" }, displayName: "A" },
    ],
    [
      "to an element that is chosen",
      [{ op: "replace", path: 'emails[type eq "work"].value', value: "b@x" }],
      { ...USER, emails: [{ type: "work", value: "b@x" }] },
    ],
    [
      "that adds to a list, once",
      [
        { op: "add", path: "emails", value: [{ type: "home", value: "h@x" }] },
        { op: "add", path: "emails", value: [{ type: "home", value: "h@x" }] },
      ],
      {
        ...USER,
        emails: [
          { type: "work", value: "a@x" },
          { type: "home", value: "h@x" },
        ],
      },
    ],
    ["that removes", [{ op: "remove", path: "emails" }], { userName: "ada", active: true }],
    ["of what only we say", [{ op: "replace", value: { id: "x", meta: {}, groups: [] } }], USER],
    ["of a password", [{ op: "replace", path: "password", value: "secret" }], USER],
    ["in another case", [{ op: "replace", path: "USERNAME", value: "bob" }], { ...USER, userName: "bob" }],
  ])("%s", (_, operations, expected) => {
    expect(patch(...operations)).toEqual({ attributes: expected, members: [] });
  });

  it.each<readonly [string, object[], object]>([
    [
      "adds",
      [{ op: "add", path: "members", value: [{ value: "u1" }, { value: "u1" }] }],
      { op: "add", ids: ["u1"] },
    ],
    ["removes one", [{ op: "remove", path: 'members[value eq "u1"]' }], { op: "remove", ids: ["u1"] }],
    [
      "removes by value",
      [{ op: "Remove", path: "members", value: [{ value: "u1" }] }],
      { op: "remove", ids: ["u1"] },
    ],
    ["removes all", [{ op: "remove", path: "members" }], { op: "replace", ids: [] }],
    ["replaces", [{ op: "replace", value: { members: [{ value: "u2" }] } }], { op: "replace", ids: ["u2"] }],
  ])("to members %s", (_, operations, expected) => {
    expect(patch(...operations)).toEqual({ attributes: USER, members: [expected] });
  });

  it.each<readonly [object, string]>([
    [{ op: "move", path: "a" }, "invalidSyntax"],
    [{ op: "replace", value: "x" }, "invalidSyntax"],
    [{ op: "remove" }, "invalidPath"],
    [{ op: "replace", path: "__proto__", value: {} }, "invalidPath"],
    [{ op: "replace", path: "name.__proto__", value: {} }, "invalidPath"],
    [{ op: "replace", path: "a.b.c", value: 1 }, "invalidPath"],
    [{ op: "add", path: 'members[value eq "u"]', value: [] }, "invalidPath"],
    [{ op: "add", path: "members", value: ["u1"] }, "invalidValue"],
    [{ op: "add", path: "members.value", value: "u1" }, "invalidPath"],
  ])("is refused: %j", (operation, scimType) => {
    expect(patch(operation)).toBe(scimType);
  });

  it("throws at nothing, and touches no prototype", () => {
    const names = fc.constantFrom(
      "__proto__",
      "constructor",
      "members",
      "active",
      "userName",
      "a[b eq true]",
      "a.b",
      "",
    );
    const value = fc.jsonValue({ maxDepth: 3 });
    const operation = fc.record({
      op: fc.constantFrom("add", "Replace", "remove"),
      path: fc.option(fc.oneof(names, fc.string()), { nil: undefined }),
      value: fc.oneof(value, fc.dictionary(names, value)),
    });
    const run = (Operations: readonly object[]): boolean => {
      const patched = applyPatch(USER, { Operations });
      return !patched.ok || Object.getPrototypeOf(patched.value.attributes) === Object.prototype;
    };
    fc.assert(
      fc.property(fc.array(operation, { minLength: 1, maxLength: 4 }), (operations) => run(operations)),
      { numRuns: 2_000 },
    );
    fc.assert(fc.property(fc.anything(), (json) => typeof readResource(json).ok === "boolean"));
    expect(Object.keys(Object.prototype)).toEqual([]);
  });
});
