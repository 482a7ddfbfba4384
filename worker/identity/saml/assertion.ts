/**
 * What a signed assertion says, checked against what it has to say here (SAML core section 2, profiles section
 * 4.1.4, RFC 7522 section 3). Only ever given the bytes that were signed (signature.ts). No I/O, no clock.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Principal } from "../../policy/types.ts";
import { type ClaimProblem, toPrincipal } from "../claims.ts";
import type { SamlProvider } from "./provider.ts";
import { ASSERTION } from "./signature.ts";
import { type Element, attributeOf, childrenNamed, childrenOf, isNamed, onlyChild, textOf } from "./xml.ts";

export type AssertionProblem =
  | "assertion_malformed"
  | "issuer_wrong"
  | "subject_malformed"
  | "subject_transient"
  | "confirmation_wrong"
  | "recipient_wrong"
  | "request_wrong"
  | "audience_wrong"
  | "condition_unknown"
  | "attribute_ambiguous"
  | "statement_missing"
  | "expired"
  | "not_yet_valid"
  | ClaimProblem;

/** What the receiver demands. */
export type Expected = {
  readonly provider: SamlProvider;
  /** The gateway's name towards this provider. */
  readonly audience: string;
  /** The address that the assertion has to be for. */
  readonly recipient: string;
  /** `login`: the answer to a login of ours; `direct`: given to the token endpoint, in answer to nothing. */
  readonly use: "login" | "direct";
  /** Milliseconds since the epoch. */
  readonly now: number;
};

/** A checked assertion. Times in milliseconds since the epoch. */
export type SamlIdentity = {
  readonly principal: Principal;
  readonly assertion: string;
  /** The request that it answers; undefined for a direct one. */
  readonly request: string | undefined;
  readonly issuedAt: number;
  /** Nobody takes the assertion from then on, so until then it is remembered. */
  readonly replayUntil: number;
  /** When what is given for it has to end. */
  readonly endsAt: number;
};

const BEARER = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
const TRANSIENT = "urn:oasis:names:tc:SAML:2.0:nameid-format:transient";
const ENTITY = "urn:oasis:names:tc:SAML:2.0:nameid-format:entity";
const CONDITIONS = ["AudienceRestriction", "OneTimeUse", "ProxyRestriction"] as const;

export function readAssertion(
  assertion: Element,
  expected: Expected,
): Result<SamlIdentity, AssertionProblem> {
  const { provider, now } = expected;
  const issuedAt = readTime(attributeOf(assertion, "IssueInstant"));
  const id = attributeOf(assertion, "ID");
  if (id === undefined || issuedAt === undefined || attributeOf(assertion, "Version") !== "2.0") {
    return err("assertion_malformed");
  }
  if (issuedAt > now + LIMITS.time.clockSkew) return err("not_yet_valid");
  if (!isIssuer(onlyChild(assertion, ASSERTION, "Issuer"), provider)) return err("issuer_wrong");
  const confirmed = readConfirmation(assertion, expected);
  if (!confirmed.ok) return confirmed;
  const conditions = readConditions(assertion, expected);
  if (!conditions.ok) return conditions;
  const session = readSessionEnd(assertion, expected);
  if (!session.ok) return session;
  const principal = readPrincipal(assertion, expected);
  if (!principal.ok) return principal;
  return ok({
    principal: principal.value,
    assertion: id,
    request: confirmed.value.request,
    issuedAt,
    replayUntil: confirmed.value.endsAt + LIMITS.time.clockSkew,
    endsAt: Math.min(session.value, now + provider.session),
  });
}

export function isIssuer(issuer: Element | undefined, provider: SamlProvider): boolean {
  if (issuer === undefined || textOf(issuer) !== provider.entityId) return false;
  const format = attributeOf(issuer, "Format");
  return format === undefined || format === ENTITY;
}

type Confirmation = { readonly request: string | undefined; readonly endsAt: number };

/** Profiles section 4.1.4.2: for the bearer, at this address, in answer to that request, until then. */
function readConfirmation(assertion: Element, expected: Expected): Result<Confirmation, AssertionProblem> {
  const subject = onlyChild(assertion, ASSERTION, "Subject");
  const confirmation = subject && onlyChild(subject, ASSERTION, "SubjectConfirmation");
  if (confirmation === undefined || attributeOf(confirmation, "Method") !== BEARER) {
    return err("confirmation_wrong");
  }
  const data = onlyChild(confirmation, ASSERTION, "SubjectConfirmationData");
  if (data === undefined || attributeOf(data, "NotBefore") !== undefined) return err("confirmation_wrong");
  if (attributeOf(data, "Recipient") !== expected.recipient) return err("recipient_wrong");
  const endsAt = readTime(attributeOf(data, "NotOnOrAfter"));
  if (endsAt === undefined) return err("confirmation_wrong");
  if (endsAt + LIMITS.time.clockSkew <= expected.now) return err("expired");
  const request = attributeOf(data, "InResponseTo");
  // An answer to a login is for the page that asked for it; one that answers nothing could be anybody's.
  if ((request === undefined) !== (expected.use === "direct")) return err("request_wrong");
  return ok({ request, endsAt });
}

function readConditions(assertion: Element, expected: Expected): Result<void, AssertionProblem> {
  const conditions = onlyChild(assertion, ASSERTION, "Conditions");
  if (conditions === undefined) return err("audience_wrong");
  for (const condition of childrenOf(conditions)) {
    if (!CONDITIONS.some((name) => isNamed(condition, ASSERTION, name))) return err("condition_unknown");
  }
  const window = checkWindow(conditions, expected.now);
  if (!window.ok) return window;
  const restrictions = childrenNamed(conditions, ASSERTION, "AudienceRestriction");
  const forUs = restrictions.every((restriction) =>
    childrenNamed(restriction, ASSERTION, "Audience").some((one) => textOf(one) === expected.audience),
  );
  return restrictions.length > 0 && forUs ? ok(undefined) : err("audience_wrong");
}

function checkWindow(conditions: Element, now: number): Result<void, AssertionProblem> {
  const [from, until] = ["NotBefore", "NotOnOrAfter"].map((name) => attributeOf(conditions, name));
  if (from !== undefined) {
    const time = readTime(from);
    if (time === undefined) return err("assertion_malformed");
    if (time > now + LIMITS.time.clockSkew) return err("not_yet_valid");
  }
  if (until !== undefined) {
    const time = readTime(until);
    if (time === undefined) return err("assertion_malformed");
    if (time + LIMITS.time.clockSkew <= now) return err("expired");
  }
  return ok(undefined);
}

/** When the provider's own session ends; infinity where it does not say. */
function readSessionEnd(assertion: Element, expected: Expected): Result<number, AssertionProblem> {
  const statements = childrenNamed(assertion, ASSERTION, "AuthnStatement");
  // An assertion of attributes alone does not say that anybody has signed in.
  if (statements.length === 0) return err("statement_missing");
  let end = Number.POSITIVE_INFINITY;
  for (const statement of statements) {
    const text = attributeOf(statement, "SessionNotOnOrAfter");
    const time = text === undefined ? Number.POSITIVE_INFINITY : readTime(text);
    if (time === undefined) return err("assertion_malformed");
    end = Math.min(end, time);
  }
  return end <= expected.now ? err("expired") : ok(end);
}

function readPrincipal(assertion: Element, expected: Expected): Result<Principal, AssertionProblem> {
  const { provider } = expected;
  const subject = readSubject(assertion, expected);
  if (!subject.ok) return subject;
  const name = readAttribute(assertion, provider.nameAttribute);
  if (!name.ok) return name;
  const groups = readAttribute(assertion, provider.groupsAttribute);
  if (!groups.ok) return groups;
  return toPrincipal(
    {
      issuer: provider.entityId,
      audience: [],
      algorithms: [],
      scopes: [],
      principal: "User",
      rules: [],
      require: {},
      nameClaim: "name",
      groupsClaim: "groups",
    },
    { sub: subject.value, name: name.value?.[0], groups: groups.value },
  );
}

function readSubject(assertion: Element, expected: Expected): Result<string, AssertionProblem> {
  const { provider, audience } = expected;
  if (provider.subjectAttribute !== undefined) {
    const values = readAttribute(assertion, provider.subjectAttribute);
    if (!values.ok) return values;
    const [only, ...others] = values.value ?? [];
    return only === undefined || others.length > 0 ? err("subject_malformed") : ok(only);
  }
  const subject = onlyChild(assertion, ASSERTION, "Subject");
  const nameId = subject && onlyChild(subject, ASSERTION, "NameID");
  const text = textOf(nameId);
  if (nameId === undefined || text === undefined) return err("subject_malformed");
  // A name that is new with every login is nobody's name in policies and recordings.
  if (attributeOf(nameId, "Format") === TRANSIENT) return err("subject_transient");
  // A name that counts within somebody else's realm only is another name (SAML core section 2.2.2).
  const [by, within] = ["NameQualifier", "SPNameQualifier"].map((each) => attributeOf(nameId, each));
  const ours = (by ?? provider.entityId) === provider.entityId && (within ?? audience) === audience;
  return ours ? ok(text) : err("subject_malformed");
}

/** The values of an attribute; undefined when the assertion has none of this name. */
function readAttribute(
  assertion: Element,
  wanted: string,
): Result<readonly string[] | undefined, AssertionProblem> {
  const [attribute, ...others] = childrenNamed(assertion, ASSERTION, "AttributeStatement")
    .flatMap((statement) => childrenNamed(statement, ASSERTION, "Attribute"))
    .filter((one) => attributeOf(one, "Name") === wanted);
  if (others.length > 0) return err("attribute_ambiguous");
  if (attribute === undefined) return ok(undefined);
  const values = childrenNamed(attribute, ASSERTION, "AttributeValue").map(textOf);
  return values.every((value) => value !== undefined) ? ok(values) : err("assertion_malformed");
}

/** `xs:dateTime` in UTC, as SAML core section 1.3.3 demands; milliseconds since the epoch. */
export function readTime(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?Z$/.test(text))
    return undefined;
  const time = Date.parse(text);
  return Number.isNaN(time) ? undefined : time;
}
