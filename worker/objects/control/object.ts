/**
 * The Control object, one per deployment: configuration with its versions, signing keys, approvals,
 * enrolled connectors and the index of sessions. Whatever changes here is first written to its own
 * hash-chained log. It pushes changes to live sessions, which apply them to their next operation.
 */
import { createHmac } from "node:crypto";
import { DurableObject } from "cloudflare:workers";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { parseConfig } from "../../config/parse.ts";
import { describeChanges } from "../../config/changes.ts";
import {
  type Bindings,
  approvalAddress,
  connectorOf,
  readSecret,
  readSettings,
  sessionOf,
} from "../../env.ts";
import { parseConnectorKey } from "../../identity/connector-token.ts";
import { createKeySource } from "../../identity/key-source.ts";
import { SECRET_BYTES, joinTokenHash, newJoinToken, useJoinToken } from "../../identity/secrets.ts";
import type { DetailsRequest } from "../../identity/authorization-details.ts";
import type { LoginRequest } from "../../identity/code-grant.ts";
import type { Proof } from "../../identity/proof.ts";
import type { SamlIdentity } from "../../identity/saml/assertion.ts";
import type { SamlProvider } from "../../identity/saml/provider.ts";
import type { ScimError } from "../../identity/scim/messages.ts";
import type { VerificationKey } from "../../identity/session-token.ts";
import type { OAuthError, TypedToken } from "../../identity/token-exchange.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import type { Approval, Estimate } from "../../policy/approval.ts";
import type { NotificationEvent } from "../../policy/notification.ts";
import { taskEnded } from "../../policy/task.ts";
import type { ConfigError, PolicySource, Target } from "../../policy/cedar/engine.ts";
import { type WhoMay, type WhoMayQuestion, whoMay } from "../../policy/who-may.ts";
import type { AdminVerb, Principal, Resource } from "../../policy/types.ts";
import { policyEngine } from "../engines.ts";
import { identifier, randomBytes } from "../identifiers.ts";
import { sha256 } from "../recording/chain.ts";
import { Meta } from "../meta.ts";
import { Recorder } from "../recording/recorder.ts";
import { ApprovalDesk, type ReviewedApproval, type Verdict } from "./approval-desk.ts";
import { Approvals } from "./approvals.ts";
import {
  ConfigHistory,
  type ConfigVersion,
  type FileChange,
  type Files,
  compareFiles,
} from "./config-history.ts";
import { type ConnectorKey, Connectors } from "./connectors.ts";
import { type Browser, ConsoleSessions } from "./console-sessions.ts";
import { type Permissions, permissionsOf } from "./permissions.ts";
import { LiveStreams, VIEWER_HEADER, type Viewer } from "./live.ts";
import { type OperationReport, Operations } from "./operations.ts";
import { type SearchAnswer, type SearchQuestion, searchSessions } from "./search.ts";
import { type StatisticsQuestion, statistics } from "./statistics.ts";
import { mintIdentityAssertion } from "../../identity/identity-assertion.ts";
import { type SshHostKey, generateSshHostKey, hostKeyLine } from "../../identity/ssh-host-key.ts";
import { type ExchangeContext, Identity, type Issued, revoked } from "./identity.ts";
import { type KeyStatus, SigningKeys } from "./keys.ts";
import type { LoginOutcome } from "./saml.ts";
import { type ScimAnswer, type ScimRequest, ScimService } from "./scim.ts";
import { type DeliveryStatus, Outbox } from "./outbox.ts";
import { People } from "./people.ts";
import type { PrincipalName, Revocation } from "./revocations.ts";
import { SessionIndex, principalLink, taskLink } from "./sessions.ts";
import { SlackDesk } from "./slack-desk.ts";
import { type Budget, type Task, hasPart } from "./tasks.ts";
import type {
  ApplyOutcome,
  ApplyProblem,
  Configuration,
  HoldAnswer,
  HoldRequest,
  SessionCounts,
  SessionRow,
  Snapshot,
  StartedSession,
} from "./types.ts";

/** How often sessions that the index believes alive are asked whether they are; asking wakes them. */
const RECONCILE_MS = 15 * 60_000;
/** "Who may" asks about the people seen last: a decision takes about 65 µs. */
const MAX_PEOPLE_ASKED = 2000;

/** Tag of the live stream's sockets. */
const LIVE = "live";
/** Pending approvals and live sessions that a stream begins with. */
const MOST_SHOWN = 500;
/** Approvals that statistics are made of. */
const MOST_COUNTED = 20_000;

/** Differs in every process: a new one means that sessions may have died with the old one. */
let processMark: string | undefined;

export type ScimResult = Result<ScimAnswer, ScimError>;

export class ControlObject extends DurableObject<Bindings> {
  readonly #meta: Meta;
  readonly #approvals: Approvals;
  readonly #desk: ApprovalDesk;
  readonly #outbox: Outbox;
  readonly #people: People;
  readonly #slack: SlackDesk;
  readonly #browsers: ConsoleSessions;
  readonly #operations: Operations;
  readonly #live: LiveStreams;
  readonly #connectors: Connectors;
  readonly #history: ConfigHistory;
  readonly #sessions: SessionIndex;
  readonly #log: Recorder;
  readonly #keys: SigningKeys;
  readonly #identity: Identity;
  readonly #scim: ScimService;
  #config: Configuration | undefined;
  #sshHostKey!: SshHostKey; // Set by the constructor's blockConcurrencyWhile, before anything else runs.

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    const { sql } = ctx.storage;
    this.#meta = new Meta(sql);
    this.#meta.create();
    sql.exec(`
      CREATE TABLE IF NOT EXISTS config (version INTEGER PRIMARY KEY, at INTEGER NOT NULL, by TEXT NOT NULL, files TEXT NOT NULL);
    `);
    this.#approvals = new Approvals(sql);
    this.#people = new People(sql);
    this.#desk = new ApprovalDesk(this.#approvals, {
      record: (body) => this.#record(body),
      mayDecide: (principal, resource) => this.authorize(principal, resource, "approval:decide"),
      tell: (session, outcome) =>
        sessionOf(this.env, session)
          .approvalOutcome(outcome)
          .catch(() => false),
      changed: (approval, event) => this.#approvalChanged(approval, event),
    });
    this.#outbox = new Outbox(sql, {
      targets: () => this.#config?.notifications ?? [],
      secret: (name) => readSecret(env, name),
      approval: (id, now) => {
        const found = this.#approvals.get(id, now);
        return found.ok ? found.value : undefined;
      },
      link: (approval) => approvalAddress(env, approval),
      record: (body) => this.#record(body),
    });
    this.#slack = new SlackDesk(sql, {
      targets: () => this.#config?.notifications ?? [],
      secret: (name) => readSecret(env, name),
      people: this.#people,
      current: (principal, at) => this.#identity.current(principal, at),
      decide: (principal, id, verdict) => this.decideApproval(principal, id, verdict),
      link: (approval) => approvalAddress(env, approval),
      later: (work) => this.ctx.waitUntil(work),
    });
    this.#connectors = new Connectors(sql);
    this.#history = new ConfigHistory(sql);
    this.#sessions = new SessionIndex(sql);
    this.#log = new Recorder(sql, "control");
    this.#keys = new SigningKeys(sql);
    const keySource = createKeySource((url, init) => fetch(url, init));
    this.#identity = new Identity({
      sql,
      keys: this.#keys,
      keySource,
      config: () => this.#config,
      gateway: () => readSettings(env).publicUrl,
      record: (body) => this.#record(body),
      seen: (principal, at) => this.#people.seen(principal, at),
    });
    this.#scim = new ScimService(this.#identity.directory, (body) => this.#record(body));
    this.#browsers = new ConsoleSessions(sql, {
      issuers: () => this.#config?.issuers ?? [],
      secret: (name) => readSecret(env, name),
      keySource,
      publicUrl: () => readSettings(env).publicUrl,
      stillGood: (token) => this.#identity.stillGood(token, Date.now()),
      seen: (principal, at) => this.#people.seen(principal, at),
      record: (body) => this.#record(body),
    });
    this.#operations = new Operations(sql);
    this.#live = new LiveStreams(sql, {
      sockets: () => ctx.getWebSockets(LIVE),
      admit: (viewer) => this.#admitViewer(viewer),
      pending: (principal) => this.#desk.list(principal, true, MOST_SHOWN, Date.now()),
      live: (principal) => this.sessions(principal, true, MOST_SHOWN),
      approval: (principal, approval) => {
        const now = Date.now();
        return this.#desk.maySee(principal, approval, now)
          ? this.#desk.show(principal, approval, now)
          : undefined;
      },
      maySeeSession: (principal, session) => this.#maySee(principal, session),
      maySeeResource: (principal, resource) => this.authorize(principal, resource, "session:replay").ok,
    });
    void ctx.blockConcurrencyWhile(async () => {
      await this.#keys.prepare(Date.now());
      await this.#loadSshHostKey();
      this.#loadConfig();
      processMark ??= identifier("prc");
      if (this.#meta.get("process") === processMark) return;
      this.#meta.set("process", processMark);
      await this.ctx.storage.setAlarm(Date.now() + 1000);
    });
  }

  // Tokens.

  /** The public halves of the signing keys, newest first. */
  verificationKeys(): VerificationKey[] {
    return this.#keys.verification(Date.now());
  }

  /** A JWT that tells an HTTP resource who is asking. */
  assertIdentity(
    principal: Principal,
    resource: string,
    session: string,
    expiresAt: number,
  ): Promise<string> {
    const now = Date.now();
    const { publicUrl: gateway } = readSettings(this.env);
    return mintIdentityAssertion(this.#keys.current(now), {
      gateway,
      principal,
      resource,
      session,
      now,
      expiresAt,
    });
  }

  /** The public SSH host key, as known_hosts has it after the host. */
  sshHostKeyLine(): string {
    return hostKeyLine(this.#sshHostKey);
  }

  /** Where people may log in: issuers with a client for `sally` or the console, and names of SAML providers. */
  loginIssuers(): {
    issuers: { issuer: string; clientId?: string; scopes: readonly string[]; console?: true }[];
    saml: { name: string; entityId: string }[];
  } {
    const { issuers = [], saml = [] } = this.#config ?? {};
    return {
      issuers: issuers
        .filter(({ clientId, consoleClientId }) => clientId !== undefined || consoleClientId !== undefined)
        .map(({ issuer, clientId, consoleClientId, scopes }) => ({
          issuer,
          ...(clientId === undefined ? {} : { clientId }),
          scopes,
          ...(consoleClientId === undefined ? {} : { console: true as const }),
        })),
      saml: saml.map(({ name, entityId }) => ({ name, entityId })),
    };
  }

  samlProvider(name: string): SamlProvider | undefined {
    return this.#config?.saml.find((provider) => provider.name === name);
  }

  /** Identifier of the request with which a browser is sent to the provider. */
  beginSamlLogin(
    provider: string,
    request: LoginRequest,
    source: string | undefined,
  ): Result<string, Refusal> {
    const id = this.#identity.saml.begin(provider, request, source, Date.now());
    if (id !== undefined) return ok(id);
    return err(refusal("over_limit", "too many logins are under way; try again in some minutes"));
  }

  /** Takes an identity from a verified response; where the browser goes with its code, undefined when refused. */
  finishSamlLogin(provider: string, identity: SamlIdentity): LoginOutcome | undefined {
    const finished = this.#identity.saml.finish(provider, identity, Date.now());
    const { principal, assertion, request } = identity;
    if (!finished.ok) {
      console.warn(`saml response refused: ${finished.error}`);
      return undefined;
    }
    this.#record({ type: "login", provider, principal, assertion, request });
    return finished.value;
  }

  /** Ends what a token of a SAML login stands for; whoever has it may. */
  endLogin(token: string): void {
    if (this.#identity.saml.forget(token)) this.#record({ type: "logout" });
  }

  /** A SCIM request with a token of this SHA-256 (hexadecimal); undefined when no directory knows the token. */
  async scim(tokenHash: string, request: ScimRequest | undefined): Promise<ScimResult | undefined> {
    const settings = this.#config?.directories.find(({ tokens }) => tokens.includes(tokenHash));
    if (settings === undefined) return undefined;
    if (request === undefined) return ok({ status: 204 });
    const handled = this.#scim.handle(settings, request, Date.now());
    if (!handled.ok) return handled;
    const { issuer, name } = settings;
    // Answered when everybody concerned has been told: a client that hears of success may rely on it.
    for (const { subject, groups } of handled.value.effects) {
      const whom = { issuer, subject };
      if (groups !== undefined) {
        await this.#eachSession(principalLink(whom), async (session) => session.setGroups(whom, groups));
      } else {
        const reason = `not active in the directory ${name}`;
        await this.removePrincipal(whom, `scim ${name}`, { blocks: false, reason });
      }
    }
    return ok(handled.value.answer);
  }

  // Browsers.

  beginConsoleLogin(
    issuer: string | undefined,
    returnTo: string,
  ): Promise<Result<{ address: string; cookie: string }, Refusal>> {
    return this.#browsers.begin(issuer, returnTo, Date.now());
  }

  finishConsoleLogin(answer: {
    readonly code: string;
    readonly state: string;
    readonly cookie: string;
  }): Promise<Result<{ cookie: string; returnTo: string; endsAt: number }, Refusal>> {
    return this.#browsers.finish(answer, Date.now());
  }

  admitBrowser(cookie: string, changing: boolean): Promise<Result<Browser, Refusal>> {
    return this.#browsers.admit(cookie, changing, Date.now());
  }

  endConsoleSession(cookie: string): void {
    this.#browsers.end(cookie);
  }

  /** Administrative actions that policy permits somebody: about the gateway, and about each resource. */
  permissions(principal: Principal): Permissions {
    return permissionsOf(policyEngine, principal, this.#config?.resources ?? []);
  }

  /** RFC 8693: a token of a configured issuer, or of ours, for one of ours. `form` is the request's body. */
  async exchange(form: string, context: ExchangeContext): Promise<Result<Issued, OAuthError>> {
    const issued = await this.#identity.exchange(form, context, Date.now());
    await this.#scheduleExpiry();
    return issued;
  }

  /** Whether a rightly signed token still counts, and as what (identity.ts). */
  admit(token: VerifiedToken, proof: Proof | undefined): Result<VerifiedToken, Refusal> {
    return this.#identity.admit(token, proof, Date.now());
  }

  /** `admit` for a token that renews a session, whose key was proven when it began. */
  admitRenewal(token: VerifiedToken): Result<VerifiedToken, Refusal> {
    return this.#identity.stillGood(token, Date.now());
  }

  signingKeys(principal: Principal): Result<KeyStatus[], Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    return allowed.ok ? ok(this.#keys.status(Date.now())) : allowed;
  }

  async rotateSigningKeys(principal: Principal): Promise<Result<KeyStatus[], Refusal>> {
    const allowed = this.#authorize(principal, "gateway", "identity:write");
    if (!allowed.ok) return allowed;
    await this.#identity.rotateKeys(principal, Date.now());
    return ok(this.#keys.status(Date.now()));
  }

  // Tasks.

  async startTask(
    token: VerifiedToken,
    details: DetailsRequest,
    actor: TypedToken | undefined,
  ): Promise<Result<Issued, OAuthError>> {
    const issued = await this.#identity.startTask(token, details, actor, Date.now());
    await this.#scheduleExpiry();
    return issued;
  }

  /** Tasks that the token's owner has a part in, or all for whom may manage identities; newest first. */
  tasks(token: VerifiedToken, openOnly: boolean, limit: number): Task[] {
    return this.#identity.tasks.list(openOnly, limit).filter((task) => this.#maySeeTask(token, task));
  }

  task(token: VerifiedToken, id: string): Result<Task, Refusal> {
    const task = this.#identity.tasks.get(id);
    return task !== undefined && this.#maySeeTask(token, task)
      ? ok(task)
      : err(refusal("not_found", `there is no task ${id}`));
  }

  /** Ends a task and everything beneath it: tokens, tasks and live sessions. */
  async endTask(
    token: VerifiedToken,
    id: string,
    reason: string | undefined,
  ): Promise<Result<Task, Refusal>> {
    const found = this.task(token, id);
    if (!found.ok) return found;
    await this.#endTask(id, reason ?? `${token.principal.name} ended it`, token.principal);
    return this.task(token, id);
  }

  /** Takes out of the budgets of a task and of those above it; a session asks before an operation runs. */
  spend(task: string, what: Budget, amount: number): Result<void, Refusal> {
    return this.#identity.tasks.spend(task, what, amount, Date.now());
  }

  async #endTask(id: string, reason: string, by: Principal | undefined): Promise<void> {
    const ended = this.#identity.endTask(id, reason, by, Date.now());
    for (const task of ended) await this.#endSessions(taskLink(task.id), taskEnded(task, reason));
  }

  #maySeeTask(token: VerifiedToken, task: Task): boolean {
    const chain = this.#identity.tasks.chain(task.id);
    // A token for a task sees that one and those below it, nothing beside or above.
    if (token.task !== undefined) return chain.some(({ id }) => id === token.task);
    return (
      chain.some((step) => hasPart(step, token.principal)) ||
      this.#authorize(token.principal, "gateway", "identity:write").ok
    );
  }

  // Revocation.

  revocations(principal: Principal, limit: number): Result<Revocation[], Refusal> {
    const allowed = this.#authorize(principal, "gateway", "identity:write");
    return allowed.ok ? ok(this.#identity.revocations.list(limit)) : allowed;
  }

  /** Nothing that was issued to `whom` counts any more: tokens, tasks, live sessions. */
  async revokePrincipal(
    principal: Principal,
    whom: PrincipalName,
    options: { readonly blocks: boolean; readonly reason?: string },
  ): Promise<Result<Revocation, Refusal>> {
    const allowed = this.#authorize(principal, "gateway", "identity:write");
    if (!allowed.ok) return allowed;
    return ok(await this.removePrincipal(whom, principal.name, options));
  }

  /** `revokePrincipal` for a caller whose authority is established: `by` says who that is. */
  async removePrincipal(
    { issuer, subject }: PrincipalName,
    by: string,
    { blocks, reason }: { readonly blocks: boolean; readonly reason?: string },
  ): Promise<Revocation> {
    const at = Date.now();
    const revocation: Revocation = {
      id: identifier("rev"),
      issuer,
      subject,
      at,
      by,
      blocks,
      ...(reason === undefined ? {} : { reason }),
    };
    this.#record({ type: "revocation", ...revocation });
    this.#identity.revocations.add(revocation);
    const whom: Principal = { type: "User", issuer, subject, name: subject, groups: [] };
    await this.#endSessions(principalLink(whom), revoked(whom));
    const why = "the access of somebody in it was revoked";
    for (const task of this.#identity.tasks.openOf(whom)) await this.#endTask(task.id, why, undefined);
    return revocation;
  }

  liftRevocation(principal: Principal, id: string): Result<void, Refusal> {
    const allowed = this.#authorize(principal, "gateway", "identity:write");
    if (!allowed.ok) return allowed;
    this.#record({ type: "revocation_lifted", revocation: id, by: principal });
    return this.#identity.revocations.lift(id)
      ? ok(undefined)
      : err(refusal("not_found", `there is no revocation ${id}`));
  }

  async leaveGroups(
    principal: Principal,
    whom: PrincipalName,
    groups: readonly string[],
  ): Promise<Result<void, Refusal>> {
    const allowed = this.#authorize(principal, "gateway", "identity:write");
    if (!allowed.ok) return allowed;
    await this.removeFromGroups(whom, groups, principal.name);
    return ok(undefined);
  }

  /** Takes effect on the next operation of live sessions and on every token from before now. `by` says who did it. */
  async removeFromGroups(whom: PrincipalName, groups: readonly string[], by: string): Promise<void> {
    const { issuer, subject } = whom;
    this.#record({ type: "left_groups", issuer, subject, groups, by });
    this.#identity.revocations.leave(whom, groups, Date.now());
    const link = principalLink(whom);
    await this.#eachSession(link, async (session) => session.leaveGroups(whom, groups));
  }

  async #endSessions(link: string, why: Refusal): Promise<void> {
    await this.#eachSession(link, async (session) => session.revoke(why));
  }

  /** Tells every live session of a link, all at once; who does not answer is asked again. */
  async #eachSession(
    link: string,
    tell: (session: ReturnType<typeof sessionOf>) => Promise<void>,
  ): Promise<void> {
    let left = this.#sessions.linked(link);
    for (let attempt = 0; left.length > 0 && attempt < 3; attempt++) {
      const told = await Promise.allSettled(left.map((id) => tell(sessionOf(this.env, id))));
      left = left.filter((_, at) => told[at]?.status === "rejected");
    }
    for (const id of left) console.error(`session ${id} could not be told that its authority has changed`);
  }

  // Configuration.

  snapshot(): Snapshot | undefined {
    if (this.#config === undefined) return undefined;
    const { version, resources, policies, maskKeys, sshHostKey } = this.#config;
    return { version, resources, policies, maskKeys, sshHostKey };
  }

  /** The files as applied last. */
  configuration(principal: Principal): Result<{ version: number; files: Record<string, string> }, Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    if (!allowed.ok) return allowed;
    const row = this.#sql
      .exec<{ version: number; files: string }>(
        "SELECT version, files FROM config ORDER BY version DESC LIMIT 1",
      )
      .toArray()[0];
    if (row === undefined) return ok({ version: 0, files: {} });
    return ok({ version: row.version, files: JSON.parse(row.files) as Record<string, string> });
  }

  /** `by` is undefined for the bootstrap token, which may only ever apply the first configuration. */
  async apply(
    files: Record<string, string>,
    by: Principal | undefined,
    dryRun: boolean,
    ifVersion?: number,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    if (by === undefined) {
      if (this.#config !== undefined) {
        const hint = "apply with a token of somebody whom policy permits config:write";
        return err(
          refusal("token_invalid", "the bootstrap token applies only the first configuration", { hint }),
        );
      }
    } else {
      const allowed = this.#authorize(by, "gateway", "config:write");
      if (!allowed.ok) return allowed;
    }
    const running = this.#config?.version ?? 0;
    if (ifVersion !== undefined && ifVersion !== running) {
      const hint = "look at what has changed, then apply onto that version";
      return err(refusal("config_changed", `version ${running} is running, not ${ifVersion}`, { hint }));
    }
    const parsed = parseConfig(files, policyEngine);
    if (!parsed.ok) return err({ errors: [...parsed.error] });
    const version = (this.#config?.version ?? 0) + 1;
    const changes = describeChanges(this.#config, parsed.value);
    if (dryRun) return ok({ version: version - 1, dryRun, changes });
    const text = JSON.stringify(files);
    this.#record({ type: "config", version, by: by ?? "bootstrap", changes, digest: sha256(text) });
    this.#sql.exec(
      "INSERT INTO config (version, at, by, files) VALUES (?, ?, ?, ?)",
      version,
      Date.now(),
      JSON.stringify(by ?? "bootstrap"),
      text,
    );
    this.#loadConfig();
    this.#live.tell({ kind: "config", version });
    await this.#pushSnapshot();
    return ok({ version, dryRun, changes });
  }

  configVersions(
    principal: Principal,
    limit: number,
  ): Result<(ConfigVersion & { digest: string })[], Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    return allowed.ok ? ok(this.#history.list(limit)) : allowed;
  }

  configVersion(principal: Principal, version: number): Result<ConfigVersion & { files: Files }, Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    return allowed.ok ? this.#history.get(version) : allowed;
  }

  /** What these files would change of the running ones. */
  compareConfig(
    principal: Principal,
    files: Record<string, string>,
  ): Result<{ version: number; changes: string[]; files: FileChange[] }, Refusal | ApplyProblem> {
    const running = this.configuration(principal);
    if (!running.ok) return running;
    const parsed = parseConfig(files, policyEngine);
    if (!parsed.ok) return err({ errors: [...parsed.error] });
    return ok({
      version: running.value.version,
      changes: describeChanges(this.#config, parsed.value),
      files: compareFiles(running.value.files, files),
    });
  }

  /** Applies the files of an earlier version once more, as a new one. */
  async rollbackConfig(
    principal: Principal,
    version: number,
    ifVersion: number | undefined,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    const found = this.configVersion(principal, version);
    return found.ok ? this.apply({ ...found.value.files }, principal, false, ifVersion) : found;
  }

  /** The policies of files that are not applied, to ask them something. */
  draftPolicies(
    principal: Principal,
    files: Record<string, string>,
  ): Result<readonly PolicySource[], Refusal | ApplyProblem> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    if (!allowed.ok) return allowed;
    const parsed = parseConfig(files, policyEngine);
    return parsed.ok ? ok(parsed.value.policies) : err({ errors: [...parsed.error] });
  }

  /** Everybody whom policy permits the action on the resource (worker/policy/who-may.ts). */
  whoMay(principal: Principal, resource: string, question: WhoMayQuestion): Result<WhoMay, Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    if (!allowed.ok) return allowed;
    const found = this.#resource(resource);
    if (!found.ok) return found;
    const people = this.#people.list(MAX_PEOPLE_ASKED).map((seen) => seen.principal);
    return whoMay(policyEngine, this.#config?.policies ?? [], people, found.value, question);
  }

  /** Checks files without any effect. */
  checkConfig(files: Record<string, string>): readonly ConfigError[] {
    const parsed = parseConfig(files, policyEngine);
    return parsed.ok ? [] : [...parsed.error];
  }

  /** Whether a resource of this name is configured. */
  resourceExists(name: string): Result<void, Refusal> {
    const found = this.#resource(name);
    return found.ok ? ok(undefined) : found;
  }

  /** Decides an administrative action; the refusal is for the caller. */
  authorize(principal: Principal, resource: string | undefined, action: AdminVerb): Result<void, Refusal> {
    if (resource === undefined) return this.#authorize(principal, "gateway", action);
    const found = this.#resource(resource);
    return found.ok ? this.#authorize(principal, found.value, action) : found;
  }

  // What happens, as it happens.

  /** The upgrade of `/v1/stream`; the Worker has authenticated it and names who looks. */
  override fetch(request: Request): Response {
    const header = request.headers.get(VIEWER_HEADER);
    if (header === null || this.#live.full) return new Response("no stream", { status: 503 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [LIVE]);
    this.#live.opened(server, JSON.parse(decodeURIComponent(header)) as Viewer);
    return new Response(null, { status: 101, webSocket: client });
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    this.#live.message(socket, message);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#live.gone(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#live.gone(socket);
  }

  /** A connector's processes have come or gone. */
  connectorChanged(name: string, online: readonly string[]): void {
    this.#live.tell({ kind: "connector", name, online });
  }

  async #admitViewer({ token, console: browser }: Viewer): Promise<Result<VerifiedToken, Refusal>> {
    const now = Date.now();
    if (browser !== undefined) {
      const admitted = await this.#browsers.admitById(browser, false, now);
      return admitted.ok ? ok(admitted.value.token) : admitted;
    }
    if (token.expiresAt <= now) return err(refusal("token_expired", "the session token has expired"));
    return this.#identity.stillGood(token, now);
  }

  // The index of operations.

  /** What a live session did since it said so last. */
  indexOperations(id: string, counts: SessionCounts, report: OperationReport): void {
    this.#sessions.count(id, counts);
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    this.#operations.add(session, report, Date.now());
    this.#live.tell({ kind: "session", session });
  }

  searchSessions(principal: Principal, question: SearchQuestion, limit: number): SearchAnswer {
    return searchSessions(this.#operations, this.#sessions, question, limit, (session) =>
      this.#maySee(principal, session),
    );
  }

  /** Over the resources whose sessions `principal` may replay, or the one of them that is named. */
  statistics(principal: Principal, resource: string | undefined, question: StatisticsQuestion): object {
    const resources = (this.#config?.resources ?? [])
      .map(({ name }) => name)
      .filter((name) => resource === undefined || name === resource)
      .filter((name) => this.authorize(principal, name, "session:replay").ok);
    const approvals = this.#approvals
      .since(question.from, question.to, MOST_COUNTED, Date.now())
      .filter((approval) => resources.includes(approval.resource));
    return statistics(this.#operations, approvals, resources, question);
  }

  /** Whether somebody may follow a session while it goes on: their own, or by policy. */
  mayWatch(principal: Principal, id: string): Result<SessionRow, Refusal> {
    const found = this.session(principal, id);
    if (!found.ok || isSame(found.value.principal, principal)) return found;
    const allowed = this.authorize(principal, found.value.resource, "session:watch");
    return allowed.ok ? found : allowed;
  }

  // Sessions.

  /**
   * Puts a session into the index and hands out the configuration, unless the caller has this version. What
   * was revoked or ended since its token was admitted is noticed here; what is later finds it in the index.
   */
  startSession(
    row: Omit<SessionRow, "status" | keyof SessionCounts>,
    processId: number,
    knownVersion: number | undefined,
    token: VerifiedToken,
  ): Result<StartedSession, Refusal> {
    const snapshot = this.snapshot();
    if (snapshot === undefined) {
      return err(refusal("no_policy_loaded", "the gateway has no configuration yet"));
    }
    const good = this.#identity.stillGood(token, Date.now());
    if (!good.ok) return good;
    this.#sessions.start(row, processId);
    this.#sessionChanged(row.id);
    return ok({ version: snapshot.version, ...(snapshot.version === knownVersion ? {} : { snapshot }) });
  }

  endSession(id: string, endedAt: number, reason: string, counts: SessionCounts): void {
    this.#sessions.end(id, endedAt, reason, counts);
    this.#sessionChanged(id);
  }

  /** After a crash: what the session waited for stays open for the retry. */
  orphanApprovals(session: string): void {
    this.#desk.orphan(session, Date.now());
  }

  sessionByProcessId(processId: number): string | undefined {
    return this.#sessions.byProcessId(processId);
  }

  /** The sessions that `principal` may see: their own, and those of resources whose sessions they may replay. */
  sessions(principal: Principal, liveOnly: boolean, limit: number): SessionRow[] {
    return this.#sessions.list(liveOnly, limit).filter((row) => this.#maySee(principal, row));
  }

  session(principal: Principal, id: string): Result<SessionRow, Refusal> {
    const row = this.#sessions.get(id);
    if (row === undefined || !this.#maySee(principal, row))
      return err(refusal("not_found", `there is no session ${id}`));
    return ok(row);
  }

  async killSession(
    principal: Principal,
    id: string,
    reason: string | undefined,
  ): Promise<Result<SessionRow, Refusal>> {
    const found = this.session(principal, id);
    if (!found.ok) return found;
    const own = isSame(found.value.principal, principal);
    const allowed = own ? ok(undefined) : this.authorize(principal, found.value.resource, "session:kill");
    if (!allowed.ok) return allowed;
    if (found.value.status === "live") {
      this.#record({ type: "kill", session: id, by: principal, ...(reason === undefined ? {} : { reason }) });
      await sessionOf(this.env, id).kill(principal.name, reason);
    }
    return this.session(principal, id);
  }

  // Approvals.

  /** Opens an approval for a held operation, or uses up a granted one. The session has decided that it is held. */
  async hold(request: HoldRequest): Promise<HoldAnswer> {
    const answer = this.#desk.hold(request, Date.now());
    await this.#scheduleExpiry();
    return answer;
  }

  describeApproval(id: string, session: string, estimate: Estimate): void {
    this.#desk.describe(id, session, estimate, Date.now());
  }

  useApproval(id: string, session: string): Result<void, Refusal> {
    return this.#desk.use(id, session, Date.now());
  }

  withdrawApproval(id: string, session: string): void {
    this.#desk.withdraw(id, session, Date.now());
  }

  approvals(principal: Principal, pendingOnly: boolean, limit: number): ReviewedApproval[] {
    return this.#desk.list(principal, pendingOnly, limit, Date.now());
  }

  approval(principal: Principal, id: string): Result<ReviewedApproval & { similar: Approval[] }, Refusal> {
    return this.#desk.get(principal, id, Date.now());
  }

  decideApproval(
    principal: Principal,
    id: string,
    verdict: Verdict,
  ): Promise<Result<ReviewedApproval, Refusal>> {
    return this.#desk.decide(principal, id, verdict, Date.now());
  }

  endBatch(principal: Principal, id: string): Result<ReviewedApproval, Refusal> {
    return this.#desk.endBatch(principal, id, Date.now());
  }

  /** A button pressed in Slack, as Slack sent it. */
  slackPress(
    headers: { readonly signature: string | undefined; readonly timestamp: string | undefined },
    body: string,
  ): Promise<Result<void, Refusal>> {
    return this.#slack.press(headers, body, Date.now());
  }

  notifications(principal: Principal, limit: number): Result<DeliveryStatus[], Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    return allowed.ok ? ok(this.#outbox.list(limit)) : allowed;
  }

  #sessionChanged(id: string): void {
    const session = this.#sessions.get(id);
    if (session !== undefined) this.#live.tell({ kind: "session", session });
  }

  #approvalChanged(approval: Approval, event: NotificationEvent | undefined): void {
    this.#live.tell({ kind: "approval", approval });
    if (event === undefined) return;
    this.#outbox.put(approval, event, Date.now());
    this.ctx.waitUntil(this.#scheduleExpiry());
  }

  // Connectors.

  async newJoinToken(
    principal: Principal,
    name: string,
  ): Promise<Result<{ token: string; expiresAt: number }, Refusal>> {
    const allowed = this.#authorize(principal, "gateway", "config:write");
    if (!allowed.ok) return allowed;
    if (!/^[a-z0-9][a-z0-9._-]{0,62}$/.test(name)) {
      return err(
        refusal("request_invalid", "a connector's name has lower-case letters, digits, dots and dashes"),
      );
    }
    const { token, record } = await newJoinToken(name, randomBytes(SECRET_BYTES), Date.now());
    this.#record({ type: "join_token", connector: name, by: principal });
    this.#connectors.saveJoinToken(record);
    return ok({ token, expiresAt: record.expiresAt });
  }

  async enroll(token: string, name: string, key: unknown): Promise<Result<{ name: string }, Refusal>> {
    const jwk = parseConnectorKey(key);
    if (jwk === undefined)
      return err(refusal("request_invalid", "publicKey has to be an Ed25519 public JWK"));
    const hash = await joinTokenHash(token);
    const record = hash === undefined ? undefined : this.#connectors.joinToken(hash);
    // One turn without awaiting between reading and marking would be simplest; hashing is asynchronous, so
    // the token is read again after it.
    const used = await useJoinToken(record, token, name, Date.now());
    if (!used.ok) return used;
    if (this.#connectors.joinToken(used.value.hash)?.usedAt !== undefined) {
      return err(refusal("connector_not_trusted", "the join token has been used"));
    }
    this.#connectors.saveJoinToken(used.value);
    this.#record({ type: "enroll", connector: name, key: jwk.x });
    this.#connectors.enroll(name, jwk, Date.now());
    await connectorOf(this.env, name).replaced();
    return ok({ name });
  }

  /** A connector's own new key; the route has verified that the holder of both keys asks. */
  async rotateConnectorKey(
    name: string,
    before: ConnectorKey,
    after: ConnectorKey,
  ): Promise<Result<{ name: string }, Refusal>> {
    const untrusted = refusal("connector_not_trusted", "the connector's key is not the one that it was");
    const known = this.#connectors.get(name);
    if (known === undefined || known.publicKey.x !== before.x || after.x === before.x) return err(untrusted);
    this.#record({ type: "connector_key", connector: name, before: before.x, key: after.x });
    if (!this.#connectors.replaceKey(name, before, after)) return err(untrusted);
    // Whoever only has the old key does not come back.
    await connectorOf(this.env, name).replaced();
    return ok({ name });
  }

  /** The connector that a resource is configured for. */
  connectorFor(resource: string): string | undefined {
    return this.#config?.resources.find(({ name }) => name === resource)?.connector;
  }

  /** The key that a connector's tokens have to be signed with; undefined when unknown or revoked. */
  connectorKey(name: string): ConnectorKey | undefined {
    const row = this.#connectors.get(name);
    return row === undefined || row.revokedAt !== undefined ? undefined : row.publicKey;
  }

  connectors(
    principal: Principal,
  ): Result<{ name: string; enrolledAt: number; revoked: boolean }[], Refusal> {
    const allowed = this.#authorize(principal, "gateway", "config:read");
    if (!allowed.ok) return allowed;
    return ok(
      this.#connectors
        .list()
        .map(({ name, enrolledAt, revokedAt }) => ({ name, enrolledAt, revoked: revokedAt !== undefined })),
    );
  }

  async revokeConnector(principal: Principal, name: string): Promise<Result<void, Refusal>> {
    const allowed = this.#authorize(principal, "gateway", "config:write");
    if (!allowed.ok) return allowed;
    if (this.#connectors.get(name) === undefined)
      return err(refusal("not_found", `there is no connector ${name}`));
    this.#record({ type: "revoke_connector", connector: name, by: principal });
    this.#connectors.revoke(name, Date.now());
    await connectorOf(this.env, name).revoke();
    return ok(undefined);
  }

  // Time.

  override async alarm(): Promise<void> {
    const now = Date.now();
    await this.#desk.pass(now);
    await this.#outbox.deliver(now);
    for (const task of this.#identity.tasks.expired(now)) {
      await this.#endTask(task.id, "its deadline has passed", undefined);
    }
    if (this.#identity.rotationDue() <= now) await this.#identity.rotateKeys(undefined, now);
    await this.#reconcile();
    await this.#scheduleExpiry();
  }

  /** Sessions whose sockets went away with a process end now, and so tell the index. */
  async #reconcile(): Promise<void> {
    for (const id of this.#sessions.liveIds()) {
      try {
        await sessionOf(this.env, id).checkAlive();
      } catch (error) {
        console.warn(`session ${id} does not answer: ${String(error)}`);
      }
    }
  }

  async #scheduleExpiry(): Promise<void> {
    const next = Math.min(this.#desk.next(Date.now()), this.#outbox.next());
    const live = this.#sessions.liveIds().length > 0 ? Date.now() + RECONCILE_MS : Number.POSITIVE_INFINITY;
    const deadline = this.#identity.tasks.nextDeadline() ?? Number.POSITIVE_INFINITY;
    const at = Math.min(next, live, deadline, this.#identity.rotationDue());
    const set = await this.ctx.storage.getAlarm();
    if (at !== Number.POSITIVE_INFINITY && (set === null || set > at)) await this.ctx.storage.setAlarm(at);
  }

  // Inside.

  get #sql(): SqlStorage {
    return this.ctx.storage.sql;
  }

  /** Writes one event of the Control object's own log. @throws when it cannot: then the change must not happen. */
  #record(body: { readonly type: string; readonly [field: string]: unknown }): void {
    this.#log.record(new Date(), body);
    this.#log.flush();
  }

  async #loadSshHostKey(): Promise<void> {
    const stored = this.#meta.get("ssh_host_key");
    if (stored !== undefined) {
      this.#sshHostKey = JSON.parse(stored) as SshHostKey;
      return;
    }
    // It has to stay the same: clients remember it.
    const key = await generateSshHostKey();
    this.#meta.set("ssh_host_key", JSON.stringify(key));
    this.#sshHostKey = key;
  }

  /** From which the key of each resource's `hash` masks is derived. */
  #maskSecret(): string {
    const known = this.#meta.get("mask_secret");
    if (known !== undefined) return known;
    const secret = Buffer.from(randomBytes(32)).toString("hex");
    this.#meta.set("mask_secret", secret);
    return secret;
  }

  #loadConfig(): void {
    const row = this.#sql
      .exec<{ version: number; files: string }>(
        "SELECT version, files FROM config ORDER BY version DESC LIMIT 1",
      )
      .toArray()[0];
    if (row === undefined) return;
    const parsed = parseConfig(JSON.parse(row.files) as Record<string, string>, policyEngine);
    if (!parsed.ok) throw new Error("the stored configuration does not parse");
    const secret = this.#maskSecret();
    const maskKeys = Object.fromEntries(
      parsed.value.resources.map(({ name }) => [
        name,
        createHmac("sha256", secret).update(`mask\n${name}`).digest("hex"),
      ]),
    );
    this.#config = { version: row.version, ...parsed.value, maskKeys, sshHostKey: this.#sshHostKey };
    const loaded = policyEngine.load(row.version, parsed.value.policies);
    if (!loaded.ok) throw new Error("the stored policies do not load");
  }

  async #pushSnapshot(): Promise<void> {
    const snapshot = this.snapshot();
    if (snapshot === undefined) return;
    const pushes = this.#sessions.liveIds().map(async (id) => sessionOf(this.env, id).refresh(snapshot));
    // A session that cannot be told is one that has ended, or will be found by the reconciliation.
    await Promise.allSettled(pushes);
  }

  #resource(name: string): Result<Resource, Refusal> {
    const found = this.#config?.resources.find((resource) => resource.name === name);
    return found === undefined ? err(refusal("resource_unknown", `there is no resource ${name}`)) : ok(found);
  }

  #authorize(principal: Principal, target: Target, action: AdminVerb): Result<void, Refusal> {
    const decision = policyEngine.decide(principal, target, { action, facts: {} });
    if (decision.effect === "allow") return ok(undefined);
    if (decision.effect === "deny") return err(decision.refusal);
    return err(refusal("denied_by_policy", `${action} cannot be held for approval, so it is denied`));
  }

  #maySee(principal: Principal, row: SessionRow): boolean {
    return isSame(row.principal, principal) || this.authorize(principal, row.resource, "session:replay").ok;
  }
}

function isSame(a: Principal, b: Principal): boolean {
  return a.issuer === b.issuer && a.subject === b.subject;
}
