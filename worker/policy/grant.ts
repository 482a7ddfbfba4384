/**
 * The authority to open one resource in one session (DESIGN section 9, rule 7). Whatever opens an upstream
 * takes a Grant and nothing else, so the resource that is opened is always the one that was checked.
 * `mintGrant` is the only maker; `decodeGrant` restores one that the Worker sent to an object.
 */
import { fromUtf8, utf8 } from "../../wire/bytes.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Refusal, refusal } from "../../wire/refusals.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { type TaskStep, coversResource, taskEnded } from "./task.ts";
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
  /** Who acts for the principal (RFC 8693 section 4.1), the one that acts now first; undefined for nobody. */
  readonly actors?: readonly Principal[];
  /** Identifier of the task that the token is for. */
  readonly task?: string;
  /** That task's whole chain, the root first. The Control object adds it when it admits the token. */
  readonly tasks?: readonly TaskStep[];
  /** Thumbprint of the key that whoever uses the token has to prove (RFC 9449 section 6.1). */
  readonly proofKey?: string;
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
  readonly issuedAt: number;
  /** Who acts for the principal, the one that acts now first. */
  readonly actors: readonly Principal[];
  /** The tasks that it is under, the root first. */
  readonly tasks: readonly TaskStep[];
  readonly proofKey?: string;
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
  const { tasks = [], actors = [] } = token;
  // A token for a task is worth nothing without what the task allows.
  if (token.task !== undefined && tasks.at(-1)?.id !== token.task) {
    return err(refusal("token_invalid", "your session token is for a task that is not known"));
  }
  const over = tasks.find(({ terms }) => terms.deadline <= options.now);
  if (over !== undefined) return err(taskEnded(over, "its deadline has passed"));
  if (!tasks.every((step) => coversResource(step, resource.name))) {
    return err(refusal("task_not_permitted", `your task does not cover ${resource.name}`));
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
    expiresAt: Math.min(token.expiresAt, ...tasks.map(({ terms }) => terms.deadline)),
    noWait: options.noWait,
    ...(reason === undefined || reason === "" ? {} : { reason }),
    tokenId: token.tokenId,
    issuedAt: token.issuedAt,
    actors,
    tasks,
    ...(token.proofKey === undefined ? {} : { proofKey: token.proofKey }),
  } as Grant);
}

/**
 * The same session under a renewed token: same principal, actors, task, proof key and resource, later end.
 * Refuses a token of anybody else.
 */
export function renewGrant(grant: Grant, token: VerifiedToken, now: number): Result<Grant, Refusal> {
  if (!sameParties([token.principal, ...(token.actors ?? [])], [grant.principal, ...grant.actors])) {
    return err(refusal("token_invalid", "the renewed token belongs to somebody else"));
  }
  if (token.task !== grant.tasks.at(-1)?.id) {
    return err(refusal("token_invalid", "the renewed token is not for the same task"));
  }
  if (token.proofKey !== grant.proofKey) {
    return err(refusal("token_invalid", "the renewed token is bound to another key"));
  }
  return mintGrant(token, { name: grant.resource }, { ...grant, now });
}

/** The token that a grant was minted from, as far as a grant tells. */
export function tokenOf(grant: Grant): VerifiedToken {
  const { principal, actors, tasks, tokenId, issuedAt, expiresAt, proofKey } = grant;
  const task = tasks.at(-1)?.id;
  return {
    principal,
    actors,
    tasks,
    ...(task === undefined ? {} : { task }),
    ...(proofKey === undefined ? {} : { proofKey }),
    resources: [grant.resource],
    tokenId,
    issuedAt,
    expiresAt,
  };
}

/** The grant with somebody in it who is in exactly these groups. */
export function withGroups(
  grant: Grant,
  whom: Pick<Principal, "issuer" | "subject">,
  groups: readonly string[],
): Grant {
  const change = (party: Principal): Principal =>
    party.issuer === whom.issuer && party.subject === whom.subject ? { ...party, groups } : party;
  return { ...grant, principal: change(grant.principal), actors: grant.actors.map(change) };
}

/** The grant without groups that somebody in it has left. */
export function withoutGroups(
  grant: Grant,
  whom: Pick<Principal, "issuer" | "subject">,
  left: readonly string[],
): Grant {
  const change = (party: Principal): Principal =>
    party.issuer === whom.issuer && party.subject === whom.subject
      ? { ...party, groups: party.groups.filter((group) => !left.includes(group)) }
      : party;
  return { ...grant, principal: change(grant.principal), actors: grant.actors.map(change) };
}

function sameParties(a: readonly Principal[], b: readonly Principal[]): boolean {
  return (
    a.length === b.length &&
    a.every(({ type, issuer, subject }, at) => {
      const other = b[at];
      return type === other?.type && issuer === other.issuer && subject === other.subject;
    })
  );
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
    typeof grant.tokenId === "string" &&
    typeof grant.issuedAt === "number" &&
    Array.isArray(grant.actors) &&
    grant.actors.every(isPrincipal) &&
    Array.isArray(grant.tasks) &&
    (grant.proofKey === undefined || typeof grant.proofKey === "string")
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
