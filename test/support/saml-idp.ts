/**
 * A real SAML identity provider: samlify makes and signs its messages. Tests say what stands in them, so that it
 * can also sign what no honest provider would; and they take its messages apart afterwards, as attackers do.
 */
import { createRequire } from "node:module";
import { inflateRawSync } from "node:zlib";
import { type Certified, selfSigned } from "./certificate.ts";

/** The part of samlify that is used; its own types bring the whole DOM's globals along. */
type Entity = { readonly __entity: true };
type Samlify = {
  setSchemaValidator(validator: { validate(xml: string): Promise<string> }): void;
  ServiceProvider(settings: object): Entity;
  IdentityProvider(settings: object): Entity & {
    createLoginResponse(
      sp: Entity,
      request: object,
      binding: string,
      user: object,
      replace: (template: string) => { id: string; context: string },
    ): Promise<{ context: string }>;
    parseLoginRequest(
      sp: Entity,
      binding: string,
      request: object,
    ): Promise<{ extract: { request: { id: string }; issuer: string } }>;
  };
};
const samlify = createRequire(import.meta.url)("samlify") as Samlify;
samlify.setSchemaValidator({ validate: async () => "not checked" });

const POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";
const REDIRECT = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";
export const SHA256 = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
export const EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/** What stands in a message. Every field is text that goes into the XML as it is. */
export type Content = Partial<{
  id: string;
  assertionId: string;
  issuer: string;
  destination: string;
  recipient: string;
  audience: string;
  /** "" leaves the attribute out, in the response and in the assertion. */
  inResponseTo: string;
  nameId: string;
  format: string;
  issueInstant: string;
  notBefore: string;
  notOnOrAfter: string;
  confirmedUntil: string;
  method: string;
  status: string;
  conditions: string;
  statement: string;
  attributes: string;
  subject: string;
}>;

export type Signing = Partial<{
  algorithm: string;
  transforms: readonly string[];
  /** The response is signed as well. */
  response: boolean;
  assertion: boolean;
}>;

export type SamlIdp = {
  readonly entityId: string;
  readonly signOnUrl: string;
  readonly certificate: string;
  /** A response, signed as asked, as XML. */
  respond(content?: Content, signing?: Signing): Promise<string>;
  /** Identifier of the request in an address that a browser was sent to, read by samlify. */
  readRequest(
    address: string,
  ): Promise<{ readonly id: string; readonly issuer: string; readonly xml: string }>;
};

let counter = 0;

/** `serviceProvider` and `acs` are the gateway's names. */
export function startSamlIdp(
  options: { readonly entityId?: string; readonly serviceProvider: string; readonly acs: string },
  keys: Certified = selfSigned(),
): SamlIdp {
  const entityId = options.entityId ?? "https://idp.example.com/saml";
  const signOnUrl = "https://idp.example.com/sso?tenant=shop";
  const serviceProvider = (signing: Signing): Entity =>
    samlify.ServiceProvider({
      entityID: options.serviceProvider,
      wantAssertionsSigned: signing.assertion !== false,
      wantMessageSigned: signing.response === true,
      transformationAlgorithms: signing.transforms ?? [ENVELOPED, EXCLUSIVE],
      assertionConsumerService: [{ Binding: POST, Location: options.acs }],
    });
  const provider = (signing: Signing) =>
    samlify.IdentityProvider({
      entityID: entityId,
      privateKey: keys.privateKey,
      signingCert: keys.certificate,
      isAssertionEncrypted: false,
      requestSignatureAlgorithm: signing.algorithm ?? SHA256,
      singleSignOnService: [{ Binding: REDIRECT, Location: signOnUrl }],
      singleLogoutService: [{ Binding: REDIRECT, Location: signOnUrl }],
    });
  return {
    entityId,
    signOnUrl,
    certificate: keys.certificate,
    respond: async (content = {}, signing = {}) => {
      const message = write({
        issuer: entityId,
        destination: options.acs,
        recipient: options.acs,
        audience: options.serviceProvider,
        ...content,
      });
      const { context } = await provider(signing).createLoginResponse(
        serviceProvider(signing),
        {},
        "post",
        {},
        () => ({ id: "", context: message }),
      );
      return Buffer.from(context, "base64").toString("utf8");
    },
    readRequest: async (address) => {
      const encoded = new URL(address).searchParams.get("SAMLRequest") ?? "";
      const query = { SAMLRequest: encoded };
      const { extract } = await provider({}).parseLoginRequest(serviceProvider({}), "redirect", { query });
      const xml = inflateRawSync(Buffer.from(encoded, "base64")).toString("utf8");
      return { id: extract.request.id, issuer: extract.issuer, xml };
    },
  };
}

export function attribute(name: string, ...values: string[]): string {
  const all = values.map(
    (value) => `<saml:AttributeValue xsi:type="xs:string">${value}</saml:AttributeValue>`,
  );
  return `<saml:Attribute Name="${name}">${all.join("")}</saml:Attribute>`;
}

function write(content: Content): string {
  const now = Date.now();
  const at = (seconds: number): string => new Date(now + seconds * 1000).toISOString();
  const given = (name: string, value: string | undefined): string =>
    value === undefined || value === "" ? "" : ` ${name}="${value}"`;
  const {
    id = `_response${++counter}`,
    assertionId = `_assertion${counter}-${now}`,
    issuer = "",
    destination,
    recipient,
    audience = "",
    inResponseTo = "req_0",
    nameId = "ada@shop.example",
    format = "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress",
    issueInstant = at(0),
    notBefore = at(-5),
    notOnOrAfter = at(300),
    confirmedUntil = at(300),
    method = "urn:oasis:names:tc:SAML:2.0:cm:bearer",
    status = "urn:oasis:names:tc:SAML:2.0:status:Success",
    statement = `<saml:AuthnStatement AuthnInstant="${at(0)}"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>`,
    attributes = attribute("groups", "engineers") + attribute("email", "ada@shop.example"),
  } = content;
  const {
    subject = `<saml:Subject><saml:NameID Format="${format}">${nameId}</saml:NameID>` +
      `<saml:SubjectConfirmation Method="${method}"><saml:SubjectConfirmationData` +
      `${given("NotOnOrAfter", confirmedUntil)}${given("Recipient", recipient)}${given("InResponseTo", inResponseTo)}/>` +
      `</saml:SubjectConfirmation></saml:Subject>`,
    conditions = `<saml:Conditions${given("NotBefore", notBefore)}${given("NotOnOrAfter", notOnOrAfter)}>` +
      `<saml:AudienceRestriction><saml:Audience>${audience}</saml:Audience></saml:AudienceRestriction></saml:Conditions>`,
  } = content;
  const statements =
    statement + (attributes === "" ? "" : `<saml:AttributeStatement>${attributes}</saml:AttributeStatement>`);
  return (
    `<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion"` +
    ` ID="${id}" Version="2.0" IssueInstant="${issueInstant}"${given("Destination", destination)}${given("InResponseTo", inResponseTo)}>` +
    `<saml:Issuer>${issuer}</saml:Issuer><samlp:Status><samlp:StatusCode Value="${status}"/></samlp:Status>` +
    `<saml:Assertion xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:xs="http://www.w3.org/2001/XMLSchema"` +
    ` xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="${assertionId}" Version="2.0" IssueInstant="${issueInstant}">` +
    `<saml:Issuer>${issuer}</saml:Issuer>${subject}${conditions}${statements}</saml:Assertion></samlp:Response>`
  );
}

/** The assertion of a response, as bytes of it. */
export function assertionOf(response: string): string {
  return /<saml:Assertion[\s>].*<\/saml:Assertion>/s.exec(response)?.[0] ?? "";
}

/** The first signature in a message. */
export function signatureOf(xml: string): string {
  return /<ds:Signature[\s>].*?<\/ds:Signature>/s.exec(xml)?.[0] ?? "";
}
