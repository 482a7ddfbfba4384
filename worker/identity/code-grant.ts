/** The token endpoint's authorization code grant (RFC 6749 section 4.1.3) with PKCE (RFC 7636), for `sally login`. */
import { type Result, err, ok } from "../../wire/result.ts";
import { type OAuthError, oauthError } from "./token-exchange.ts";

export const CODE_GRANT = "authorization_code";

export type CodeGrant = { readonly code: string; readonly redirectUri: string; readonly verifier: string };

const CODE = /^slc_[A-Za-z0-9_-]{43}$/;
const VERIFIER = /^[A-Za-z0-9._~-]{43,128}$/;
const CHALLENGE = /^[A-Za-z0-9_-]{43}$/;
const STATE = /^[A-Za-z0-9_-]{16,128}$/;
/** RFC 8252 section 7.3: an application on the user's own machine, on a port of its own. */
const LOOPBACK = /^http:\/\/(127\.0\.0\.1|\[::1\]):[1-9][0-9]{0,4}\/callback$/;

export function parseCodeGrant(form: URLSearchParams): Result<CodeGrant, OAuthError> {
  const names = [...form.keys()];
  if (new Set(names).size !== names.length) {
    return err(oauthError("invalid_request", "a parameter is there more than once"));
  }
  const [code, redirectUri, verifier] = ["code", "redirect_uri", "code_verifier"].map(
    (name) => form.get(name) ?? "",
  );
  if (code === undefined || redirectUri === undefined || verifier === undefined || !VERIFIER.test(verifier)) {
    return err(oauthError("invalid_request", "code_verifier is missing or malformed (RFC 7636)"));
  }
  return CODE.test(code) ? ok({ code, redirectUri, verifier }) : err(codeRefused());
}

/** The same whatever is wrong with the code: not known, used, expired, or of another client. */
export function codeRefused(): OAuthError {
  return oauthError("invalid_grant", "the code is not valid, or no longer");
}

/** What `sally` asks of a login page. */
export type LoginRequest = {
  readonly redirectUri: string;
  readonly state: string;
  /** SHA-256 of the verifier, base64url (RFC 7636 section 4.2). */
  readonly challenge: string;
};

/** Refuses everything but a loopback address with state and an S256 challenge; says what is wrong. */
export function parseLoginRequest(query: URLSearchParams): Result<LoginRequest, string> {
  const names = [...query.keys()];
  if (new Set(names).size !== names.length) return err("a parameter is there more than once");
  const redirectUri = query.get("redirect_uri") ?? "";
  const state = query.get("state") ?? "";
  const challenge = query.get("code_challenge") ?? "";
  if (!LOOPBACK.test(redirectUri) || !URL.canParse(redirectUri)) {
    return err("redirect_uri has to be http://127.0.0.1:<port>/callback");
  }
  if (!STATE.test(state)) return err("state has to be 16 to 128 random characters of base64url");
  if (query.get("code_challenge_method") !== "S256" || !CHALLENGE.test(challenge)) {
    return err("code_challenge with code_challenge_method=S256 is needed");
  }
  return ok({ redirectUri, state, challenge });
}
