/** What crosses between the Control object and the others, over RPC. Plain data. */
import type { ConfigError, PolicySource } from "../../policy/cedar/engine.ts";
import type { Config } from "../../config/parse.ts";
import type { Approval, EarlierOperation, HeldOperation } from "../../policy/approval.ts";
import type { SshHostKey } from "../../identity/ssh-host-key.ts";
import type { TaskStep } from "../../policy/task.ts";
import type { DeterminingPolicy, HoldRequirement, Principal, Resource } from "../../policy/types.ts";

/** What Session objects need of the configuration. One per version, the same for everybody. */
export type Snapshot = {
  readonly version: number;
  readonly resources: readonly Resource[];
  readonly policies: readonly PolicySource[];
  /** Key of the `hash` masks of each resource, hexadecimal. A secret: it never leaves the objects. */
  readonly maskKeys: Readonly<Record<string, string>>;
  /** With its secret: it never leaves the objects either. */
  readonly sshHostKey: SshHostKey;
};

/** The stored configuration, parsed. */
export type Configuration = Snapshot & Config;

export type ApplyOutcome = {
  readonly version: number;
  readonly dryRun: boolean;
  readonly changes: readonly string[];
};

export type ApplyProblem = { readonly errors: readonly ConfigError[] };

export type SessionCounts = {
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly rows: number;
};

/** What a session that starts learns. */
export type StartedSession = { readonly version: number; readonly snapshot?: Snapshot };

/** A row of the session index. Times in milliseconds since the epoch. */
export type SessionRow = SessionCounts & {
  readonly id: string;
  readonly resource: string;
  readonly protocol: string;
  readonly principal: Principal;
  /** Who acts for the principal, the one that acts now first; undefined for nobody. */
  readonly actors?: readonly Principal[];
  /** The tasks that it runs under, the root first. */
  readonly tasks?: readonly TaskStep[];
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly status: "live" | "ended";
  readonly endReason?: string;
};

export type HoldRequest = {
  readonly session: string;
  readonly resource: string;
  readonly requester: Principal;
  /** Who else has a part in the request, and may not decide it either. */
  readonly parties: readonly Principal[];
  /** The task that it is made under. */
  readonly task?: string;
  readonly operation: HeldOperation;
  readonly requirements: readonly HoldRequirement[];
  readonly policies: readonly DeterminingPolicy[];
  readonly reason?: string;
  /** What the session did just before, oldest first. */
  readonly before?: readonly EarlierOperation[];
  /** The session waits for the outcome; else only the approval is opened. */
  readonly waiting: boolean;
  /** Milliseconds since the epoch at which the hold ends at the latest. */
  readonly expiresAt: number;
};

/**
 * `granted`: an approval for exactly this operation was there and has been used up for it, or (`batch`) one
 * use of an approval for operations of its shape. `opened`: this request opened the approval.
 */
export type HoldAnswer = {
  readonly granted: boolean;
  readonly approval: Approval;
  readonly batch?: true;
  readonly opened?: true;
};

/** What a waiting session is told. */
export type ApprovalOutcome = {
  readonly approval: string;
  readonly outcome: "approved" | "denied" | "expired";
  readonly by: readonly string[];
  readonly comment?: string;
};
