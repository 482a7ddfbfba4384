/** SAML providers and SCIM directories in configuration. */
import { createHash } from "node:crypto";
import { beforeAll, describe, expect, it } from "vitest";
import { describeChanges } from "../../../worker/config/changes.ts";
import { parseConfig } from "../../../worker/config/parse.ts";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { testCedar } from "../../support/cedar.ts";
import { selfSigned } from "../../support/certificate.ts";

const engine = createPolicyEngine(testCedar());
const HASH = createHash("sha256").update("a token").digest("hex");
let certificate: string;
let weak: string;

beforeAll(() => {
  certificate = selfSigned().certificate;
  weak = selfSigned(1024).certificate;
});

const parse = (files: Readonly<Record<string, string>>) => parseConfig(files, engine);

function saml(change: Readonly<Record<string, string>> = {}, name = "shop"): string {
  const fields = {
    entityId: "https://idp.example.com",
    signOnUrl: "https://idp.example.com/sso",
    certificates: `|\n${certificate.replaceAll(/^/gm, "      ")}`,
    ...change,
  };
  const lines = Object.entries(fields).map(([key, value]) => `    ${key}: ${value}\n`);
  return `saml:\n  ${name}:\n${lines.join("")}`;
}

const scim = (fields: string): string => `scim:\n  shop: { ${fields} }\n`;

function errors(...texts: string[]): string {
  const result = parse(Object.fromEntries(texts.map((text, at) => [`${at}.yaml`, text])));
  return result.ok
    ? ""
    : result.error.map(({ file, line, message }) => `${file}:${line}: ${message}`).join("\n");
}

describe("a SAML provider", () => {
  it("has its defaults", () => {
    const result = parse({ "a.yaml": saml() });
    if (!result.ok) throw new Error(JSON.stringify(result.error));
    expect(result.value.saml).toEqual([
      {
        name: "shop",
        entityId: "https://idp.example.com",
        signOnUrl: "https://idp.example.com/sso",
        certificates: [certificate],
        nameAttribute: "email",
        groupsAttribute: "groups",
        session: 8 * 3_600_000,
      },
    ]);
    expect(describeChanges(undefined, result.value)).toEqual(["SAML provider shop added"]);
  });

  it.each<readonly [string, () => string, RegExp]>([
    ["over plain http", () => saml({ signOnUrl: "http://idp.example.com/sso" }), /0.yaml:4: .*https/],
    ["at no address", () => saml({ signOnUrl: "javascript:alert(1)" }), /https/],
    ["with a # in its entity id", () => saml({ entityId: '"https://a#b"' }), /#/],
    ["with something else for a certificate", () => saml({ certificates: '"MIIC"' }), /PEM/],
    ["with a weak key", () => saml({ certificates: `|\n${weak.replaceAll(/^/gm, "      ")}` }), /2048 bits/],
    ["with a session without end", () => saml({ session: "48h" }), /out of bounds/],
    ["with an unknown key", () => saml({ allowSha1: "true" }), /unknown key/],
    ["with a name that is no part of an address", () => saml({}, '"a/b"'), /a name has/],
  ])("%s is refused at its place", (_, text, expected) => {
    expect(errors(text())).toMatch(expected);
  });

  it("may not take another issuer's name", () => {
    const issuer = "issuers:\n  - issuer: https://idp.example.com\n    audience: a\n    algorithms: RS256\n";
    expect(errors(issuer, saml())).toMatch(/issuer "https:\/\/idp.example.com" is already defined/);
    expect(errors(saml(), saml({}, "other"))).toMatch(/already defined/);
    expect(errors(saml(), saml({ entityId: "https://b" }))).toMatch(
      /SAML provider "shop" is already defined/,
    );
  });
});

describe("a SCIM directory", () => {
  it("belongs to an issuer that is there", () => {
    const directory = scim(`issuer: https://idp.example.com, tokens: ${HASH}, subject: externalId`);
    const result = parse({ "a.yaml": saml(), "b.yaml": directory });
    expect(result.ok && result.value.directories).toEqual([
      { name: "shop", issuer: "https://idp.example.com", tokens: [HASH], subject: "externalId" },
    ]);
    expect(errors(directory)).toMatch(/^0.yaml:2: there is no issuer or SAML provider/);
  });

  it.each([
    ["a token itself", "tokens: this-is-the-token", /never the token itself/],
    ["a hash in capitals", `tokens: ${HASH.toUpperCase()}`, /64 hexadecimal digits/],
    ["no token", "tokens: []", /must not be empty/],
    ["another subject", `tokens: ${HASH}, subject: email`, /userName/],
  ])("with %s is refused", (_, fields, expected) => {
    expect(errors(saml(), scim(`issuer: https://idp.example.com, ${fields}`))).toMatch(expected);
  });

  it("is the only one of its issuer, and shares no token", () => {
    const other = `scim:\n  other: { issuer: https://idp.example.com, tokens: ${HASH} }\n`;
    const one = scim(`issuer: https://idp.example.com, tokens: ${HASH}`);
    expect(errors(saml(), one, other)).toMatch(/directory of the issuer .* is already defined/);
    const second = saml({ entityId: "https://b" }, "second");
    const shares = `scim:\n  other: { issuer: https://b, tokens: ${HASH} }\n`;
    expect(errors(saml(), second, one, shares)).toMatch(/token .* is already defined/);
  });
});
