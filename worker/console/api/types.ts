/** What the gateway's API answers (docs/api.md), as far as the console uses it. Times are RFC 3339, UTC. */
import type { Principal } from "../../policy/types.ts";

export type { Principal } from "../../policy/types.ts";

export type Effect = "allow" | "hold" | "deny";

export type Policy = { readonly id: string; readonly reason?: string };

export type Requirement = {
  readonly policy: string;
  readonly group: string;
  readonly groups?: readonly string[];
  readonly quorum: number;
  readonly escalate?: { readonly groups: readonly string[]; readonly afterSeconds: number };
};

export type ApprovalStatus = "pending" | "approved" | "denied" | "expired" | "withdrawn" | "used";

export type Decision = {
  readonly reviewer: Principal;
  readonly verdict: "approve" | "deny";
  readonly comment?: string;
  readonly at: string;
};

export type Estimate =
  | {
      readonly rows: number;
      readonly cost: number;
      readonly relations: readonly { readonly relation: string; readonly rows: number }[];
    }
  | { readonly unavailable: string };

export type Similar = {
  readonly id: string;
  readonly status: ApprovalStatus;
  readonly requester: Principal;
  readonly text: string;
  readonly createdAt: string;
  readonly comment?: string;
};

export type Approval = {
  readonly id: string;
  readonly status: ApprovalStatus;
  readonly resource: string;
  readonly session: string;
  readonly requester: Principal;
  readonly parties?: readonly Principal[];
  readonly task?: string;
  readonly operation: {
    readonly action: readonly string[];
    readonly text: string;
    readonly formatted?: string;
    readonly parameters?: readonly (string | null)[];
    readonly hash: string;
    readonly relations?: { readonly reads: readonly string[]; readonly writes: readonly string[] };
    readonly shape?: { readonly text: string; readonly hash: string };
  };
  readonly reason?: string;
  readonly requirements: readonly Requirement[];
  readonly decisions: readonly Decision[];
  readonly policies: readonly Policy[];
  readonly createdAt: string;
  readonly expiresAt: string;
  readonly escalatedAt?: string;
  readonly estimate?: Estimate;
  readonly before?: readonly {
    readonly at: string;
    readonly text: string;
    readonly effect: Effect;
    readonly rows?: number;
  }[];
  readonly batchLimit?: number;
  readonly batch?: { readonly uses: number; readonly left: number; readonly until: string };
  readonly mayDecide?: boolean;
  readonly similar?: readonly Similar[];
};

export type Session = {
  readonly id: string;
  readonly resource: string;
  readonly protocol: string;
  readonly principal: Principal;
  readonly actors?: readonly Principal[];
  readonly startedAt: string;
  readonly endedAt?: string;
  readonly status: "live" | "ended";
  readonly endReason?: string;
  readonly operations: number;
  readonly denied: number;
  readonly held: number;
  readonly rows: number;
};

export type Match = {
  readonly seq: number;
  readonly at: string;
  readonly text: string;
  readonly actions: readonly string[];
  readonly effect: Effect;
  readonly rows?: number;
};

export type FoundSession = Session & { readonly matches?: readonly Match[] };

export type RecordedEvent = {
  readonly seq: number;
  readonly at: string;
  readonly previous: string;
  readonly hash: string;
  readonly json: string;
  readonly body: { readonly type: string; readonly [field: string]: unknown };
};

export type Head = { readonly seq: number; readonly hash: string };

export type Events = {
  readonly events: readonly RecordedEvent[];
  readonly head: Head;
  readonly more: boolean;
};

/** Who looks at the console, and what policy lets them do. */
export type Identity = {
  readonly principal: Principal;
  readonly expiresAt: string;
  readonly csrf: string;
  readonly may: {
    readonly gateway: readonly string[];
    readonly resources: Readonly<Record<string, readonly string[]>>;
  };
};

export type ListedResource = {
  readonly name: string;
  readonly protocol: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly connector: string;
  readonly online: boolean;
  readonly database?: string;
};

export type ResourceDetails = ListedResource & {
  readonly masks: readonly { readonly column: string; readonly mask: string }[];
  readonly rows: readonly { readonly relation: string; readonly condition: string }[];
  readonly detectors: string;
};

export type WhoMay = {
  readonly answers: readonly {
    readonly principal?: Principal;
    readonly group?: string;
    readonly effect: Effect;
    readonly policies: readonly string[];
    readonly requirements?: readonly Requirement[];
  }[];
  readonly notes: readonly string[];
};

export type ConfigError = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

export type Files = Readonly<Record<string, string>>;

export type Configuration = { readonly version: number; readonly files: Files };

export type ConfigVersion = {
  readonly version: number;
  readonly at: string;
  readonly by: Principal | "bootstrap";
  readonly digest: string;
};

export type ConfigDiff = {
  readonly changes: readonly string[];
  readonly files: readonly {
    readonly path: string;
    readonly change: "added" | "removed" | "changed";
    readonly lines: readonly DiffLine[];
  }[];
  readonly version: number;
};

export type DiffLine = {
  readonly kind: " " | "+" | "-";
  readonly text: string;
  readonly before?: number;
  readonly after?: number;
};

export type Explanation = {
  readonly effect: Effect;
  readonly policies: readonly Policy[];
  readonly requirements?: readonly Requirement[];
  readonly refusal?: { readonly code: string; readonly message: string; readonly hint?: string };
  readonly actions: readonly {
    readonly action: string;
    readonly facts: Readonly<Record<string, unknown>>;
    readonly effect: Effect;
    readonly policies: readonly Policy[];
  }[];
  readonly rewritten?: string;
  readonly notes: readonly string[];
};

export type Statistics = {
  readonly from: string;
  readonly to: string;
  readonly bucketSeconds: number;
  readonly buckets: readonly {
    readonly at: string;
    readonly allow: number;
    readonly hold: number;
    readonly deny: number;
  }[];
  readonly resources: readonly {
    readonly resource: string;
    readonly operations: number;
    readonly held: number;
    readonly denied: number;
  }[];
  readonly waiting: { readonly count: number; readonly median: number | null; readonly p95: number | null };
  readonly approvals: Readonly<Record<"approved" | "denied" | "expired" | "withdrawn" | "pending", number>>;
  readonly people: readonly {
    readonly issuer: string;
    readonly subject: string;
    readonly name: string;
    readonly operations: number;
    readonly held: number;
    readonly denied: number;
  }[];
  readonly relations: readonly {
    readonly relation: string;
    readonly reads: number;
    readonly writes: number;
  }[];
};

/** Frames of `/v1/stream`. */
export type StreamFrame =
  | {
      readonly type: "hello";
      readonly groups: readonly string[];
      readonly approvals: readonly Approval[];
      readonly sessions: readonly Session[];
    }
  | { readonly type: "approval"; readonly approval: Approval }
  | { readonly type: "session"; readonly session: Session }
  | { readonly type: "removed"; readonly approval?: string; readonly session?: string }
  | { readonly type: "config"; readonly version: number }
  | { readonly type: "connector"; readonly name: string; readonly online: readonly string[] };
