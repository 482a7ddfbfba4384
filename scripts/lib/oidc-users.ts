/** Who exists at the demo's and the tests' identity provider. */
export type OidcUser = {
  /** The `sub` claim. */
  readonly subject: string;
  readonly name: string;
  readonly email?: string;
  readonly groups: readonly string[];
};

export const OIDC_USERS = {
  engineer: {
    subject: "engineer",
    name: "Erin Engineer",
    email: "engineer@shop.example",
    groups: ["engineers"],
  },
  "reviewer-a": {
    subject: "reviewer-a",
    name: "Avery Reviewer",
    email: "reviewer-a@shop.example",
    groups: ["dba"],
  },
  "reviewer-b": {
    subject: "reviewer-b",
    name: "Blake Reviewer",
    email: "reviewer-b@shop.example",
    groups: ["dba"],
  },
  agent: { subject: "agent", name: "Support agent", groups: ["agents"] },
} as const satisfies Record<string, OidcUser>;

export type OidcUserName = keyof typeof OIDC_USERS;

export const OIDC_USER_NAMES: readonly OidcUserName[] = ["engineer", "reviewer-a", "reviewer-b", "agent"];

/** The public client of `sally login`; also the audience of the ID tokens. */
export const OIDC_CLIENT_ID = "sally-cli";

/** The public client of the web console. */
export const OIDC_CONSOLE_CLIENT_ID = "sally-console";

/** Claims of an ID token beyond the registered ones. */
export function claimsOf(user: OidcUser): Record<string, unknown> {
  return {
    name: user.name,
    groups: user.groups,
    ...(user.email === undefined ? {} : { email: user.email, email_verified: true }),
  };
}
