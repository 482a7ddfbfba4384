/**
 * Everything about who may still act: tokens, tasks, revocations and the keys of the gateway. The Control
 * object holds one of these; each public method is one of its own. What changes is recorded first.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { DetailsRequest, TaskRequest } from "../../identity/authorization-details.ts";
import { CODE_GRANT, codeRefused, parseCodeGrant } from "../../identity/code-grant.ts";
import { type IdentityRefusal, verifyIdentityToken } from "../../identity/identity-token.ts";
import type { KeySource } from "../../identity/key-source.ts";
import type { Proof } from "../../identity/proof.ts";
import { readSamlAssertion } from "../../identity/saml/response.ts";
import {
  type SessionToken,
  claimsSessionToken,
  generateSigningKey,
  mintSessionToken,
  verifySessionToken,
} from "../../identity/session-token.ts";
import {
  ID_TOKEN_TYPE,
  LOGIN_TYPE,
  type OAuthError,
  SAML_TYPE,
  TOKEN_EXCHANGE_GRANT,
  type TypedToken,
  detailsRefused,
  oauthError,
  parseTokenExchange,
  targetRefused,
  tokenRefused,
} from "../../identity/token-exchange.ts";
import { principalKey, samePrincipal } from "../../policy/approval.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import { type TaskStep, type TaskTerms, narrow, roomBelow } from "../../policy/task.ts";
import type { Principal } from "../../policy/types.ts";
import { identifier } from "../identifiers.ts";
import { Directory } from "./directory.ts";
import type { SigningKeys } from "./keys.ts";
import { FailureCounts, UsedProofs } from "./proofs.ts";
import { Revocations } from "./revocations.ts";
import { SamlLogins } from "./saml.ts";
import { type Task, Tasks } from "./tasks.ts";
import type { Configuration } from "./types.ts";

/** A token request beside its form. */
export type ExchangeContext = {
  /** The proof that came along, verified but for its single use. */
  readonly proof?: Proof;
  /** Network address of the client, where the platform says it. */
  readonly source?: string;
};

export type Issued = SessionToken & {
  readonly proofKey?: string;
  readonly task?: Task;
  readonly login?: IssuedLogin;
};

/** What a code was redeemed for besides: stands for the login until `endsAt`, milliseconds since the epoch. */
export type IssuedLogin = { readonly token: string; readonly principal: Principal; readonly endsAt: number };

/** A subject or an actor, verified. */
type Party = {
  readonly token: Pick<VerifiedToken, "principal" | "actors" | "resources" | "task" | "tasks" | "proofKey">;
  readonly expiresAt: number;
};

export type IdentityHost = {
  readonly sql: SqlStorage;
  readonly keys: SigningKeys;
  readonly keySource: KeySource;
  readonly config: () => Configuration | undefined;
  /** The gateway's own address. */
  readonly gateway: () => string;
  readonly record: (body: { readonly type: string; readonly [field: string]: unknown }) => void;
  /** An identity provider said this of somebody at `at`. */
  readonly seen: (principal: Principal, at: number) => void;
};

const HOUR = 60 * 60_000;

export class Identity {
  readonly tasks: Tasks;
  readonly revocations: Revocations;
  readonly saml: SamlLogins;
  readonly directory: Directory;
  readonly #host: IdentityHost;
  readonly #proofs: UsedProofs;
  readonly #failures = new FailureCounts();

  constructor(host: IdentityHost) {
    this.#host = host;
    this.tasks = new Tasks(host.sql);
    this.revocations = new Revocations(host.sql);
    this.saml = new SamlLogins(host.sql);
    this.directory = new Directory(host.sql);
    this.#proofs = new UsedProofs(host.sql);
  }

  /**
   * Whether a token that is rightly signed still counts, and as what: with the groups that its owner still
   * has and the tasks that it is under. Sessions and the API take no token that has not passed here.
   */
  admit(token: VerifiedToken, proof: Proof | undefined, now: number): Result<VerifiedToken, Refusal> {
    const proven = this.#proven(token, proof, now);
    if (!proven.ok) return proven;
    return this.stillGood(token, now);
  }

  /** `admit` without the proof: for who has proven the key already. */
  stillGood(token: VerifiedToken, now: number): Result<VerifiedToken, Refusal> {
    const tasks = token.task === undefined ? ok([]) : this.tasks.running(token.task, now);
    if (!tasks.ok) return tasks;
    const { actors = [], issuedAt } = token;
    const above = tasks.value.flatMap((step) => [step.principal, ...step.actors]);
    const gone = above.find((party) => this.current(party, issuedAt) === undefined);
    if (gone !== undefined) return err(revoked(gone));
    const current: Principal[] = [];
    for (const party of [token.principal, ...actors]) {
      const standing = this.current(party, issuedAt);
      if (standing === undefined) return err(revoked(party));
      current.push(standing);
    }
    const [principal = token.principal, ...acting] = current;
    return ok({
      ...token,
      principal,
      ...(actors.length === 0 ? {} : { actors: acting }),
      ...(token.task === undefined ? {} : { tasks: tasks.value }),
    });
  }

  /**
   * The principal as it stands now, for a token that was issued then; undefined for whom nothing is issued any
   * more. Where a directory says the groups of an issuer's people, their tokens do not.
   */
  current(principal: Principal, issuedAt: number): Principal | undefined {
    if (this.revocations.refuses(principal, issuedAt)) return undefined;
    const listed = this.directory.current(principal, this.#host.config()?.directories ?? []);
    return listed === undefined ? undefined : this.revocations.current(listed, issuedAt);
  }

  #proven(token: VerifiedToken, proof: Proof | undefined, now: number): Result<void, Refusal> {
    if (token.proofKey === undefined) {
      if (this.#host.config()?.tokens.requireProof !== true) return ok(undefined);
      const hint = "exchange the token with a DPoP proof, as sally does";
      return err(
        refusal("proof_invalid", "this gateway takes only tokens that are bound to a key", { hint }),
      );
    }
    if (proof?.key !== token.proofKey) {
      return err(refusal("proof_invalid", "the token is bound to a key that was not proven"));
    }
    if (this.#proofs.use(proof, now)) return ok(undefined);
    return err(refusal("proof_invalid", "the proof that the token is yours has been used already"));
  }

  /** RFC 8693: a token of a configured issuer, or of ours, for one of ours. `form` is the request's body. */
  async exchange(form: string, context: ExchangeContext, now: number): Promise<Result<Issued, OAuthError>> {
    const wait = this.#failures.wait(context.source, now);
    if (wait > 0) {
      return err(
        oauthError("temporarily_unavailable", `too many refused requests; try again in ${wait} s`, 429),
      );
    }
    const isCode = new URLSearchParams(form).get("grant_type") === CODE_GRANT;
    const issued = await (isCode ? this.#redeem(form, context, now) : this.#exchange(form, context, now));
    if (!issued.ok && issued.error.status === 400) this.#failures.failed(context.source, now);
    return issued;
  }

  /** A login's code for a token that stands for the login, and a first session token. */
  async #redeem(form: string, context: ExchangeContext, now: number): Promise<Result<Issued, OAuthError>> {
    const grant = parseCodeGrant(new URLSearchParams(form));
    if (!grant.ok) return grant;
    const redeemed = this.saml.redeem(grant.value, now);
    if (redeemed === undefined) return err(codeRefused());
    const { token, login } = redeemed;
    const exchange = {
      grant_type: TOKEN_EXCHANGE_GRANT,
      subject_token: token,
      subject_token_type: LOGIN_TYPE,
    };
    const issued = await this.#exchange(new URLSearchParams(exchange).toString(), context, now);
    if (!issued.ok) return issued;
    return ok({ ...issued.value, login: { token, principal: login.principal, endsAt: login.endsAt } });
  }

  async #exchange(form: string, context: ExchangeContext, now: number): Promise<Result<Issued, OAuthError>> {
    const request = parseTokenExchange(new URLSearchParams(form), now);
    if (!request.ok) return request;
    const { proof } = context;
    if (proof === undefined && this.#host.config()?.tokens.requireProof === true) {
      return err(oauthError("invalid_dpop_proof", "this gateway issues only tokens that are bound to a key"));
    }
    if (proof !== undefined && !this.#proofs.use(proof, now)) {
      return err(oauthError("invalid_dpop_proof", "the proof has been used already"));
    }
    const subject = await this.#verify(request.value.subject, proof, now);
    if (!subject.ok) return subject;
    const actor =
      request.value.actor === undefined ? undefined : await this.#verify(request.value.actor, proof, now);
    if (actor !== undefined && !actor.ok) return actor;
    return this.#issue(
      subject.value,
      actor?.value,
      request.value.resources,
      request.value.details,
      proof,
      now,
    );
  }

  /** A task for the owner of an admitted token, or below the task that it is for: what `POST /v1/tasks` does. */
  async startTask(
    token: VerifiedToken,
    details: DetailsRequest,
    actorToken: TypedToken | undefined,
    now: number,
  ): Promise<Result<Issued, OAuthError>> {
    const bound = token.proofKey === undefined ? undefined : { key: token.proofKey, id: "", forgetAt: 0 };
    const actor = actorToken === undefined ? undefined : await this.#verify(actorToken, bound, now);
    if (actor !== undefined && !actor.ok) return actor;
    return this.#issue({ token, expiresAt: token.expiresAt }, actor?.value, null, details, bound, now);
  }

  async #verify(
    { token, type }: TypedToken,
    proof: Proof | undefined,
    now: number,
  ): Promise<Result<Party, OAuthError>> {
    if (type !== ID_TOKEN_TYPE && claimsSessionToken(token)) {
      const keys = this.#host.keys.verification(now);
      const own = await verifySessionToken(token, keys, this.#host.gateway(), now);
      const good = own.ok ? this.stillGood(own.value, now) : own;
      if (!good.ok) return refused(good.error.code);
      // A stolen token that is bound to a key is as useless here as anywhere.
      if (good.value.proofKey !== undefined && good.value.proofKey !== proof?.key)
        return refused("proof_missing");
      return ok({ token: good.value, expiresAt: good.value.expiresAt });
    }
    if (type === LOGIN_TYPE) return this.#loginParty(token, now);
    if (type === SAML_TYPE) return this.#assertionParty(token, now);
    const { keySource } = this.#host;
    const verified = await verifyIdentityToken(token, this.#host.config()?.issuers ?? [], keySource, now);
    if (!verified.ok) return refused(verified.error.problem, verified.error.problem);
    const { principal, issuedAt, expiresAt } = verified.value;
    return this.#party(principal, issuedAt, expiresAt);
  }

  /** What `sally login` through a SAML provider left, as long as that provider is trusted. */
  #loginParty(token: string, now: number): Result<Party, OAuthError> {
    const login = this.saml.login(token, now);
    if (login === undefined) return refused("login_unknown");
    const trusted = this.#host
      .config()
      ?.saml.some(({ name, entityId }) => name === login.provider && entityId === login.principal.issuer);
    if (trusted !== true) return refused("issuer_unknown");
    return this.#party(login.principal, login.issuedAt, login.endsAt);
  }

  /** RFC 7522: an assertion for the token endpoint, once. */
  #assertionParty(token: string, now: number): Result<Party, OAuthError> {
    const { config, gateway } = this.#host;
    const read = readSamlAssertion(token, config()?.saml ?? [], gateway(), now);
    if (!read.ok) return refused(read.error);
    if (!this.saml.useAssertion(read.value, now)) return refused("assertion_replayed");
    return this.#party(read.value.principal, read.value.issuedAt, read.value.endsAt);
  }

  #party(principal: Principal, issuedAt: number, expiresAt: number): Result<Party, OAuthError> {
    const current = this.current(principal, issuedAt);
    if (current === undefined) return refused("principal_revoked");
    this.#host.seen(current, issuedAt);
    return ok({ token: { principal: current, resources: null }, expiresAt });
  }

  /** The one place where tokens are made. */
  async #issue(
    subject: Party,
    actor: Party | undefined,
    asked: readonly string[] | null,
    details: DetailsRequest | undefined,
    proof: Proof | undefined,
    now: number,
  ): Promise<Result<Issued, OAuthError>> {
    const { principal } = subject.token;
    const actors = joinActors(subject.token, actor);
    if (!actors.ok) return actors;
    const known = new Set(this.#host.config()?.resources.map(({ name }) => name));
    const within = [subject.token.resources, actor?.token.resources ?? null];
    const isTarget = (name: string): boolean =>
      known.has(name) && within.every((list) => list === null || list.includes(name));
    if (asked?.some((name) => !isTarget(name)) === true) return err(targetRefused());

    const task = this.#taskFor(subject, actors.value, details, isTarget, now);
    if (!task.ok) return task;
    const covered = task.value === undefined ? null : resourcesOf(task.value.terms);
    if (asked !== null && covered !== null && !asked.every((name) => covered.includes(name))) {
      return err(targetRefused());
    }
    const narrowest = covered ?? subject.token.resources ?? actor?.token.resources ?? null;
    const resources = asked ?? narrowest?.filter(isTarget) ?? null;
    const tokenId = identifier("tok");
    this.#host.record({
      type: "token",
      principal,
      ...(actors.value.length === 0 ? {} : { actors: actors.value }),
      ...(task.value === undefined ? {} : { task: task.value.id }),
      ...(proof === undefined ? {} : { proofKey: proof.key }),
      resources,
      tokenId,
    });
    const token = await mintSessionToken(this.#host.keys.current(now), {
      gateway: this.#host.gateway(),
      principal,
      resources,
      tokenId,
      actors: actors.value,
      task: task.value?.id,
      proofKey: proof?.key,
      subjectExpiresAt: Math.min(
        subject.expiresAt,
        actor?.expiresAt ?? Number.POSITIVE_INFINITY,
        task.value?.terms.deadline ?? Number.POSITIVE_INFINITY,
      ),
      now,
    });
    return ok({
      ...token,
      ...(proof === undefined ? {} : { proofKey: proof.key }),
      ...(task.value === undefined ? {} : { task: task.value }),
    });
  }

  /** The task of the new token: one that is started, one that is named, or the subject's own. */
  #taskFor(
    subject: Party,
    actors: readonly Principal[],
    details: DetailsRequest | undefined,
    isTarget: (name: string) => boolean,
    now: number,
  ): Result<Task | undefined, OAuthError> {
    const { principal, task: own } = subject.token;
    if (details === undefined) return ok(own === undefined ? undefined : this.tasks.get(own));
    if ("task" in details) {
      const chain = this.tasks.running(details.task, now);
      const step = chain.ok ? chain.value.at(-1) : undefined;
      const reachable = chain.ok && (own === undefined || chain.value.some(({ id }) => id === own));
      const same =
        step !== undefined && samePrincipal(step.principal, principal) && sameAll(step.actors, actors);
      if (!reachable || !same || !resourcesOf(step.terms).every(isTarget)) {
        return err(detailsRefused("names a task that is not yours or has ended"));
      }
      return ok(this.tasks.get(details.task));
    }
    return this.#start(subject, actors, details.start, isTarget, now);
  }

  #start(
    subject: Party,
    actors: readonly Principal[],
    asked: TaskRequest,
    isTarget: (name: string) => boolean,
    now: number,
  ): Result<Task, OAuthError> {
    const { principal } = subject.token;
    const { name, parent: named, ...wanted } = asked;
    const found =
      named === undefined ? ok(subject.token.tasks ?? []) : this.#below(subject, actors, named, now);
    if (!found.ok) return found;
    const above = found.value;
    const parent = above.at(-1)?.id;
    if (!roomBelow(above)) return err(detailsRefused(`nests tasks deeper than ${LIMITS.tasks.depth}`));
    if (!resourcesOf(asked).every(isTarget)) return err(targetRefused());
    if (this.tasks.openCount(principal) >= LIMITS.tasks.open) {
      return err(detailsRefused("cannot be met: too many of your tasks have not ended"));
    }
    const outer = above.at(-1);
    const terms: Result<TaskTerms, string> =
      outer === undefined
        ? ok({ ...wanted, deadline: wanted.deadline ?? now + HOUR })
        : narrow(outer.terms, wanted);
    if (!terms.ok) return err(detailsRefused(`are too wide: ${terms.error}`));
    const step = { id: identifier("tsk"), name, terms: terms.value, principal, actors };
    this.#host.record({ type: "task_started", ...(parent === undefined ? {} : { parent }), task: step });
    this.tasks.start(step, parent, now);
    return ok({
      ...step,
      ...(parent === undefined ? {} : { parent }),
      createdAt: now,
      usedOperations: 0,
      usedRows: 0,
    });
  }

  /** The chain of a task that a new one is named to be part of: one that runs for the same principal and actors. */
  #below(
    subject: Party,
    actors: readonly Principal[],
    named: string,
    now: number,
  ): Result<readonly TaskStep[], OAuthError> {
    const { principal, task: own } = subject.token;
    const chain = this.tasks.running(named, now);
    const step = chain.ok ? chain.value.at(-1) : undefined;
    // Whoever acts now may be one more than those who act in the task above.
    const same =
      step !== undefined &&
      samePrincipal(step.principal, principal) &&
      (sameAll(step.actors, actors) || sameAll(step.actors, actors.slice(1)));
    if (!chain.ok || !same || (own !== undefined && !chain.value.some(({ id }) => id === own))) {
      return err(detailsRefused("names a parent that is not yours or has ended"));
    }
    return chain;
  }

  /** Marks a task and all below it as ended and returns them; sessions beneath are the caller's part. */
  endTask(id: string, reason: string, by: Principal | undefined, now: number): Task[] {
    const open = this.tasks.openBelow(id);
    if (open.length === 0) return [];
    this.#host.record({
      type: "task_ended",
      task: id,
      tasks: open.map((task) => task.id),
      reason,
      ...(by === undefined ? {} : { by }),
    });
    for (const task of open) this.tasks.end(task.id, reason, now);
    return open;
  }

  /** A new signing key, which begins to sign when everybody can know it. `by` undefined: by schedule. */
  async rotateKeys(by: Principal | undefined, now: number): Promise<void> {
    const { keys, record } = this.#host;
    const key = await generateSigningKey();
    record({ type: "signing_key", kid: key.kid, ...(by === undefined ? {} : { by }) });
    keys.add(key, now + LIMITS.time.keyPublished, now);
  }

  /** When the newest key is old enough to be followed by another, in milliseconds since the epoch. */
  rotationDue(): number {
    const { keys, config } = this.#host;
    return keys.newestFrom() + (config()?.tokens.rotateKeys ?? Number.POSITIVE_INFINITY);
  }
}

/** Who acts, the one that acts now first. An actor speaks for itself only. */
function joinActors(
  subject: Party["token"],
  actor: Party | undefined,
): Result<readonly Principal[], OAuthError> {
  const before = subject.actors ?? [];
  if (actor === undefined) return ok(before);
  if ((actor.token.actors ?? []).length > 0 || actor.token.task !== undefined)
    return refused("actor_delegated");
  const acting = actor.token.principal;
  // Who acts for itself, or again, adds nothing to the chain.
  const [latest = subject.principal] = before;
  const actors = samePrincipal(acting, latest) ? before : [acting, ...before];
  if (actors.length <= LIMITS.tasks.actors) return ok(actors);
  return err(oauthError("invalid_request", `at most ${LIMITS.tasks.actors} may act one for another`));
}

function resourcesOf({ rights }: Pick<TaskTerms, "rights">): string[] {
  return [...new Set(rights.flatMap((right) => right.resources))];
}

function sameAll(a: readonly Principal[], b: readonly Principal[]): boolean {
  return a.length === b.length && a.every((each, at) => principalKey(each) === principalKey(b[at] ?? each));
}

/** The reason is for our log only; the client learns that the token was refused. */
function refused(reason: string, problem?: IdentityRefusal["problem"]): Result<never, OAuthError> {
  console.warn(`token exchange refused: ${reason}`);
  return err(tokenRefused(problem));
}

export function revoked({ name }: Principal): Refusal {
  return refusal("principal_revoked", `the access of ${name} has been revoked`, {
    hint: "an administrator can lift it: sally revocations lift",
  });
}
