/**
 * A message to us, from its encoding to the identity in it: a `SAMLResponse` of the HTTP-POST binding (SAML
 * bindings section 3.5), or an assertion given to the token endpoint (RFC 7522, RFC 8693 section 3).
 */
import { fromUtf8 } from "../../../wire/bytes.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err } from "../../../wire/result.ts";
import { type AssertionProblem, type SamlIdentity, isIssuer, readAssertion } from "./assertion.ts";
import { type SamlProvider, serviceProvider } from "./provider.ts";
import { ASSERTION, type SignatureProblem, signedAssertion } from "./signature.ts";
import {
  type Element,
  type Xml,
  type XmlProblem,
  attributeOf,
  childrenNamed,
  isNamed,
  onlyChild,
  parseXml,
  textOf,
} from "./xml.ts";

/** For our own log and tests; whoever sent the message learns only that it was refused. */
export type SamlProblem =
  | "encoding_wrong"
  | "response_malformed"
  | "destination_wrong"
  | "sign_in_failed"
  | XmlProblem
  | SignatureProblem
  | AssertionProblem;

const PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol";
const SUCCESS = "urn:oasis:names:tc:SAML:2.0:status:Success";

/**
 * The identity in a response to a login. The caller still has to find that the request in it is one of its
 * own, and that the assertion was not used before. `now` in milliseconds since the epoch.
 */
export function readSamlResponse(
  encoded: string,
  provider: SamlProvider,
  gateway: string,
  now: number,
): Result<SamlIdentity, SamlProblem> {
  const xml = decode(encoded, /^[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*$/);
  if (!xml.ok) return xml;
  const { root } = xml.value;
  const { acs, entityId } = serviceProvider(gateway, provider.name);
  if (!isNamed(root, PROTOCOL, "Response") || attributeOf(root, "Version") !== "2.0") {
    return err("response_malformed");
  }
  const issuers = childrenNamed(root, ASSERTION, "Issuer");
  if (issuers.length > 1 || !issuers.every((issuer) => isIssuer(issuer, provider)))
    return err("issuer_wrong");
  if (attributeOf(root, "Destination") !== acs) return err("destination_wrong");
  if (!isSuccess(root)) return err("sign_in_failed");
  const identity = verified(xml.value, {
    provider,
    audience: entityId,
    recipient: acs,
    use: "login",
    now,
  });
  if (!identity.ok) return identity;
  // The envelope is not signed, the assertion's own answer to the same question is.
  const request = attributeOf(root, "InResponseTo");
  return request === identity.value.request ? identity : err("request_wrong");
}

/** The identity in an assertion for the token endpoint: base64url, for that address, in answer to nothing. */
export function readSamlAssertion(
  encoded: string,
  providers: readonly SamlProvider[],
  gateway: string,
  now: number,
): Result<SamlIdentity, SamlProblem> {
  const xml = decode(encoded.replaceAll("-", "+").replaceAll("_", "/"), /^[A-Za-z0-9+/]+={0,2}$/);
  if (!xml.ok) return xml;
  const { root } = xml.value;
  if (!isNamed(root, ASSERTION, "Assertion")) return err("assertion_count");
  const claimed = textOf(onlyChild(root, ASSERTION, "Issuer"));
  const provider = providers.find(({ entityId }) => entityId === claimed);
  if (provider === undefined) return err("issuer_wrong");
  return verified(xml.value, {
    provider,
    audience: serviceProvider(gateway, provider.name).entityId,
    recipient: `${gateway}/oauth/token`,
    use: "direct",
    now,
  });
}

function verified(
  xml: Xml,
  expected: Parameters<typeof readAssertion>[1],
): Result<SamlIdentity, SamlProblem> {
  const assertion = signedAssertion(xml, expected.provider.certificates);
  return assertion.ok ? readAssertion(assertion.value, expected) : assertion;
}

function decode(encoded: string, form: RegExp): Result<Xml, SamlProblem> {
  // Four characters of base64 are three bytes, and a character of XML is one at least.
  if (encoded.length > LIMITS.saml.document * 2) return err("xml_too_large");
  if (!form.test(encoded)) return err("encoding_wrong");
  let text: string | undefined;
  try {
    text = fromUtf8(Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)));
  } catch {
    return err("encoding_wrong");
  }
  return text === undefined ? err("encoding_wrong") : parseXml(text);
}

function isSuccess(root: Element): boolean {
  const status = onlyChild(root, PROTOCOL, "Status");
  const code = status && onlyChild(status, PROTOCOL, "StatusCode");
  return code !== undefined && attributeOf(code, "Value") === SUCCESS;
}
