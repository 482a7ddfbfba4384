/**
 * The nouns of policy, shared by every protocol. Plain data, no behaviour (DESIGN sections 1 and 4).
 */
import type { Refusal } from "../../wire/refusals.ts";

/** Who acts, as established by one verified token. */
export type Principal = {
  readonly type: "User" | "Workload";
  readonly issuer: string;
  readonly subject: string;
  /** What people call them (e-mail or user name); for display only, never for a decision. */
  readonly name: string;
  readonly groups: readonly string[];
};

export type Protocol = "postgres" | "ssh" | "http" | "kubernetes";

/** How a masked column is shown (DESIGN section 5). `sql` is an administrator's own expression over `value`. */
export type MaskKind =
  | "null"
  | "full"
  | "last4"
  | "first1"
  | "email"
  | "hash"
  | "date_year"
  | "round"
  | "sql";

export type ColumnMask = {
  readonly schema: string;
  readonly relation: string;
  readonly column: string;
  readonly mask: MaskKind;
  /** `round`: the step to round to. */
  readonly step?: number;
  /** `sql`: an expression in which `value` stands for the column. */
  readonly expression?: string;
};

/** How a field of JSON is shown; the kinds that need a database to compute them are not among them. */
export type FieldMask = {
  /** As written, such as `customer.ssn` (wire/http/json-paths.ts). */
  readonly field: string;
  readonly mask: Exclude<MaskKind, "sql">;
  readonly step?: number;
};

export type HttpOptions = {
  /** Templates such as `/orders/{id}`. */
  readonly routes: readonly string[];
  /** Paths of GraphQL endpoints. */
  readonly graphql: readonly string[];
  /** Fields of JSON request bodies that policy is told. */
  readonly bodyFields: readonly string[];
  readonly masks: readonly FieldMask[];
  /** What becomes of an answer that masks or detectors should see and cannot read. */
  readonly uninspectable: "allow" | "deny";
  /** Whether an answer may send the client to another service. */
  readonly redirects: "same" | "any";
};

/** How a field of Kubernetes objects is shown. */
export type KubernetesMask = FieldMask & {
  /** As kubectl writes it: `secrets`, `widgets.example.com`, `serviceaccounts/token`; `*` is every one. */
  readonly resource: string;
};

export type KubernetesOptions = { readonly masks: readonly KubernetesMask[] };

/** Rows of a relation that a principal without `reveal` may see. */
export type RowFilter = { readonly schema: string; readonly relation: string; readonly condition: string };

export type Resource = {
  readonly name: string;
  readonly protocol: Protocol;
  readonly connector: string;
  readonly labels: Readonly<Record<string, string>>;
  /** The database's real name, `postgres` only; a client may name either this or the resource. */
  readonly database?: string;
  /** Login names that a client may choose, `ssh` only, the first for whoever names none of them; empty: the connector's own. */
  readonly logins?: readonly string[];
  readonly masks: readonly ColumnMask[];
  readonly rows: readonly RowFilter[];
  /** Functions outside the allow-list that the administrator trusts not to leak, as `schema.name`. */
  readonly trustedFunctions: readonly string[];
  /** `http` only. */
  readonly http?: HttpOptions;
  /** `kubernetes` only. */
  readonly kubernetes?: KubernetesOptions;
  readonly detectors: "off" | "mask" | "block";
  /** Bytes of results kept per operation in the recording; beyond it only a digest and counts. */
  readonly recordResultBytes: number;
  /** Milliseconds that an operation inside a transaction may be held. */
  readonly heldInTransaction: number;
  /** Milliseconds after which a client whose operation is held is told again; absent: LIMITS.time.heldReminder. */
  readonly heldReminder?: number;
  /** Milliseconds after which an approval that nobody decided or used expires; absent: LIMITS.time.approval. */
  readonly approvalExpires?: number;
};

/** A relation as `schema.name`, or the bare name where the statement did not qualify it. */
export type RelationName = string;

/**
 * What policy is told about one action of an operation: facts, not text (DESIGN section 4). An operation
 * can imply several (a CTE that deletes under a SELECT); each is decided and the strictest answer wins.
 */
export type Action =
  | { readonly action: `postgres:${PostgresVerb}`; readonly facts: PostgresFacts }
  | { readonly action: "ssh:exec"; readonly facts: SshExecFacts }
  | { readonly action: "ssh:shell"; readonly facts: SshShellFacts }
  | { readonly action: "ssh:sftp_read" | "ssh:sftp_write"; readonly facts: SshSftpFacts }
  | { readonly action: "ssh:forward" | "ssh:remote_forward"; readonly facts: SshForwardFacts }
  | { readonly action: `http:${HttpVerb}`; readonly facts: HttpFacts }
  | { readonly action: `kubernetes:${KubernetesPlainVerb}`; readonly facts: KubernetesFacts }
  | { readonly action: `kubernetes:${KubernetesWriteVerb}`; readonly facts: KubernetesWriteFacts }
  | { readonly action: "kubernetes:exec"; readonly facts: KubernetesExecFacts }
  | { readonly action: "kubernetes:attach"; readonly facts: KubernetesAttachFacts }
  | { readonly action: "kubernetes:portforward"; readonly facts: KubernetesPortForwardFacts }
  | { readonly action: "kubernetes:proxy"; readonly facts: KubernetesProxyFacts }
  | {
      readonly action: "reveal";
      readonly facts: { readonly relation: RelationName; readonly column: string };
    }
  | { readonly action: AdminVerb; readonly facts: Readonly<Record<string, never>> };

export type AdminVerb =
  | "approval:decide"
  | "session:replay"
  | "session:watch"
  | "session:kill"
  | "config:read"
  | "config:write"
  | "identity:write";

export type PostgresVerb =
  | "select"
  | "insert"
  | "update"
  | "delete"
  | "truncate"
  | "merge"
  | "schema" // DDL
  | "grant" // GRANT, REVOKE, roles, ownership
  | "copy_program" // COPY ... PROGRAM and server-side files
  | "call" // CALL, DO
  | "session" // SET, SHOW, RESET, DISCARD, LISTEN, NOTIFY, PREPARE and cursor housekeeping
  | "transaction" // BEGIN, COMMIT, ROLLBACK, SAVEPOINT
  | "lock" // LOCK TABLE
  | "maintenance"; // VACUUM, ANALYZE, REINDEX, CLUSTER, CHECKPOINT, REFRESH MATERIALIZED VIEW

export type PostgresFacts = {
  /** Relations this action reads. */
  readonly reads: readonly RelationName[];
  /** Relations this action changes. */
  readonly writes: readonly RelationName[];
  /** UPDATE and DELETE: is there a WHERE clause? True for verbs to which it does not apply. */
  readonly hasWhere: boolean;
  /** Functions called, as `schema.name` or bare lower-case name. */
  readonly functions: readonly string[];
};

export type SshVerb =
  | "exec" // one command
  | "shell" // an interactive login, whatever is typed in it
  | "sftp_read" // one SFTP request that reads
  | "sftp_write" // one SFTP request that changes something
  | "forward" // a connection from the server to somewhere (ssh -L, -D, -W)
  | "remote_forward"; // a port of the server that leads to the client (ssh -R)

export type SshExecFacts = {
  /** Login name at the server; "" where the connector alone chooses it. */
  readonly login: string;
  /** A terminal was asked for. */
  readonly terminal: boolean;
  /** One program with literal arguments, in every common shell; the rest is only there when this is true. */
  readonly plain: boolean;
  /** What makes it not plain (wire/ssh/command-line.ts), else "none". */
  readonly construct: string;
  /** The words in canonical quoting, joined by single spaces; "" when not plain. */
  readonly command: string;
  /** argv[0] as it is written; "" when not plain. */
  readonly program: string;
  /** The words after the program; a set, so without order and repetition: `command` has both. */
  readonly arguments: readonly string[];
  readonly argumentCount: number;
  /** Known to run other programs, by its name or an option. True when not plain. */
  readonly wrapper: boolean;
};

export type SshShellFacts = { readonly login: string; readonly terminal: boolean };

export type SshSftpFacts = {
  readonly login: string;
  /** Name of the request: open, read, write, remove, rename, ... (wire/ssh/sftp.ts). */
  readonly operation: string;
  /** Absolute, without `..`, symbolic links resolved by the server; "" for requests that name none. */
  readonly path: string;
};

export type SshForwardFacts = {
  readonly login: string;
  /** As the client wrote it, in lower case. The server resolves it: compare with what is allowed, not with what is not. */
  readonly host: string;
  readonly port: number;
};

export type HttpVerb =
  | "read" // GET, HEAD, OPTIONS, and a GraphQL query
  | "write"; // everything else, and every WebSocket

export type HttpFacts = {
  readonly method: string;
  /** Canonical, without the query. */
  readonly path: string;
  /** The configured template that the path fits, such as `/orders/{id}`; "" for none. */
  readonly route: string;
  readonly queryKeys: readonly string[];
  /** Media type in lower case without parameters; "" for none. */
  readonly contentType: string;
  /** Values of the body fields that the configuration names, as `name=value`. */
  readonly body: readonly string[];
  /** A WebSocket: what goes over it is recorded, not decided. */
  readonly upgrade: boolean;
  /** `query`, `mutation`, `subscription`; "" outside GraphQL routes. */
  readonly graphqlOperation: string;
  readonly graphqlFields: readonly string[];
  /** gRPC and gRPC-Web; "" otherwise. */
  readonly grpcService: string;
  readonly grpcMethod: string;
};

export type KubernetesPlainVerb =
  | "discover" // what clients find their way by: /api, /apis, /openapi, /version, health
  | "nonresource" // every other path that is no resource, and changes of the above
  | "get"
  | "list"
  | "watch"
  | "delete"
  | "deletecollection";

export type KubernetesWriteVerb = "create" | "update" | "patch";

export type KubernetesVerb =
  | KubernetesPlainVerb
  | KubernetesWriteVerb
  | "exec" // a program in a container, whatever the method; `nodes/proxy` too, because the kubelet runs programs
  | "attach"
  | "portforward"
  | "proxy"; // a request to a pod, service or node

/** As the API server's own RequestInfo has it, except where the comment says otherwise. */
export type KubernetesFacts = {
  /** "" for the core group. */
  readonly group: string;
  readonly version: string;
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  /** Without the scheme and port that a proxied name may have. */
  readonly name: string;
  /** Canonical, without the query. */
  readonly path: string;
  /** The whole request is a dry run. */
  readonly dryRun: boolean;
};

/** What a written object, or a patch of one, asks for. */
export type KubernetesBodyFacts = {
  readonly kind: string;
  readonly privileged: boolean;
  /** `network`, `pid`, `ipc`: those of the node. */
  readonly hostNamespaces: readonly string[];
  readonly hostPaths: readonly string[];
  readonly images: readonly string[];
  /** Linux capabilities that are added. */
  readonly capabilities: readonly string[];
  readonly serviceAccounts: readonly string[];
  /** Names of Secrets that a pod would be given. */
  readonly secrets: readonly string[];
  /** Role that a binding gives, as `ClusterRole/cluster-admin`; "" for none. */
  readonly roleRef: string;
};

/** Without `body` when it cannot be read: a policy that needs it then fails, which denies. */
export type KubernetesWriteFacts = KubernetesFacts & {
  readonly bodyReadable: boolean;
  readonly body?: KubernetesBodyFacts;
};

export type KubernetesAttachFacts = KubernetesFacts & {
  /** "" for the pod's default container. */
  readonly container: string;
  readonly stdin: boolean;
  readonly terminal: boolean;
};

export type KubernetesExecFacts = KubernetesAttachFacts & {
  /** The words of the command are known; the rest is only there when this is true. */
  readonly plain: boolean;
  /** The words in canonical quoting, joined by single spaces. */
  readonly command: string;
  readonly program: string;
  /** A set, so without order and repetition: `command` has both. */
  readonly arguments: readonly string[];
  readonly argumentCount: number;
  /** Known to run other programs, such as a shell. True when not plain. */
  readonly wrapper: boolean;
};

/** Ports are empty for a tunnel, which names them inside. */
export type KubernetesPortForwardFacts = KubernetesFacts & { readonly ports: readonly string[] };

export type KubernetesProxyFacts = KubernetesFacts & {
  readonly method: string;
  /** Name or number as written, "" for the default. */
  readonly port: string;
};

/** The unit of policy, approval and recording: one statement (or one Query message, which is atomic). */
export type Operation = {
  readonly actions: readonly Action[];
  /** The exact text as the client sent it; bound into an approval by hash, never given to policy. */
  readonly text: string;
};

/** A policy that determined a decision. */
export type DeterminingPolicy = { readonly id: string; readonly reason?: string };

/** What a held operation waits for: `quorum` distinct people, each in one of the groups. */
export type HoldRequirement = {
  readonly policy: string;
  /** The group, or several as people read them: `dba or security`. Membership is asked of `groupsOf`. */
  readonly group: string;
  /** Members of any one of these count; absent: of `group`. */
  readonly anyOf?: readonly string[];
  readonly quorum: number;
  /** Members of these count too, `after` milliseconds from the request on. */
  readonly escalate?: { readonly groups: readonly string[]; readonly after: number };
  /** Most uses that reviewers may grant at once for statements of the same shape; absent: none. */
  readonly batch?: number;
};

export type Decision =
  | { readonly effect: "allow"; readonly policies: readonly DeterminingPolicy[] }
  | {
      readonly effect: "hold";
      readonly policies: readonly DeterminingPolicy[];
      /** Every one of these has to be met. */
      readonly requirements: readonly HoldRequirement[];
    }
  | { readonly effect: "deny"; readonly policies: readonly DeterminingPolicy[]; readonly refusal: Refusal };
