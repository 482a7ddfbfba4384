/** Shape of one identity provider in configuration. */
import { z } from "zod";
import { ALGORITHMS, type Issuer } from "../identity/issuer.ts";
import { object, oneOrMore, text } from "./shapes.ts";

const MAX_URL = 512;
const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "[::1]", "localhost"]);

const issuerUrl = text(MAX_URL).superRefine((given, context) => {
  const complain = (message: string): void => context.addIssue({ code: "custom", message });
  const url = URL.parse(given);
  if (url === null) return complain("must be an address such as https://login.example.com");
  // OpenID Connect Core 1.0 section 2: no query, no fragment. `#` also separates issuer and subject in policies.
  if (given.includes("#") || given.includes("?")) return complain("must not hold a query or a fragment");
  if (url.username !== "" || url.password !== "") return complain("must not hold a user or password");
  if (url.protocol === "https:") return undefined;
  if (url.protocol === "http:" && LOOPBACK.has(url.hostname)) return undefined;
  return complain("must start with https:// (http:// only on this machine: 127.0.0.1, [::1], localhost)");
});

const claim = text(128);
const patterns = z.record(claim, text(512));
const principal = z.enum(["User", "Workload"]);

const rule = object({
  when: patterns.refine((given) => Object.keys(given).length > 0, "needs at least one claim"),
  principal,
  groups: z.array(text(256)).default([]),
});

/** Providers that sign a token for anybody, for any audience that they ask for. */
const PUBLIC_ISSUERS: ReadonlySet<string> = new Set([
  "https://token.actions.githubusercontent.com",
  "https://gitlab.com",
  "https://agent.buildkite.com",
  "https://app.terraform.io",
]);

const fields = object({
  issuer: issuerUrl,
  audience: oneOrMore(text(MAX_URL)),
  algorithms: oneOrMore(z.enum(ALGORITHMS)),
  clientId: text(256).optional(),
  consoleClientId: text(256).optional(),
  consoleClientSecret: z
    .string()
    .regex(
      /^CONSOLE_[A-Z0-9_]{1,55}$/,
      "is the name of a secret of the gateway's, which starts with CONSOLE_",
    )
    .optional(),
  scopes: z.array(text(128)).default(["openid", "profile", "email", "groups"]),
  principal: principal.default("User"),
  rules: z.array(rule).default([]),
  require: patterns.default({}),
  nameClaim: claim.default("email"),
  groupsClaim: claim.default("groups"),
});

/** One entry of `issuers`. */
export const issuerShape = fields.superRefine(({ issuer, require }, context) => {
  if (!PUBLIC_ISSUERS.has(issuer) || Object.keys(require).length > 0) return;
  const message = `${issuer} signs tokens for everybody: say with require whose you accept, such as require: { repository_owner: acme }`;
  context.addIssue({ code: "custom", path: ["issuer"], message });
});

export function toIssuer(shape: z.infer<typeof issuerShape>): Issuer {
  const { clientId, consoleClientId, consoleClientSecret, ...rest } = shape;
  return {
    ...rest,
    ...(clientId === undefined ? {} : { clientId }),
    ...(consoleClientId === undefined ? {} : { consoleClientId }),
    ...(consoleClientSecret === undefined ? {} : { consoleClientSecret }),
  };
}
