/**
 * The signature of an assertion (XML Signature 1.1, SAML core section 5.4), in the one form that we take:
 *
 *   Assertion
 *    └ Signature            the assertion's own child, and the only one in it
 *       ├ SignedInfo        exclusive canonicalisation, RSA with SHA-256 or SHA-512
 *       │  └ Reference      one, to this very assertion; enveloped-signature, then exclusive canonicalisation
 *       ├ SignatureValue
 *       └ KeyInfo           ignored: the keys are those of the configuration
 *
 * What is returned is not the assertion of the message but the bytes that were signed, parsed anew. Whatever a
 * message was wrapped in or holds besides, nothing that was not signed can be read (XML signature wrapping).
 */
import { X509Certificate } from "node:crypto";
import { SignedXml } from "xml-crypto";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import {
  type Element,
  type Xml,
  attributeOf,
  attributesOf,
  childrenNamed,
  childrenOf,
  everywhere,
  isNamed,
  onlyChild,
  parseXml,
} from "./xml.ts";

export const ASSERTION = "urn:oasis:names:tc:SAML:2.0:assertion";
const SIGNATURE = "http://www.w3.org/2000/09/xmldsig#";
const EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

const SIGNATURE_METHODS = [
  "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
  "http://www.w3.org/2001/04/xmldsig-more#rsa-sha512",
] as const;
const DIGEST_METHODS = [
  "http://www.w3.org/2001/04/xmlenc#sha256",
  "http://www.w3.org/2001/04/xmlenc#sha512",
] as const;

export type SignatureProblem =
  | "assertion_count"
  | "assertion_encrypted"
  | "assertion_misplaced"
  | "signature_missing"
  | "signature_misplaced"
  | "signature_form"
  | "signature_algorithm"
  | "signature_reference"
  | "signature_wrong";

/** The signed assertion of a message whose root is a Response or the assertion itself. */
export function signedAssertion(
  message: Xml,
  certificates: readonly string[],
): Result<Element, SignatureProblem> {
  const { root } = message;
  if (everywhere(root, "EncryptedAssertion").length > 0) return err("assertion_encrypted");
  const [assertion, ...others] = everywhere(root, "Assertion");
  if (assertion === undefined || others.length > 0) return err("assertion_count");
  if (assertion.namespaceURI !== ASSERTION || (assertion !== root && assertion.parentNode !== root)) {
    return err("assertion_misplaced");
  }
  const signature = onlyChild(assertion, SIGNATURE, "Signature");
  if (signature === undefined) return err("signature_missing");
  // The response may be signed as well, which proves nothing that the assertion's signature does not.
  const ofResponse = root === assertion ? undefined : onlyChild(root, SIGNATURE, "Signature");
  if (everywhere(root, "Signature").some((one) => one !== signature && one !== ofResponse)) {
    return err("signature_misplaced");
  }
  const id = attributeOf(assertion, "ID") ?? "";
  const form = checkForm(signature, id);
  if (!form.ok) return form;
  const signed = verify(message.text, signature, certificates);
  if (signed === undefined) return err("signature_wrong");
  const parsed = parseXml(signed);
  if (!parsed.ok) return err("signature_wrong");
  const isAssertion =
    isNamed(parsed.value.root, ASSERTION, "Assertion") && attributeOf(parsed.value.root, "ID") === id;
  const nested = everywhere(parsed.value.root, "Signature").length > 0;
  return isAssertion && !nested ? ok(parsed.value.root) : err("signature_reference");
}

/** Everything in the signature that steers its verification is what we expect, and nothing else is there. */
function checkForm(signature: Element, id: string): Result<void, SignatureProblem> {
  const info = onlyChild(signature, SIGNATURE, "SignedInfo");
  const value = onlyChild(signature, SIGNATURE, "SignatureValue");
  const keyInfo = childrenNamed(signature, SIGNATURE, "KeyInfo");
  if (info === undefined || value === undefined) return err("signature_form");
  if (keyInfo.length > 1 || childrenOf(signature).length !== 2 + keyInfo.length) return err("signature_form");
  if (everywhere(signature, "SignedInfo").length > 1) return err("signature_form");
  const [canonicalization, method, reference, ...more] = childrenOf(info);
  if (canonicalization === undefined || method === undefined || reference === undefined || more.length > 0) {
    return err("signature_form");
  }
  if (!isAlgorithm(canonicalization, "CanonicalizationMethod", [EXCLUSIVE]))
    return err("signature_algorithm");
  if (!isAlgorithm(method, "SignatureMethod", SIGNATURE_METHODS)) return err("signature_algorithm");
  if (!isNamed(reference, SIGNATURE, "Reference")) return err("signature_form");
  if (!/^[A-Za-z_][A-Za-z0-9_.-]{0,255}$/.test(id)) return err("signature_reference");
  const names = attributesOf(reference).map(({ name }) => name);
  if (attributeOf(reference, "URI") !== `#${id}` || names.join() !== "URI") return err("signature_reference");
  return checkReference(reference);
}

function checkReference(reference: Element): Result<void, SignatureProblem> {
  const [transforms, digest, value, ...more] = childrenOf(reference);
  if (transforms === undefined || digest === undefined || value === undefined || more.length > 0) {
    return err("signature_form");
  }
  if (!isNamed(transforms, SIGNATURE, "Transforms") || !isNamed(value, SIGNATURE, "DigestValue")) {
    return err("signature_form");
  }
  const [enveloped, exclusive, ...others] = childrenOf(transforms);
  if (enveloped === undefined || exclusive === undefined || others.length > 0) return err("signature_form");
  const allowed =
    isAlgorithm(enveloped, "Transform", [ENVELOPED]) &&
    childrenOf(enveloped).length === 0 &&
    isAlgorithm(exclusive, "Transform", [EXCLUSIVE]) &&
    isAlgorithm(digest, "DigestMethod", DIGEST_METHODS);
  return allowed ? ok(undefined) : err("signature_algorithm");
}

/** An element that names an algorithm of these; only canonicalisation has a parameter, its prefixes. */
function isAlgorithm(element: Element, name: string, algorithms: readonly string[]): boolean {
  const algorithm = attributeOf(element, "Algorithm") ?? "";
  const parameters = childrenOf(element);
  const prefixes =
    parameters.length === 1 &&
    algorithm === EXCLUSIVE &&
    parameters.every((parameter) => isNamed(parameter, EXCLUSIVE, "InclusiveNamespaces"));
  return (
    isNamed(element, SIGNATURE, name) &&
    algorithms.includes(algorithm) &&
    (parameters.length === 0 || prefixes)
  );
}

/** The canonical bytes of the one reference under the first key that fits; undefined when none does. */
function verify(text: string, signature: Element, certificates: readonly string[]): string | undefined {
  for (const certificate of certificates) {
    const key = publicKeyOf(certificate);
    if (key === undefined) continue;
    try {
      const signed = new SignedXml({ publicCert: key, getCertFromKeyInfo: () => null });
      // The library knows more algorithms than may be used here: SHA-1, HMAC, inclusive canonicalisation.
      signed.SignatureAlgorithms = only(signed.SignatureAlgorithms, SIGNATURE_METHODS);
      signed.HashAlgorithms = only(signed.HashAlgorithms, DIGEST_METHODS);
      signed.CanonicalizationAlgorithms = only(signed.CanonicalizationAlgorithms, [EXCLUSIVE, ENVELOPED]);
      signed.loadSignature(signature);
      if (!signed.checkSignature(text)) continue;
      const [reference, ...others] = signed.getSignedReferences();
      if (reference !== undefined && others.length === 0) return reference;
    } catch {
      // The library throws for a signature that is wrong or that it does not understand.
    }
  }
  return undefined;
}

function only<T extends object>(known: T, names: readonly string[]): T {
  return Object.fromEntries(Object.entries(known).filter(([name]) => names.includes(name))) as T;
}

/** The RSA key of a certificate, PEM; undefined for what may not sign here. */
export function publicKeyOf(certificate: string): string | undefined {
  try {
    const { publicKey } = new X509Certificate(certificate);
    const bits = publicKey.asymmetricKeyDetails?.modulusLength ?? 0;
    if (publicKey.asymmetricKeyType !== "rsa" || bits < LIMITS.saml.keyBits) return undefined;
    return publicKey.export({ type: "spki", format: "pem" }).toString();
  } catch {
    return undefined;
  }
}
