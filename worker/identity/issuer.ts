/** An identity provider that the configuration trusts, and what its tokens mean here. */

export const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
] as const;

/** Signature algorithms that may be pinned: all with a public key, so none that a verifier could forge. */
export type Algorithm = (typeof ALGORITHMS)[number];

/** Claims and the patterns that they have to match; `*` stands for any characters. */
export type ClaimPatterns = Readonly<Record<string, string>>;

/** The first rule whose `when` matches decides what a token's owner is. */
export type IssuerRule = {
  readonly when: ClaimPatterns;
  readonly principal: "User" | "Workload";
  /** Groups given in addition to those of the groups claim. */
  readonly groups: readonly string[];
};

export type Issuer = {
  /** Exactly as in the token's `iss` and in the discovery document. */
  readonly issuer: string;
  /** Accepted values of `aud`. */
  readonly audience: readonly string[];
  readonly algorithms: readonly Algorithm[];
  /** For `sally login`: a public client that uses PKCE. Without it nobody logs in here interactively. */
  readonly clientId?: string;
  /** For the web console: a client whose redirect address is `<gateway>/console/callback`. */
  readonly consoleClientId?: string;
  /** Name of the gateway's secret with that client's secret; without it the client is public. */
  readonly consoleClientSecret?: string;
  readonly scopes: readonly string[];
  /** What the owner of a token is when no rule matches. */
  readonly principal: "User" | "Workload";
  readonly rules: readonly IssuerRule[];
  /** Patterns that every token has to match, such as the organisation of a CI provider. */
  readonly require: ClaimPatterns;
  readonly nameClaim: string;
  readonly groupsClaim: string;
};
