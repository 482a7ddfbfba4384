/** What the gateway itself says in SAML: the request to sign somebody in, and its metadata. */
import { type SamlProvider, serviceProvider } from "./provider.ts";
import { escapeXml } from "./xml.ts";

const POST = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST";

/** The address that the browser is sent to (SAML bindings section 3.4.4.1). `now` in milliseconds since the epoch. */
export async function signOnAddress(
  provider: SamlProvider,
  gateway: string,
  request: string,
  now: number,
): Promise<string> {
  const { entityId, acs } = serviceProvider(gateway, provider.name);
  const xml =
    `<samlp:AuthnRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ` +
    `xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="${escapeXml(request)}" Version="2.0" ` +
    `IssueInstant="${new Date(now).toISOString()}" Destination="${escapeXml(provider.signOnUrl)}" ` +
    `ProtocolBinding="${POST}" AssertionConsumerServiceURL="${escapeXml(acs)}">` +
    `<saml:Issuer>${escapeXml(entityId)}</saml:Issuer></samlp:AuthnRequest>`;
  const deflated = new Blob([xml]).stream().pipeThrough(new CompressionStream("deflate-raw"));
  const bytes = new Uint8Array(await new Response(deflated).arrayBuffer());
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  const address = new URL(provider.signOnUrl);
  address.searchParams.set("SAMLRequest", btoa(binary));
  return address.href;
}

/** SAML metadata section 2.4.4: what the provider's administrator enters by hand or by this file. */
export function metadataDocument(gateway: string, provider: string): string {
  const { entityId, acs } = serviceProvider(gateway, provider);
  return (
    `<?xml version="1.0" encoding="UTF-8"?>\n` +
    `<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="${escapeXml(entityId)}">` +
    `<md:SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true" ` +
    `protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">` +
    `<md:AssertionConsumerService Binding="${POST}" Location="${escapeXml(acs)}" index="0" isDefault="true"/>` +
    `</md:SPSSODescriptor></md:EntityDescriptor>\n`
  );
}
