/**
 * The parts that the Control object is made of, and what each of them knows of the others. Each owns its tables
 * and its rules; none knows the object itself.
 *
 *   configurations ◄── authority ◄── whoever decides what people may do
 *   identity (tokens, tasks, revocations) ◄── task desk, revocation desk, directory desk ──► live sessions
 *   approval desk ──► outbox, live streams, the session that waits
 */
import {
  type Bindings,
  approvalAddress,
  connectorOf,
  readSecret,
  readSettings,
  sessionOf,
} from "../../env.ts";
import { createKeySource } from "../../identity/key-source.ts";
import { Meta } from "../meta.ts";
import type { EventBody } from "../recording/chain.ts";
import { Recorder } from "../recording/recorder.ts";
import { Activity } from "./activity.ts";
import { ApprovalDesk } from "./approval-desk.ts";
import { Approvals } from "./approvals.ts";
import { Authority } from "./authority.ts";
import { Configurations } from "./configurations.ts";
import { ConnectorDesk } from "./connector-desk.ts";
import { ConsoleSessions } from "./console-sessions.ts";
import { DirectoryDesk } from "./directory-desk.ts";
import { Identity } from "./identity.ts";
import { SigningKeys } from "./keys.ts";
import { LiveStreams, admitViewer } from "./live.ts";
import { LoginDesk } from "./login-desk.ts";
import { Outbox } from "./outbox.ts";
import { People } from "./people.ts";
import { ProviderKeys } from "./provider-keys.ts";
import { RevocationDesk } from "./revocation-desk.ts";
import { ScimService } from "./scim.ts";
import { GatewaySecrets } from "./secrets.ts";
import { SessionDirectory } from "./session-directory.ts";
import { SessionIndex } from "./sessions.ts";
import { SlackDesk } from "./slack-desk.ts";
import { TaskDesk } from "./task-desk.ts";
import type { Configuration, SessionRow } from "./types.ts";
import { Upkeep } from "./upkeep.ts";

/** Tag of the live stream's sockets. */
export const LIVE = "live";
/** Pending approvals and live sessions that a stream begins with. */
const MOST_SHOWN = 500;

export type Parts = ReturnType<typeof createParts>;

export function createParts(ctx: DurableObjectState, env: Bindings) {
  const { sql } = ctx.storage;
  const meta = new Meta(sql);
  meta.create();
  const log = new Recorder(sql, "control");
  /** Writes one event of the Control object's own log. @throws when it cannot: then the change must not happen. */
  const record = (body: EventBody): void => {
    log.record(new Date(), body);
    log.flush();
  };
  const config = (): Configuration | undefined => configurations.running;
  const publicUrl = (): string => readSettings(env).publicUrl;
  const secret = (name: string): string | undefined => readSecret(env, name);
  const link = (approval: string): string => approvalAddress(env, approval);
  const sessionChanged = (session: SessionRow): void => live.tell({ kind: "session", session });

  const people = new People(sql);
  const secrets = new GatewaySecrets(meta);
  const authority = new Authority(config, people);
  const configurations = new Configurations(sql, {
    secrets,
    authority,
    record,
    changed: (snapshot) => {
      live.tell({ kind: "config", version: snapshot.version });
      return sessions.push(snapshot);
    },
  });

  const keys = new SigningKeys(sql);
  const keySource = createKeySource((url, init) => fetch(url, init), new ProviderKeys(sql));
  const identity = new Identity({
    sql,
    keys,
    keySource,
    config,
    gateway: publicUrl,
    record,
    seen: (principal, at) => people.seen(principal, at),
  });
  const logins = new LoginDesk(identity.saml, { config, record });
  const browsers = new ConsoleSessions(sql, {
    issuers: () => config()?.issuers ?? [],
    secret,
    keySource,
    publicUrl,
    stillGood: (token) => identity.stillGood(token, Date.now()),
    seen: (principal, at) => people.seen(principal, at),
    record,
  });

  const index = new SessionIndex(sql);
  const sessions = new SessionDirectory(index, {
    session: (id) => sessionOf(env, id),
    authority,
    snapshot: () => configurations.snapshot(),
    stillGood: (token) => identity.stillGood(token, Date.now()),
    record,
    changed: sessionChanged,
  });
  const tasks = new TaskDesk({ identity, authority, sessions });
  const accessChanged = (): void => live.tell({ kind: "people" });
  const revocations = new RevocationDesk({
    identity,
    authority,
    sessions,
    tasks,
    record,
    changed: accessChanged,
  });
  const directories = new DirectoryDesk(new ScimService(identity.directory, record), {
    settings: () => config()?.directories ?? [],
    sessions,
    revocations,
    changed: accessChanged,
  });

  const stored = new Approvals(sql);
  const approvals = new ApprovalDesk(stored, {
    record,
    mayDecide: (principal, resource) => authority.authorize(principal, resource, "approval:decide"),
    tell: (session, outcome) =>
      sessionOf(env, session)
        .approvalOutcome(outcome)
        .catch(() => false),
    changed: (approval, event) => {
      live.tell({ kind: "approval", approval });
      if (event === undefined) return;
      outbox.put(approval, event, Date.now());
      ctx.waitUntil(upkeep.schedule());
    },
  });
  const outbox = new Outbox(sql, {
    targets: () => config()?.notifications ?? [],
    secret,
    approval: (id, now) => {
      const found = stored.get(id, now);
      return found.ok ? found.value : undefined;
    },
    link,
    record,
  });
  const slack = new SlackDesk(sql, {
    targets: () => config()?.notifications ?? [],
    secret,
    people,
    current: (principal, at) => identity.current(principal, at),
    decide: (principal, id, verdict) => approvals.decide(principal, id, verdict, Date.now()),
    link,
    later: (work) => ctx.waitUntil(work),
  });

  const connectors = new ConnectorDesk(sql, {
    connector: (name) => connectorOf(env, name),
    authority,
    record,
    endSessions: (connector, why) => {
      const served = config()?.resources.filter((resource) => resource.connector === connector) ?? [];
      return sessions.endThoseOf(new Set(served.map(({ name }) => name)), why);
    },
  });
  const activity = new Activity(sql, {
    sessions: index,
    approvals: stored,
    authority,
    config,
    changed: sessionChanged,
  });
  const live: LiveStreams = new LiveStreams(sql, {
    sockets: () => ctx.getWebSockets(LIVE),
    admit: (viewer) => admitViewer(viewer, browsers, identity, Date.now()),
    pending: (principal) => approvals.list(principal, true, MOST_SHOWN, Date.now()),
    live: (principal) => sessions.list(principal, true, MOST_SHOWN),
    approval: (principal, approval) => {
      const now = Date.now();
      return approvals.maySee(principal, approval, now)
        ? approvals.show(principal, approval, now)
        : undefined;
    },
    maySeeSession: (principal, session) => authority.maySee(principal, session),
    maySeeResource: (principal, resource) => authority.authorize(principal, resource, "session:replay").ok,
  });
  const upkeep = new Upkeep({ storage: ctx.storage, approvals, outbox, identity, tasks, sessions });

  return {
    meta,
    secrets,
    authority,
    configurations,
    keys,
    identity,
    logins,
    browsers,
    index,
    sessions,
    tasks,
    revocations,
    directories,
    approvals,
    outbox,
    slack,
    connectors,
    activity,
    live,
    upkeep,
  };
}
