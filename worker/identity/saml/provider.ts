/** A SAML 2.0 identity provider that the configuration trusts, and the gateway's own names towards it. */

export type SamlProvider = {
  /** In the gateway's addresses: `/saml/<name>/acs`. */
  readonly name: string;
  /** Exactly as in the assertion's `Issuer`. */
  readonly entityId: string;
  /** Where the browser is sent to sign in (HTTP-Redirect binding). */
  readonly signOnUrl: string;
  /** X.509 certificates in PEM whose RSA keys may sign; several while the provider changes its own. */
  readonly certificates: readonly string[];
  /** Attribute that says who it is; undefined for the NameID. */
  readonly subjectAttribute?: string;
  readonly nameAttribute: string;
  readonly groupsAttribute: string;
  /** The longest that a login lasts, in milliseconds; the assertion may say less. */
  readonly session: number;
};

/** Names of the gateway as a service provider; `gateway` is its address without a trailing slash. */
export function serviceProvider(
  gateway: string,
  provider: string,
): { readonly entityId: string; readonly acs: string; readonly metadata: string; readonly login: string } {
  const entityId = `${gateway}/saml/${provider}`;
  return {
    entityId,
    acs: `${entityId}/acs`,
    metadata: `${entityId}/metadata`,
    login: `${entityId}/login`,
  };
}
