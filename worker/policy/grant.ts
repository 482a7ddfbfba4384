/**
 * The authority to open one resource in one session (DESIGN section 9, rule 7). Whatever opens an upstream
 * takes a Grant and nothing else, so the resource that is opened is always the one that was checked.
 * `mintGrant` is the only maker; `decodeGrant` restores one that the Worker sent to an object.
 */
import { fromUtf8, utf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Principal, Resource } from "./types.ts";

/** What one verified session token says. Times in milliseconds since the epoch. */
export type VerifiedToken = {
  readonly principal: Principal;
  /** Names of the resources that the token is good for; null for all that policy permits. */
  readonly resources: readonly string[] | null;
  /** The token's `jti`. */
  readonly tokenId: string;
  readonly issuedAt: number;
  readonly expiresAt: number;
};

declare const minted: unique symbol;

export type Grant = {
  readonly [minted]: true;
  readonly session: string;
  readonly principal: Principal;
  readonly resource: string;
  /** Milliseconds since the epoch; nothing may run under the grant from then on. */
  readonly expiresAt: number;
  /** A held operation fails at once instead of waiting. */
  readonly noWait: boolean;
  /** Why the requester does this, for reviewers. */
  readonly reason?: string;
  readonly tokenId: string;
};

export type GrantOptions = {
  readonly session: string;
  readonly noWait: boolean;
  readonly reason?: string | undefined;
  /** Milliseconds since the epoch. */
  readonly now: number;
};

/** Header in which the Worker hands a grant to an object. The Worker removes it from what comes from outside. */
export const GRANT_HEADER = "sally-grant";

const CONTROL = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Refuses an expired token, a resource that the token does not name, and an unusable reason. */
export function mintGrant(
  token: VerifiedToken,
  resource: Pick<Resource, "name">,
  options: GrantOptions,
): Result<Grant, Refusal> {
  if (token.expiresAt <= options.now) {
    return err(refusal("token_expired", "your session token has expired", { hint: "run sally login" }));
  }
  if (token.resources !== null && !token.resources.includes(resource.name)) {
    return err(
      refusal("resource_not_in_token", `your token does not name ${resource.name}`, {
        hint: "ask for a token that names this resource",
      }),
    );
  }
  const { reason } = options;
  if (reason !== undefined && (reason.length > LIMITS.http.reason || CONTROL.test(reason))) {
    const message = `a reason may have at most ${LIMITS.http.reason} characters and no control characters`;
    return err(refusal("request_invalid", message));
  }
  // The only place where the brand is put on.
  return ok({
    session: options.session,
    principal: token.principal,
    resource: resource.name,
    expiresAt: token.expiresAt,
    noWait: options.noWait,
    ...(reason === undefined || reason === "" ? {} : { reason }),
    tokenId: token.tokenId,
  } as Grant);
}

/**
 * The same session under a renewed token: same principal and resource, later end. Refuses a token of anybody
 * else.
 */
export function renewGrant(grant: Grant, token: VerifiedToken, now: number): Result<Grant, Refusal> {
  const { principal } = grant;
  const renewed = token.principal;
  if (
    renewed.type !== principal.type ||
    renewed.issuer !== principal.issuer ||
    renewed.subject !== principal.subject
  ) {
    return err(refusal("token_invalid", "the renewed token belongs to somebody else"));
  }
  return mintGrant(token, { name: grant.resource }, { ...grant, now });
}

/** Base64url of the grant's JSON, for a header between the Worker and its objects. */
export function encodeGrant(grant: Grant): string {
  const bytes = utf8(JSON.stringify(grant));
  let binary = "";
  for (const byte of bytes) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/**
 * Restores a grant that `encodeGrant` wrote. It is not signed: only ever read it from a request that the
 * Worker itself made, never from a client's.
 */
export function decodeGrant(header: string | null): Result<Grant, Refusal> {
  const malformed = err(refusal("internal", "the grant between the gateway's parts is malformed"));
  if (header === null || !/^[A-Za-z0-9_-]+$/.test(header) || header.length > LIMITS.http.token)
    return malformed;
  let json: unknown;
  try {
    const binary = atob(header.replaceAll("-", "+").replaceAll("_", "/"));
    json = JSON.parse(fromUtf8(Uint8Array.from(binary, (character) => character.charCodeAt(0))) ?? "");
  } catch {
    return malformed;
  }
  return isGrant(json) ? ok(json) : malformed;
}

function isGrant(value: unknown): value is Grant {
  if (typeof value !== "object" || value === null) return false;
  const grant = value as Partial<Record<keyof Grant, unknown>>;
  return (
    typeof grant.session === "string" &&
    isPrincipal(grant.principal) &&
    typeof grant.resource === "string" &&
    typeof grant.expiresAt === "number" &&
    typeof grant.noWait === "boolean" &&
    (grant.reason === undefined || typeof grant.reason === "string") &&
    typeof grant.tokenId === "string"
  );
}

/** Whether a value from JSON is a whole principal. */
export function isPrincipal(value: unknown): value is Principal {
  if (typeof value !== "object" || value === null) return false;
  const principal = value as Partial<Record<keyof Principal, unknown>>;
  return (
    (principal.type === "User" || principal.type === "Workload") &&
    typeof principal.issuer === "string" &&
    typeof principal.subject === "string" &&
    typeof principal.name === "string" &&
    Array.isArray(principal.groups) &&
    principal.groups.every((group) => typeof group === "string")
  );
}
