/** From a token's verified claims to a principal. No I/O, no clock. */
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Principal } from "../policy/types.ts";
import type { ClaimPatterns, Issuer } from "./issuer.ts";

export type ClaimProblem =
  | "subject_unusable"
  | "groups_malformed"
  | "groups_over_limit"
  | "requirement_not_met";

export type Claims = Readonly<Record<string, unknown>>;

// Control characters, invisible formatting (also what turns text around), lone surrogates, line separators.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/**
 * Who a token speaks for. Names are compared exactly and never normalised, so a look-alike is somebody
 * else; what cannot be shown faithfully is refused.
 */
export function toPrincipal(issuer: Issuer, claims: Claims): Result<Principal, ClaimProblem> {
  const subject = claims["sub"];
  if (!isName(subject)) return err("subject_unusable");
  if (!matches(claims, issuer.require)) return err("requirement_not_met");
  const groups = readGroups(claims[issuer.groupsClaim]);
  if (!groups.ok) return groups;
  const rule = issuer.rules.find((candidate) => matches(claims, candidate.when));
  const all = [...new Set([...groups.value, ...(rule?.groups ?? [])])];
  return ok({
    type: rule?.principal ?? issuer.principal,
    issuer: issuer.issuer,
    subject,
    name: readName(issuer, claims) ?? subject,
    groups: all,
  });
}

/** A name that can be shown faithfully. */
export function isName(value: unknown): value is string {
  return (
    typeof value === "string" &&
    value !== "" &&
    value.length <= LIMITS.http.identityName &&
    !HIDDEN.test(value)
  );
}

function readName(issuer: Issuer, claims: Claims): string | undefined {
  return [claims[issuer.nameClaim], claims["preferred_username"], claims["name"]].find(isName);
}

/** A list of names, or one name; absent means none. */
function readGroups(value: unknown): Result<readonly string[], ClaimProblem> {
  if (value === undefined || value === null) return ok([]);
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  if (list.length > LIMITS.http.groups) return err("groups_over_limit");
  return list.every(isName) ? ok(list) : err("groups_malformed");
}

/** Every pattern matches its claim; for a claim that is a list, one of its elements. */
function matches(claims: Claims, patterns: ClaimPatterns): boolean {
  return Object.entries(patterns).every(([claim, pattern]) => {
    const value = Object.hasOwn(claims, claim) ? claims[claim] : undefined;
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    return values.some((candidate) => {
      if (typeof candidate === "string") return matchesPattern(candidate, pattern);
      return (
        (typeof candidate === "boolean" || typeof candidate === "number") && String(candidate) === pattern
      );
    });
  });
}

/** `*` stands for any run of characters, also none; everything else for itself. Linear in the text's length. */
export function matchesPattern(text: string, pattern: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return text === pattern;
  const last = rest.pop() ?? "";
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length)
    return false;
  const end = text.length - last.length;
  let at = first.length;
  for (const part of rest) {
    const found = text.indexOf(part, at);
    if (found === -1 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}
