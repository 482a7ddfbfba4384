/** SAML messages, made and signed by samlify, whole and taken apart. */
import { beforeAll, describe, expect, it } from "vitest";
import { DOMParser } from "@xmldom/xmldom/lib/index.js";
import { SignedXml } from "xml-crypto";
import type { SamlProvider } from "../../../../worker/identity/saml/provider.ts";
import { readSamlAssertion, readSamlResponse } from "../../../../worker/identity/saml/response.ts";
import { publicKeyOf } from "../../../../worker/identity/saml/signature.ts";
import { everywhere } from "../../../../worker/identity/saml/xml.ts";
import { type Certified, selfSigned } from "../../../support/certificate.ts";
import {
  type Content,
  EXCLUSIVE,
  type SamlIdp,
  type Signing,
  assertionOf,
  attribute,
  signatureOf,
  startSamlIdp,
} from "../../../support/saml-idp.ts";
import { wrappings } from "../../../support/saml-wrapping.ts";

const GATEWAY = "https://sally.example.com";
const SP = `${GATEWAY}/saml/okta`;
const ACS = `${SP}/acs`;
const ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const HOUR = 3_600_000;

let keys: Certified;
let other: Certified;
let idp: SamlIdp;
let provider: SamlProvider;

beforeAll(() => {
  keys = selfSigned();
  other = selfSigned();
  idp = startSamlIdp({ serviceProvider: SP, acs: ACS }, keys);
  provider = {
    name: "okta",
    entityId: idp.entityId,
    signOnUrl: idp.signOnUrl,
    certificates: [keys.certificate],
    nameAttribute: "email",
    groupsAttribute: "groups",
    session: 8 * HOUR,
  };
});

const encode = (xml: string): string => Buffer.from(xml).toString("base64");

function read(xml: string, more: Partial<SamlProvider> = {}, now = Date.now()) {
  return readSamlResponse(encode(xml), { ...provider, ...more }, GATEWAY, now);
}

const problem = (result: ReturnType<typeof read>): string => (result.ok ? "ok" : result.error);

async function respond(content: Content = {}, signing: Signing = {}, more: Partial<SamlProvider> = {}) {
  return read(await idp.respond(content, signing), more);
}

describe("a response of a real provider", () => {
  it("says who it is, in which groups, and until when", async () => {
    const before = Date.now();
    const result = await respond({
      assertionId: "_a1",
      inResponseTo: "req_77",
      attributes: attribute("groups", "engineers", "on-call") + attribute("email", "Ada L."),
    });
    if (!result.ok) throw new Error(result.error);
    const { principal, assertion, request, endsAt, replayUntil } = result.value;
    expect(principal).toEqual({
      type: "User",
      issuer: idp.entityId,
      subject: "ada@shop.example",
      name: "Ada L.",
      groups: ["engineers", "on-call"],
    });
    expect({ assertion, request }).toEqual({ assertion: "_a1", request: "req_77" });
    expect(endsAt - before).toBeGreaterThan(7.9 * HOUR);
    // Remembered for as long as anybody would take it: five minutes and the skew.
    expect(replayUntil - before).toBeGreaterThanOrEqual(360_000);
  });

  it.each([
    ["signed as a whole too", { response: true }],
    ["signed with SHA-512", { algorithm: "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512" }],
  ] as const)("is taken %s", async (_, signing) => {
    expect(problem(await respond({}, signing))).toBe("ok");
  });

  it("is taken with any certificate of several, while the provider changes keys", async () => {
    const certificates = [other.certificate, keys.certificate];
    expect(problem(await respond({}, {}, { certificates }))).toBe("ok");
    expect(problem(await respond({}, {}, { certificates: [other.certificate] }))).toBe("signature_wrong");
  });

  it("may begin with a declaration, and be broken into lines in base64", async () => {
    const xml = `<?xml version="1.0" encoding="UTF-8"?>\n${await idp.respond()}\n`;
    const lines = (encode(xml).match(/.{1,76}/g) ?? []).join("\r\n");
    expect(problem(readSamlResponse(lines, provider, GATEWAY, Date.now()))).toBe("ok");
  });

  it("ends with the provider's own session when that is sooner", async () => {
    const end = new Date(Date.now() + 600_000).toISOString();
    const statement = `<saml:AuthnStatement AuthnInstant="${end}" SessionNotOnOrAfter="${end}"/>`;
    const result = await respond({ statement });
    expect(result.ok && result.value.endsAt).toBe(Date.parse(end));
  });

  it("may name its subject in an attribute", async () => {
    const attributes = attribute("employee", "e-17") + attribute("groups", "dba");
    const result = await respond({ attributes }, {}, { subjectAttribute: "employee" });
    expect(result.ok && result.value.principal).toMatchObject({
      subject: "e-17",
      name: "e-17",
      groups: ["dba"],
    });
    expect(problem(await respond({}, {}, { subjectAttribute: "employee" }))).toBe("subject_malformed");
  });

  it("keeps escaped characters and names as they are", async () => {
    const result = await respond({
      attributes: attribute("groups", "R&amp;D &lt;x&gt;", "Ärzte", "d&#98;a"),
    });
    expect(result.ok && result.value.principal.groups).toEqual(["R&D <x>", "Ärzte", "dba"]);
  });
});

/** What a careless reader asks: does a signature in this document verify with the provider's key? */
function verifiesSomewhere(xml: string): boolean {
  const complain = (message: string): never => {
    throw new Error(message);
  };
  // The attacks are well-formed: what is refused is the attack, not a slip in making it.
  const parser = new DOMParser({
    errorHandler: { warning: complain, error: complain, fatalError: complain },
  });
  const root = parser.parseFromString(xml, "text/xml")?.documentElement ?? complain("no document");
  return everywhere(root, "Signature").some((signature) => {
    const signed = new SignedXml({ publicCert: keys.certificate, getCertFromKeyInfo: () => null });
    try {
      signed.loadSignature(signature);
      return signed.checkSignature(xml);
    } catch {
      return false;
    }
  });
}

describe("signature wrapping", () => {
  it("is refused in every one of its forms", async () => {
    const response = await idp.respond({ assertionId: "_real" });
    const whole = await idp.respond({ assertionId: "_real" }, { response: true });
    expect([problem(read(response)), problem(read(whole))]).toEqual(["ok", "ok"]);
    const found = wrappings(response, whole);
    expect(found).toHaveLength(12);
    const outcome: Record<string, string> = {};
    for (const { name, response: xml, verifies } of found) {
      if (name !== "XSW9") expect(xml, name).toContain(">mallory@shop.example<");
      // Else it would be refused for a reason that has nothing to do with the attack.
      expect(verifiesSomewhere(xml), name).toBe(verifies);
      outcome[name] = problem(read(xml));
      expect(outcome[name], name).not.toBe("ok");
    }
    expect(outcome).toMatchInlineSnapshot(`
      {
        "XSW1": "assertion_count",
        "XSW2": "assertion_count",
        "XSW3": "assertion_count",
        "XSW3a": "assertion_count",
        "XSW4": "assertion_count",
        "XSW5": "assertion_count",
        "XSW5a": "signature_wrong",
        "XSW6": "assertion_count",
        "XSW6a": "assertion_count",
        "XSW7": "xml_malformed",
        "XSW8": "xml_malformed",
        "XSW9": "assertion_count",
      }
    `);
  });

  it("has nothing to gain from an assertion that is signed and one that is not, wherever they stand", async () => {
    const response = await idp.respond({ assertionId: "_real" });
    const assertion = assertionOf(response);
    const evil = assertion.replace(signatureOf(assertion), "").replaceAll("ada@", "mallory@");
    const places = [
      "<samlp:Status>",
      "</samlp:Status>",
      "<saml:Subject>",
      "</saml:Conditions>",
      "</ds:SignedInfo>",
      "</ds:Signature>",
      "</saml:Issuer>",
    ];
    for (const place of places) {
      for (const put of [
        evil,
        evil.replace("_real", "_other"),
        evil.replaceAll("saml:Assertion", "samlp:Assertion"),
      ]) {
        expect(problem(read(response.replace(place, `${place}${put}`))), place).not.toBe("ok");
        expect(problem(read(response.replace(place, `${put}${place}`))), place).not.toBe("ok");
      }
    }
  });
});

describe("a message taken apart at random", () => {
  it("is refused, or still says what was signed", async () => {
    const response = await idp.respond({ assertionId: "_real" }, { response: true });
    const pieces = response.split(/(?=<)/);
    // The same damage in every run: a linear congruential generator.
    let seed = 20_261_122;
    const random = (most: number): number => (seed = (seed * 48_271) % 2_147_483_647) % most;
    let taken = 0;
    for (let round = 0; round < 400; round++) {
      const changed = [...pieces];
      for (let step = random(3); step >= 0; step--) {
        const [from, length, to] = [random(changed.length), 1 + random(12), random(changed.length)];
        const cut = random(2) === 0 ? changed.slice(from, from + length) : changed.splice(from, length);
        const put = cut.map((piece) => piece.replaceAll("ada@", "eve@").replace(">engineers", ">admins"));
        if (random(3) > 0) changed.splice(to, 0, ...(random(2) === 0 ? cut : put));
      }
      const result = read(changed.join(""));
      if (!result.ok) continue;
      taken++;
      expect(result.value.principal).toMatchObject({ subject: "ada@shop.example", groups: ["engineers"] });
    }
    // Some changes fall on what no signature covers, or undo themselves.
    expect(taken).toBeLessThan(200);
  });
});

describe("a signature", () => {
  it.each([
    ["with SHA-1", { algorithm: "http://www.w3.org/2000/09/xmldsig#rsa-sha1" }, "signature_algorithm"],
    [
      "with inclusive canonicalisation",
      { transforms: [ENVELOPED, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"] },
      "signature_algorithm",
    ],
    [
      "with canonicalisation that keeps comments",
      { transforms: [ENVELOPED, `${EXCLUSIVE}WithComments`] },
      "signature_algorithm",
    ],
    ["of the response alone", { assertion: false, response: true }, "signature_missing"],
  ] as const)("%s is refused", async (_, signing, expected) => {
    expect(problem(await respond({}, signing))).toBe(expected);
  });

  it("of somebody else is refused, whatever key it brings along", async () => {
    const stranger = startSamlIdp({ entityId: idp.entityId, serviceProvider: SP, acs: ACS }, other);
    expect(problem(read(await stranger.respond()))).toBe("signature_wrong");
  });

  it("with the public key as an HMAC secret is refused", async () => {
    const xml = await idp.respond();
    const hmac = xml.replace(
      "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
      "http://www.w3.org/2000/09/xmldsig#hmac-sha1",
    );
    expect(problem(read(hmac))).toBe("signature_algorithm");
  });

  it.each([
    ["is missing", (xml: string) => xml.replace(signatureOf(xml), ""), "signature_missing"],
    [
      "is there twice",
      (xml: string) => xml.replace(signatureOf(xml), signatureOf(xml).repeat(2)),
      "signature_missing",
    ],
    [
      "covers the whole document",
      (xml: string) => xml.replace(/URI="[^"]*"/, 'URI=""'),
      "signature_reference",
    ],
    [
      "covers something else",
      (xml: string) => xml.replace(/URI="[^"]*"/, 'URI="#_response"'),
      "signature_reference",
    ],
    [
      "is an XPointer",
      (xml: string) => xml.replace(/URI="#([^"]*)"/, "URI=\"#xpointer(id('$1'))\""),
      "signature_reference",
    ],
    [
      "is fetched from elsewhere",
      (xml: string) => xml.replace(/URI="[^"]*"/, 'URI="https://evil.example/a.xml"'),
      "signature_reference",
    ],
    [
      "has another transform",
      (xml: string) =>
        xml.replace(
          "</ds:Transforms>",
          `<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xslt-19991116"/></ds:Transforms>`,
        ),
      "signature_form",
    ],
    [
      "has two references",
      (xml: string) => xml.replace(/<ds:Reference.*<\/ds:Reference>/s, (one) => one + one),
      "signature_form",
    ],
    [
      "has two values",
      (xml: string) => xml.replace(/<ds:SignatureValue>.*<\/ds:SignatureValue>/s, (one) => one + one),
      "signature_form",
    ],
    [
      "has two infos",
      (xml: string) => xml.replace(/<ds:SignedInfo>.*<\/ds:SignedInfo>/s, (one) => one + one),
      "signature_form",
    ],
    [
      "has no value",
      (xml: string) => xml.replace(/<ds:SignatureValue>[^<]*/, "<ds:SignatureValue>"),
      "signature_wrong",
    ],
    [
      "has a digest of other bytes",
      (xml: string) => xml.replace(/<ds:DigestValue>[^<]*/, "<ds:DigestValue>AAAA"),
      "signature_wrong",
    ],
    [
      "is in the wrong namespace",
      (xml: string) =>
        xml.replaceAll('http://www.w3.org/2000/09/xmldsig#"', 'http://www.w3.org/2000/09/xmldsig"'),
      "signature_missing",
    ],
  ] as const)("that %s is refused", async (_, change, expected) => {
    expect(problem(read(change(await idp.respond())))).toBe(expected);
  });

  it("breaks with any change to what it covers", async () => {
    const xml = await idp.respond();
    for (const [from, to] of [
      [">ada@shop.example<", ">eva@shop.example<"],
      [">engineers<", ">admins<"],
      ["<saml:Audience>", "<saml:Audience >"],
      ["</saml:AttributeStatement>", `${attribute("groups", "admins")}</saml:AttributeStatement>`],
    ] as const) {
      const changed = xml.replace(from, to);
      expect(changed).not.toBe(xml);
      // A space within a tag is no change: canonicalisation takes it out.
      expect(problem(read(changed)), from).toBe(to.endsWith(" >") ? "ok" : "signature_wrong");
    }
  });

  it("needs a key of 2048 bits at least", () => {
    expect(publicKeyOf(selfSigned(1024).certificate)).toBeUndefined();
    expect(publicKeyOf(keys.certificate)).toContain("BEGIN PUBLIC KEY");
  });
});

describe("a message in XML that parsers disagree about", () => {
  it.each([
    ["a document type", (xml: string) => `<!DOCTYPE x>${xml}`],
    [
      "an entity",
      (xml: string) => `<!DOCTYPE x [<!ENTITY e "admins">]>${xml.replace(">engineers<", ">&e;<")}`,
    ],
    ["an external entity", (xml: string) => `<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>${xml}`],
    [
      "exponential entities",
      (xml: string) => `<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>${xml}`,
    ],
    ["an undeclared entity", (xml: string) => xml.replace(">engineers<", ">&nbsp;<")],
    [
      "a comment in the name",
      (xml: string) => xml.replace("ada@shop.example<", "ada@shop.example<!-- -->.evil.example<"),
    ],
    ["a comment anywhere", (xml: string) => xml.replace("<samlp:Status>", "<!-- x --><samlp:Status>")],
    ["a CDATA section", (xml: string) => xml.replace(">engineers<", "><![CDATA[engineers]]><")],
    ["a processing instruction", (xml: string) => xml.replace("ada@shop", "ada<?x y?>@shop")],
    ["a style sheet", (xml: string) => `<?xml-stylesheet href="https://evil.example"?>${xml}`],
    ["another encoding", (xml: string) => `<?xml version="1.0" encoding="UTF-7"?>${xml}`],
    ["another version", (xml: string) => `<?xml version="1.1"?>${xml}`],
    ["a NUL", (xml: string) => xml.replace("ada@", "ada\0@")],
    ["a reference to a control character", (xml: string) => xml.replace("ada@", "ada&#1;@")],
  ])("is refused for %s", async (_, change) => {
    expect(problem(read(change(await idp.respond())))).toMatch(/^xml_/);
  });

  it.each([
    ["two roots", (xml: string) => `${xml}${xml}`],
    ["text after the root", (xml: string) => `${xml} x`],
    [
      "an attribute twice",
      (xml: string) => xml.replace("<samlp:Response ", '<samlp:Response Version="2.0" '),
    ],
    [
      "an identifier twice",
      (xml: string) =>
        xml
          .replace("<samlp:Status>", '<samlp:Status ID="_response">')
          .replace(/ID="_response\d+"/, 'ID="_response"'),
    ],
    [
      "an identifier in another case",
      (xml: string) =>
        xml.replace(
          "<samlp:Status>",
          `<samlp:Status id="${/<saml:Assertion[^>]* ID="([^"]+)"/.exec(xml)?.[1]}">`,
        ),
    ],
    ["an undeclared prefix", (xml: string) => xml.replace("<samlp:Status>", "<samlp:Status><y:a/>")],
    ["tags that do not match", (xml: string) => xml.replace("</samlp:Status>", "")],
    ["an attribute without quotes", (xml: string) => xml.replace('Version="2.0"', "Version=2.0")],
    [
      "nesting that has no end",
      (xml: string) =>
        xml.replace(
          "<samlp:Status>",
          `<samlp:Status>${"<samlp:a>".repeat(5000)}${"</samlp:a>".repeat(5000)}`,
        ),
    ],
  ])("is refused for %s", async (_, change) => {
    const xml = await idp.respond();
    const changed = change(xml);
    expect(changed).not.toBe(xml);
    expect(problem(read(changed))).not.toBe("ok");
  });

  it("is refused unread when it is too large", async () => {
    const xml = await idp.respond({ nameId: "a".repeat(300_000) });
    expect(problem(read(xml))).toBe("xml_too_large");
    const tags = (await idp.respond()).replace(
      "<samlp:Status>",
      `<samlp:Status>${"<samlp:a/>".repeat(20_000)}`,
    );
    const before = performance.now();
    expect(problem(read(tags))).toBe("xml_too_large");
    expect(performance.now() - before).toBeLessThan(1000);
  });

  it.each(["", "not base64!", "AAAA=AAA", "////", encode(""), encode("<a/>"), encode("text")])(
    "is refused: %j",
    (text) => {
      expect(readSamlResponse(text, provider, GATEWAY, Date.now()).ok).toBe(false);
    },
  );

  it("is refused in another encoding than UTF-8", async () => {
    const bytes = Buffer.from(await idp.respond(), "utf16le").toString("base64");
    expect(problem(readSamlResponse(bytes, provider, GATEWAY, Date.now()))).toBe("xml_not_allowed");
  });
});

describe("an assertion", () => {
  const ago = (ms: number): string => new Date(Date.now() - ms).toISOString();
  const ahead = (ms: number): string => new Date(Date.now() + ms).toISOString();

  it.each<readonly [string, Content, string]>([
    ["for another audience", { audience: "https://other.example" }, "audience_wrong"],
    ["for no audience", { conditions: "<saml:Conditions/>" }, "audience_wrong"],
    ["without conditions", { conditions: "" }, "audience_wrong"],
    [
      "with an unknown condition",
      {
        conditions: `<saml:Conditions><saml:AudienceRestriction><saml:Audience>${SP}</saml:Audience></saml:AudienceRestriction><saml:Condition/></saml:Conditions>`,
      },
      "condition_unknown",
    ],
    [
      "restricted to us and to nobody of us",
      {
        conditions: `<saml:Conditions><saml:AudienceRestriction><saml:Audience>${SP}</saml:Audience></saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>x</saml:Audience></saml:AudienceRestriction></saml:Conditions>`,
      },
      "audience_wrong",
    ],
    ["of another issuer", { issuer: "https://other.example" }, "issuer_wrong"],
    ["for another recipient", { recipient: `${ACS}/x` }, "recipient_wrong"],
    ["for no recipient", { recipient: "" }, "recipient_wrong"],
    ["for another destination", { destination: "https://other.example/acs" }, "destination_wrong"],
    ["for no destination", { destination: "" }, "destination_wrong"],
    ["in answer to nothing", { inResponseTo: "" }, "request_wrong"],
    ["of a failed sign-in", { status: "urn:oasis:names:tc:SAML:2.0:status:AuthnFailed" }, "sign_in_failed"],
    [
      "for a holder of a key",
      { method: "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key" },
      "confirmation_wrong",
    ],
    [
      "without a confirmation",
      { subject: "<saml:Subject><saml:NameID>ada</saml:NameID></saml:Subject>" },
      "confirmation_wrong",
    ],
    ["confirmed for ever", { confirmedUntil: "" }, "confirmation_wrong"],
    ["confirmed until some time ago", { confirmedUntil: ago(61_000) }, "expired"],
    ["good until some time ago", { notOnOrAfter: ago(61_000) }, "expired"],
    ["good from some time on", { notBefore: ahead(300_000) }, "not_yet_valid"],
    ["made in the future", { issueInstant: ahead(300_000) }, "not_yet_valid"],
    ["made at no time", { issueInstant: "yesterday" }, "assertion_malformed"],
    ["made in local time", { issueInstant: "2026-11-22T10:00:00+01:00" }, "assertion_malformed"],
    ["that nobody signed in for", { statement: "" }, "statement_missing"],
    [
      "of a session that has ended",
      { statement: `<saml:AuthnStatement SessionNotOnOrAfter="${ago(1000)}"/>` },
      "expired",
    ],
    [
      "about a name of the moment",
      { format: "urn:oasis:names:tc:SAML:2.0:nameid-format:transient" },
      "subject_transient",
    ],
    ["about nobody", { nameId: "" }, "subject_unusable"],
    ["about a name with a hidden character", { nameId: "ada\u{200b}@shop.example" }, "subject_unusable"],
    ["about a name with an element in it", { nameId: "ada<saml:x/>@shop.example" }, "subject_malformed"],
    [
      "with groups that hold elements",
      { attributes: attribute("groups", "a<saml:x>admins</saml:x>") },
      "assertion_malformed",
    ],
    [
      "that says its groups twice",
      { attributes: attribute("groups", "a") + attribute("groups", "admins") },
      "attribute_ambiguous",
    ],
    [
      "with too many groups",
      { attributes: attribute("groups", ...Array.from({ length: 1001 }, (_, at) => `g${at}`)) },
      "groups_over_limit",
    ],
  ])("%s is refused", async (_, content, expected) => {
    expect(problem(await respond(content))).toBe(expected);
  });

  it("is forgiven a clock that is a minute off, and no more", async () => {
    const early = ahead(59_000);
    const late = ago(59_000);
    expect(problem(await respond({ notBefore: early }))).toBe("ok");
    expect(problem(await respond({ notOnOrAfter: late, confirmedUntil: late }))).toBe("ok");
  });

  it("whose envelope names another request than it does itself is refused", async () => {
    const xml = await idp.respond({ inResponseTo: "req_1" });
    expect(problem(read(xml.replace('InResponseTo="req_1"', 'InResponseTo="req_2"')))).toBe("request_wrong");
  });

  it("that is encrypted is refused", async () => {
    const xml = await idp.respond();
    const encrypted = xml.replace(assertionOf(xml), "<saml:EncryptedAssertion/>");
    expect(problem(read(encrypted))).toBe("assertion_encrypted");
  });
});

describe("an assertion for the token endpoint", () => {
  const direct: Content = { recipient: `${GATEWAY}/oauth/token`, inResponseTo: "" };
  const url = (xml: string): string => Buffer.from(xml).toString("base64url");
  const give = (encoded: string) => readSamlAssertion(encoded, [provider], GATEWAY, Date.now());

  it("is taken alone, in base64url", async () => {
    const assertion = assertionOf(await idp.respond(direct));
    const result = give(url(assertion));
    expect(result.ok && result.value.principal.subject).toBe("ada@shop.example");
    expect(result.ok && result.value.request).toBeUndefined();
  });

  it.each<readonly [string, Content]>([
    ["made for the web", {}],
    ["in answer to a login", { ...direct, inResponseTo: "req_1" }],
    ["for another audience", { ...direct, audience: `${GATEWAY}/saml/other` }],
    ["of an unknown issuer", { ...direct, issuer: "https://other.example" }],
  ])("is refused %s", async (_, content) => {
    expect(give(url(assertionOf(await idp.respond(content)))).ok).toBe(false);
  });

  it("is refused within a response", async () => {
    expect(give(url(await idp.respond(direct))).ok).toBe(false);
  });
});
