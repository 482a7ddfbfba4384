/**
 * The token endpoint's request (RFC 8693 section 2.1) and its errors (RFC 6749 section 5.2). Pure. An error
 * says which part of the request's form is wrong, and never which check of a token failed.
 */
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type DetailsRequest, parseAuthorizationDetails } from "./authorization-details.ts";
import type { IdentityProblem } from "./identity-token.ts";

export const TOKEN_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";
export const ACCESS_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token";
export const ID_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:id_token";
export const JWT_TYPE = "urn:ietf:params:oauth:token-type:jwt";
export const SAML_TYPE = "urn:ietf:params:oauth:token-type:saml2";
/** What `sally login` through SAML gave: it stands for that login. */
export const LOGIN_TYPE = "urn:ietf:params:oauth:token-type:refresh_token";

/**
 * `access_token` is a session token of ours or a provider's access token in JWT form (RFC 9068); which of
 * them a token is says its own type, so that neither can be given out for the other.
 */
export const TOKEN_TYPES = [ID_TOKEN_TYPE, ACCESS_TOKEN_TYPE, JWT_TYPE, SAML_TYPE, LOGIN_TYPE] as const;

export type TypedToken = { readonly token: string; readonly type: (typeof TOKEN_TYPES)[number] };

export type TokenExchangeRequest = {
  readonly subject: TypedToken;
  /** Who acts for the subject (RFC 8693 section 1.1, delegation). */
  readonly actor: TypedToken | undefined;
  /** Names of resources; null when none was named. */
  readonly resources: readonly string[] | null;
  /** A new task, or another token for one. */
  readonly details: DetailsRequest | undefined;
};

type OAuthErrorCode =
  | "invalid_request"
  | "invalid_grant"
  | "invalid_target"
  | "invalid_scope"
  | "invalid_authorization_details"
  | "unsupported_grant_type"
  | "invalid_dpop_proof"
  | "temporarily_unavailable";

/** Body of the answer, JSON as it is; send it with `status` and `Cache-Control: no-store`. */
export type OAuthError = {
  readonly status: 400 | 429 | 503;
  readonly body: { readonly error: OAuthErrorCode; readonly error_description: string };
};

export function oauthError(
  error: OAuthErrorCode,
  description: string,
  status: OAuthError["status"] = 400,
): OAuthError {
  return { status, body: { error, error_description: description } };
}

// RFC 6749 section 3.2: no parameter more than once; RFC 8693 allows these several times.
const REPEATABLE: ReadonlySet<string> = new Set(["resource", "audience"]);
const RESOURCE_NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/;

/**
 * Reads the form of a token request. Unknown parameters are ignored, as RFC 6749 section 3.2 demands. `now`
 * in milliseconds since the epoch.
 */
export function parseTokenExchange(
  form: URLSearchParams,
  now: number,
): Result<TokenExchangeRequest, OAuthError> {
  const names = [...form.keys()];
  const repeated = names.find((name, at) => !REPEATABLE.has(name) && names.indexOf(name) !== at);
  if (repeated !== undefined)
    return err(oauthError("invalid_request", "a parameter is there more than once"));
  if (form.get("grant_type") === null) return err(oauthError("invalid_request", "grant_type is missing"));
  if (form.get("grant_type") !== TOKEN_EXCHANGE_GRANT) {
    return err(oauthError("unsupported_grant_type", `grant_type has to be ${TOKEN_EXCHANGE_GRANT}`));
  }
  if ((form.get("scope") ?? "") !== "")
    return err(oauthError("invalid_scope", "there are no scopes; use resource"));
  if (form.getAll("audience").some((audience) => audience !== "")) {
    return err(oauthError("invalid_target", "audience is not supported; name resources with resource"));
  }
  const requested = form.get("requested_token_type") ?? "";
  if (requested !== "" && requested !== ACCESS_TOKEN_TYPE && requested !== JWT_TYPE) {
    return err(oauthError("invalid_request", `requested_token_type has to be ${ACCESS_TOKEN_TYPE}`));
  }
  const subject = readToken(form, "subject_token");
  if (!subject.ok) return subject;
  if (subject.value === undefined) return err(oauthError("invalid_request", "subject_token is missing"));
  const actor = readToken(form, "actor_token");
  if (!actor.ok) return actor;
  const resources = form.getAll("resource").filter((name) => name !== "");
  if (resources.length > LIMITS.http.tokenResources) {
    return err(oauthError("invalid_target", `at most ${LIMITS.http.tokenResources} resources may be named`));
  }
  if (!resources.every((name) => RESOURCE_NAME.test(name))) {
    return err(oauthError("invalid_target", "a resource is named by its name in the configuration"));
  }
  const text = form.get("authorization_details") ?? "";
  const details = text === "" ? ok(undefined) : parseAuthorizationDetails(text, now);
  if (!details.ok) return err(detailsRefused(details.error));
  return ok({
    subject: subject.value,
    actor: actor.value,
    details: details.value,
    resources: resources.length === 0 ? null : [...new Set(resources)],
  });
}

/** A token and its type, which only go together (RFC 8693 section 2.1); undefined when neither is there. */
function readToken(
  form: URLSearchParams,
  parameter: "subject_token" | "actor_token",
): Result<TypedToken | undefined, OAuthError> {
  // A token that is read from a file comes with the file's last line break.
  const token = (form.get(parameter) ?? "").trimEnd();
  const type = form.get(`${parameter}_type`) ?? "";
  if (token === "" && type === "") return ok(undefined);
  const known = TOKEN_TYPES.find((each) => each === type);
  if (known === undefined) {
    return err(oauthError("invalid_request", `${parameter}_type has to be one of ${TOKEN_TYPES.join(", ")}`));
  }
  if (token === "" || token.length > LIMITS.http.token) {
    return err(oauthError("invalid_request", `${parameter} is missing or too long`));
  }
  return ok({ token, type: known });
}

/** RFC 9396 section 5. What is wrong with what was asked for is no secret. */
export function detailsRefused(why: string): OAuthError {
  return oauthError("invalid_authorization_details", `authorization_details ${why}`);
}

/**
 * The answer to a token that was refused. RFC 8693 section 2.2.2 asks for `invalid_request` whatever the
 * reason, and one description for all reasons keeps an attacker from learning which check stopped them. Only
 * a provider that cannot be read is told apart, so that clients try again.
 */
export function tokenRefused(problem?: IdentityProblem): OAuthError {
  if (problem === "provider_unreachable" || problem === "provider_malformed") {
    return oauthError(
      "temporarily_unavailable",
      "the identity provider cannot be reached; try again later",
      503,
    );
  }
  return oauthError("invalid_request", "the token is not accepted");
}

/** The answer when a named resource does not exist or is not for this principal: the same for both. */
export function targetRefused(): OAuthError {
  return oauthError("invalid_target", "a named resource is not available");
}
