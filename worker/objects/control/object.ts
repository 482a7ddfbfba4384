/**
 * The Control object, one per deployment: configuration with its versions, signing keys, approvals,
 * enrolled connectors and the index of sessions. Whatever changes here is first written to its own
 * hash-chained log. It pushes changes to live sessions, which apply them to their next operation.
 *
 * This is its surface towards the Worker and the other objects, by subject; parts.ts says what it is made of,
 * and each method's rules are with the part that it names.
 */
import { DurableObject } from "cloudflare:workers";
import type { Refusal } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { type Bindings, readSettings } from "../../env.ts";
import type { DetailsRequest } from "../../identity/authorization-details.ts";
import type { LoginRequest } from "../../identity/code-grant.ts";
import { mintIdentityAssertion } from "../../identity/identity-assertion.ts";
import type { Proof } from "../../identity/proof.ts";
import type { SamlIdentity } from "../../identity/saml/assertion.ts";
import type { SamlProvider } from "../../identity/saml/provider.ts";
import type { ScimError } from "../../identity/scim/messages.ts";
import type { VerificationKey } from "../../identity/session-token.ts";
import { hostKeyLine } from "../../identity/ssh-host-key.ts";
import type { OAuthError, TypedToken } from "../../identity/token-exchange.ts";
import type { Approval, Estimate } from "../../policy/approval.ts";
import type { ConfigError, PolicySource } from "../../policy/cedar/engine.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import type { AdminVerb, Principal } from "../../policy/types.ts";
import type { WhoMay, WhoMayQuestion } from "../../policy/who-may.ts";
import { identifier } from "../identifiers.ts";
import type { ReviewedApproval, Verdict } from "./approval-desk.ts";
import type { ConfigVersion, Files } from "./config-history.ts";
import type { ConnectorKey } from "./connectors.ts";
import type { Browser, FinishedLogin } from "./console-sessions.ts";
import type { Entry } from "./resource-entries.ts";
import type { FileChange } from "./file-changes.ts";
import type { ExchangeContext, Issued } from "./identity.ts";
import type { KeyStatus } from "./keys.ts";
import { VIEWER_HEADER, type Viewer } from "./live.ts";
import type { LoginIssuers } from "./login-desk.ts";
import type { OperationReport } from "./operations.ts";
import type { DeliveryStatus } from "./outbox.ts";
import { LIVE, type Parts, createParts } from "./parts.ts";
import type { Permissions } from "./permissions.ts";
import type { PrincipalName, Revocation } from "./revocations.ts";
import type { LoginOutcome } from "./saml.ts";
import type { ScimAnswer, ScimRequest } from "./scim.ts";
import type { SearchAnswer, SearchQuestion } from "./search.ts";
import type { StatisticsQuestion } from "./statistics.ts";
import type { Budget, Task } from "./tasks.ts";
import type {
  ApplyOutcome,
  ApplyProblem,
  HoldAnswer,
  HoldRequest,
  SessionCounts,
  SessionRow,
  Snapshot,
  StartedSession,
} from "./types.ts";

/** Differs in every process: a new one means that sessions may have died with the old one. */
let processMark: string | undefined;

export class ControlObject extends DurableObject<Bindings> {
  readonly #parts: Parts;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#parts = createParts(ctx, env);
    const { keys, secrets, configurations, meta } = this.#parts;
    void ctx.blockConcurrencyWhile(async () => {
      await keys.prepare(Date.now());
      await secrets.prepare();
      configurations.load();
      processMark ??= identifier("prc");
      if (meta.get("process") === processMark) return;
      meta.set("process", processMark);
      await ctx.storage.setAlarm(Date.now() + 1000);
    });
  }

  override async alarm(): Promise<void> {
    await this.#parts.upkeep.run(Date.now());
  }

  // The live stream.

  /** The upgrade of `/v1/stream`; the Worker has authenticated it and names who looks. */
  override fetch(request: Request): Response {
    const { live } = this.#parts;
    const header = request.headers.get(VIEWER_HEADER);
    if (header === null || live.full) return new Response("no stream", { status: 503 });
    const { 0: client, 1: server } = new WebSocketPair();
    this.ctx.acceptWebSocket(server, [LIVE]);
    live.opened(server, JSON.parse(decodeURIComponent(header)) as Viewer);
    return new Response(null, { status: 101, webSocket: client });
  }

  override webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): void {
    this.#parts.live.message(socket, message);
  }

  override webSocketClose(socket: WebSocket): void {
    this.#parts.live.gone(socket);
  }

  override webSocketError(socket: WebSocket): void {
    this.#parts.live.gone(socket);
  }

  /** A connector's processes have come or gone. */
  connectorChanged(name: string, online: readonly string[]): void {
    this.#parts.live.tell({ kind: "connector", name, online });
  }

  // Keys.

  /** The public halves of the signing keys, newest first. */
  verificationKeys(): VerificationKey[] {
    return this.#parts.keys.verification(Date.now());
  }

  signingKeys(principal: Principal): Result<KeyStatus[], Refusal> {
    const { authority, keys } = this.#parts;
    return authority.permitted(principal, "config:read", () => keys.status(Date.now()));
  }

  async rotateSigningKeys(principal: Principal): Promise<Result<KeyStatus[], Refusal>> {
    const { authority, identity, keys } = this.#parts;
    const allowed = authority.authorize(principal, undefined, "identity:write");
    if (!allowed.ok) return allowed;
    await identity.rotateKeys(principal, Date.now());
    return ok(keys.status(Date.now()));
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
    const claims = { gateway, principal, resource, session, now, expiresAt };
    return mintIdentityAssertion(this.#parts.keys.current(now), claims);
  }

  /** The public SSH host key, as known_hosts has it after the host. */
  sshHostKeyLine(): string {
    return hostKeyLine(this.#parts.secrets.sshHostKey);
  }

  // Logging in, and tokens.

  loginIssuers(): LoginIssuers {
    return this.#parts.logins.issuers();
  }

  samlProvider(name: string): SamlProvider | undefined {
    return this.#parts.logins.samlProvider(name);
  }

  beginSamlLogin(
    provider: string,
    request: LoginRequest,
    source: string | undefined,
  ): Result<string, Refusal> {
    return this.#parts.logins.beginSaml(provider, request, source, Date.now());
  }

  finishSamlLogin(provider: string, identity: SamlIdentity): LoginOutcome | undefined {
    return this.#parts.logins.finishSaml(provider, identity, Date.now());
  }

  endLogin(token: string): void {
    this.#parts.logins.end(token);
  }

  beginConsoleLogin(
    issuer: string | undefined,
    returnTo: string,
    entry?: Entry,
  ): Promise<Result<{ address: string; cookie: string }, Refusal>> {
    return this.#parts.browsers.begin(issuer, returnTo, Date.now(), entry);
  }

  finishConsoleLogin(answer: {
    readonly code: string;
    readonly state: string;
    readonly cookie: string;
  }): Promise<Result<FinishedLogin, Refusal>> {
    return this.#parts.browsers.finish(answer, Date.now());
  }

  admitBrowser(cookie: string, changing: boolean): Promise<Result<Browser, Refusal>> {
    return this.#parts.browsers.admit(cookie, changing, Date.now());
  }

  endConsoleSession(cookie: string): void {
    this.#parts.browsers.end(cookie);
  }

  enterResource(
    resource: string,
    code: string,
    proof: string,
  ): Result<{ cookie: string; endsAt: number }, Refusal> {
    return this.#parts.browsers.enter({ resource, code, proof }, Date.now());
  }

  admitToResource(resource: string, cookie: string): Promise<Result<VerifiedToken, Refusal>> {
    return this.#parts.browsers.admitTo(resource, cookie, Date.now());
  }

  /** Identifier of the token whose session is to end with it. */
  leaveResource(resource: string, cookie: string): string | undefined {
    return this.#parts.browsers.leave(resource, cookie);
  }

  /** RFC 8693: a token of a configured issuer, or of ours, for one of ours. `form` is the request's body. */
  async exchange(form: string, context: ExchangeContext): Promise<Result<Issued, OAuthError>> {
    const issued = await this.#parts.identity.exchange(form, context, Date.now());
    await this.#parts.upkeep.schedule();
    return issued;
  }

  /** Whether a rightly signed token still counts, and as what. */
  admit(token: VerifiedToken, proof: Proof | undefined): Result<VerifiedToken, Refusal> {
    return this.#parts.identity.admit(token, proof, Date.now());
  }

  /** `admit` for a token that renews a session, whose key was proven when it began. */
  admitRenewal(token: VerifiedToken): Result<VerifiedToken, Refusal> {
    return this.#parts.identity.stillGood(token, Date.now());
  }

  // Tasks.

  async startTask(
    token: VerifiedToken,
    details: DetailsRequest,
    actor: TypedToken | undefined,
  ): Promise<Result<Issued, OAuthError>> {
    const issued = await this.#parts.identity.startTask(token, details, actor, Date.now());
    await this.#parts.upkeep.schedule();
    return issued;
  }

  tasks(token: VerifiedToken, openOnly: boolean, limit: number): Task[] {
    return this.#parts.tasks.list(token, openOnly, limit);
  }

  task(token: VerifiedToken, id: string): Result<Task, Refusal> {
    return this.#parts.tasks.get(token, id);
  }

  endTask(token: VerifiedToken, id: string, reason: string | undefined): Promise<Result<Task, Refusal>> {
    return this.#parts.tasks.end(token, id, reason);
  }

  /** Takes out of the budgets of a task and of those above it; a session asks before an operation runs. */
  spend(task: string, what: Budget, amount: number): Result<void, Refusal> {
    return this.#parts.identity.tasks.spend(task, what, amount, Date.now());
  }

  // Revocation, and directories.

  revocations(principal: Principal, limit: number): Result<Revocation[], Refusal> {
    return this.#parts.revocations.list(principal, limit);
  }

  revokePrincipal(
    principal: Principal,
    whom: PrincipalName,
    options: { readonly blocks: boolean; readonly reason?: string },
  ): Promise<Result<Revocation, Refusal>> {
    return this.#parts.revocations.revoke(principal, whom, options);
  }

  liftRevocation(principal: Principal, id: string): Result<void, Refusal> {
    return this.#parts.revocations.lift(principal, id);
  }

  leaveGroups(
    principal: Principal,
    whom: PrincipalName,
    groups: readonly string[],
  ): Promise<Result<void, Refusal>> {
    return this.#parts.revocations.leaveGroups(principal, whom, groups);
  }

  scim(
    tokenHash: string,
    request: ScimRequest | undefined,
  ): Promise<Result<ScimAnswer, ScimError> | undefined> {
    return this.#parts.directories.handle(tokenHash, request);
  }

  // Configuration, and what policy permits.

  snapshot(): Snapshot | undefined {
    return this.#parts.configurations.snapshot();
  }

  configuration(principal: Principal): Result<{ version: number; files: Files }, Refusal> {
    return this.#parts.configurations.files(principal);
  }

  apply(
    files: Files,
    by: Principal | undefined,
    dryRun: boolean,
    ifVersion?: number,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    return this.#parts.configurations.apply(files, by, dryRun, ifVersion);
  }

  configVersions(
    principal: Principal,
    limit: number,
  ): Result<(ConfigVersion & { readonly digest: string })[], Refusal> {
    return this.#parts.configurations.versions(principal, limit);
  }

  configVersion(
    principal: Principal,
    version: number,
  ): Result<ConfigVersion & { readonly files: Files }, Refusal> {
    return this.#parts.configurations.version(principal, version);
  }

  compareConfig(
    principal: Principal,
    files: Files,
  ): Result<{ version: number; changes: string[]; files: FileChange[] }, Refusal | ApplyProblem> {
    return this.#parts.configurations.compare(principal, files);
  }

  rollbackConfig(
    principal: Principal,
    version: number,
    ifVersion: number | undefined,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    return this.#parts.configurations.rollBack(principal, version, ifVersion);
  }

  draftPolicies(principal: Principal, files: Files): Result<readonly PolicySource[], Refusal | ApplyProblem> {
    return this.#parts.configurations.draftPolicies(principal, files);
  }

  checkConfig(files: Files): readonly ConfigError[] {
    return this.#parts.configurations.check(files);
  }

  /** Whether a resource of this name is configured. */
  resourceExists(name: string): Result<void, Refusal> {
    const found = this.#parts.authority.resource(name);
    return found.ok ? ok(undefined) : found;
  }

  authorize(principal: Principal, resource: string | undefined, action: AdminVerb): Result<void, Refusal> {
    return this.#parts.authority.authorize(principal, resource, action);
  }

  permissions(principal: Principal): Permissions {
    return this.#parts.authority.permissions(principal);
  }

  whoMay(principal: Principal, resource: string, question: WhoMayQuestion): Result<WhoMay, Refusal> {
    return this.#parts.authority.whoMay(principal, resource, question);
  }

  // Sessions.

  startSession(
    row: Omit<SessionRow, "status" | keyof SessionCounts>,
    processId: number,
    knownVersion: number | undefined,
    token: VerifiedToken,
  ): Result<StartedSession, Refusal> {
    return this.#parts.sessions.start(row, processId, knownVersion, token);
  }

  endSession(id: string, endedAt: number, reason: string, counts: SessionCounts): void {
    this.#parts.sessions.end(id, endedAt, reason, counts);
  }

  sessionByProcessId(processId: number): string | undefined {
    return this.#parts.index.byProcessId(processId);
  }

  sessions(principal: Principal, liveOnly: boolean, limit: number): SessionRow[] {
    return this.#parts.sessions.list(principal, liveOnly, limit);
  }

  session(principal: Principal, id: string): Result<SessionRow, Refusal> {
    return this.#parts.sessions.get(principal, id);
  }

  readSession(principal: Principal, id: string): Result<SessionRow, Refusal> {
    return this.#parts.sessions.read(principal, id, Date.now());
  }

  killSession(
    principal: Principal,
    id: string,
    reason: string | undefined,
  ): Promise<Result<SessionRow, Refusal>> {
    return this.#parts.sessions.kill(principal, id, reason);
  }

  /** What a live session did since it said so last. */
  indexOperations(id: string, counts: SessionCounts, report: OperationReport): void {
    this.#parts.activity.add(id, counts, report, Date.now());
  }

  searchSessions(principal: Principal, question: SearchQuestion, limit: number): SearchAnswer {
    return this.#parts.activity.search(principal, question, limit);
  }

  statistics(principal: Principal, resource: string | undefined, question: StatisticsQuestion): object {
    return this.#parts.activity.statistics(principal, resource, question, Date.now());
  }

  // Approvals, as sessions use them.

  /** Opens an approval for a held operation, or uses up a granted one. The session has decided that it is held. */
  async hold(request: HoldRequest): Promise<HoldAnswer> {
    const answer = this.#parts.approvals.hold(request, Date.now());
    await this.#parts.upkeep.schedule();
    return answer;
  }

  describeApproval(id: string, session: string, estimate: Estimate): void {
    this.#parts.approvals.describe(id, session, estimate, Date.now());
  }

  useApproval(id: string, session: string): Result<void, Refusal> {
    return this.#parts.approvals.use(id, session, Date.now());
  }

  withdrawApproval(id: string, session: string): void {
    this.#parts.approvals.withdraw(id, session, Date.now());
  }

  /** After a crash: what the session waited for stays open for the retry. */
  orphanApprovals(session: string): void {
    this.#parts.approvals.orphan(session, Date.now());
  }

  // Approvals, as people see and decide them.

  approvals(principal: Principal, pendingOnly: boolean, limit: number): ReviewedApproval[] {
    return this.#parts.approvals.list(principal, pendingOnly, limit, Date.now());
  }

  approvalsOfSession(principal: Principal, session: string): ReviewedApproval[] {
    return this.#parts.approvals.waitingIn(principal, session, Date.now());
  }

  approval(principal: Principal, id: string): Result<ReviewedApproval & { similar: Approval[] }, Refusal> {
    return this.#parts.approvals.get(principal, id, Date.now());
  }

  decideApproval(
    principal: Principal,
    id: string,
    verdict: Verdict,
  ): Promise<Result<ReviewedApproval, Refusal>> {
    return this.#parts.approvals.decide(principal, id, verdict, Date.now());
  }

  endBatch(principal: Principal, id: string): Result<ReviewedApproval, Refusal> {
    return this.#parts.approvals.endBatch(principal, id, Date.now());
  }

  /** A button pressed in Slack, as Slack sent it. */
  slackPress(
    headers: { readonly signature: string | undefined; readonly timestamp: string | undefined },
    body: string,
  ): Promise<Result<void, Refusal>> {
    return this.#parts.slack.press(headers, body, Date.now());
  }

  notifications(principal: Principal, limit: number): Result<DeliveryStatus[], Refusal> {
    const { authority, outbox } = this.#parts;
    return authority.permitted(principal, "config:read", () => outbox.list(limit));
  }

  // Connectors.

  newJoinToken(
    principal: Principal,
    name: string,
  ): Promise<Result<{ token: string; expiresAt: number }, Refusal>> {
    return this.#parts.connectors.newJoinToken(principal, name);
  }

  enroll(token: string, name: string, key: unknown): Promise<Result<{ name: string }, Refusal>> {
    return this.#parts.connectors.enroll(token, name, key);
  }

  rotateConnectorKey(
    name: string,
    before: ConnectorKey,
    after: ConnectorKey,
  ): Promise<Result<{ name: string }, Refusal>> {
    return this.#parts.connectors.rotateKey(name, before, after);
  }

  /** The key that a connector's tokens have to be signed with; undefined when unknown or revoked. */
  connectorKey(name: string): ConnectorKey | undefined {
    return this.#parts.connectors.key(name);
  }

  connectors(
    principal: Principal,
  ): Result<{ name: string; enrolledAt: number; revoked: boolean }[], Refusal> {
    return this.#parts.connectors.list(principal);
  }

  revokeConnector(principal: Principal, name: string): Promise<Result<void, Refusal>> {
    return this.#parts.connectors.revoke(principal, name);
  }

  /** The connector that a resource is configured for. */
  connectorFor(resource: string): string | undefined {
    const found = this.#parts.authority.resource(resource);
    return found.ok ? found.value.connector : undefined;
  }
}
