/**
 * What policies can speak about. Policies are checked against this schema before they are stored, so a
 * misspelt attribute is an error at its line and column and not a policy that silently never applies.
 *
 * A new protocol adds its verbs to `PROTOCOL_ACTIONS`, its facts to the schema's text, and a line to
 * `worker/policy/cedar/describe.ts`.
 *
 * Two choices that a policy author meets:
 *  - A principal's identity is `User::"<issuer>#<subject>"`, so that two issuers can never mean the same
 *    person. An issuer is a URL without fragment (OpenID Connect Core 1.0 section 2), so the first `#`
 *    separates them. The display name is no attribute: it can change hands.
 *  - Labels are a set of `"key=value"`, because `resource.labels.contains("env=production")` reads well and
 *    cannot fail on a resource without that label.
 */
import type { AdminVerb, HttpVerb, KubernetesVerb, PostgresVerb, SshVerb } from "../types.ts";

/** Action groups and their members; a policy may name either: `action in Action::"postgres"`. */
export const POSTGRES_VERBS = [
  "select",
  "insert",
  "update",
  "delete",
  "truncate",
  "merge",
  "schema",
  "grant",
  "copy_program",
  "call",
  "session",
  "transaction",
  "lock",
  "maintenance",
] as const satisfies readonly PostgresVerb[];

export const SSH_VERBS = [
  "exec",
  "shell",
  "sftp_read",
  "sftp_write",
  "forward",
  "remote_forward",
] as const satisfies readonly SshVerb[];

export const HTTP_VERBS = ["read", "write"] as const satisfies readonly HttpVerb[];

/** Verbs whose context is the request alone. */
const KUBERNETES_PLAIN_VERBS = [
  "discover",
  "nonresource",
  "get",
  "list",
  "watch",
  "delete",
  "deletecollection",
] as const satisfies readonly KubernetesVerb[];

/** Verbs whose context has the body besides. */
const KUBERNETES_WRITE_VERBS = ["create", "update", "patch"] as const satisfies readonly KubernetesVerb[];

export const KUBERNETES_VERBS = [
  ...KUBERNETES_PLAIN_VERBS,
  ...KUBERNETES_WRITE_VERBS,
  "exec",
  "attach",
  "portforward",
  "proxy",
] as const satisfies readonly KubernetesVerb[];

/** Admin verbs about what happens on one resource. */
export const RESOURCE_ADMIN_VERBS = [
  "approval:decide",
  "session:replay",
  "session:watch",
  "session:kill",
] as const satisfies readonly AdminVerb[];

/** Admin verbs about the gateway itself. */
const GATEWAY_ADMIN_VERBS = [
  "config:read",
  "config:write",
  "identity:write",
] as const satisfies readonly AdminVerb[];

type Missing<All extends string, Listed extends string> = Exclude<All, Listed>;
// A verb that is added to the types and not to these lists fails to compile here.
const complete: [
  Missing<PostgresVerb, (typeof POSTGRES_VERBS)[number]>,
  Missing<SshVerb, (typeof SSH_VERBS)[number]>,
  Missing<HttpVerb, (typeof HTTP_VERBS)[number]>,
  Missing<KubernetesVerb, (typeof KUBERNETES_VERBS)[number]>,
  Missing<AdminVerb, (typeof RESOURCE_ADMIN_VERBS)[number] | (typeof GATEWAY_ADMIN_VERBS)[number]>,
] extends [never, never, never, never, never]
  ? true
  : false = true;
void complete;

const quoted = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(", ");

/** What every request to a cluster has. */
const KUBERNETES_CONTEXT = `
      // "" for the core group.
      group: String,
      version: String,
      resource: String,
      subresource: String,
      // "" for what is in no namespace, and for requests over all of them.
      namespace: String,
      // "" where the path names no object, as for list, deletecollection and most of create.
      name: String,
      // Canonical, without the query.
      path: String,
      dryRun: Bool,`;

/** The Cedar schema, in Cedar's own schema language. */
export const SCHEMA = `
entity Group;

// A human. Identity: "<issuer>#<subject>".
entity User in [Group] = { issuer: String, subject: String };

// A CI job, a service or an AI agent. Identity: "<issuer>#<subject>".
entity Workload in [Group] = { issuer: String, subject: String };

// A protected target. Identity: its name.
entity Resource = { protocol: String, connector: String, labels: Set<String> };

// The gateway itself: Gateway::"sallyport".
entity Gateway;

type PostgresFacts = {
  // Relations as "schema.name", or the bare name where the statement did not qualify it.
  reads: Set<String>,
  writes: Set<String>,
  // False for an UPDATE or DELETE without WHERE, else true.
  hasWhere: Bool,
  // Functions called, as "schema.name" or the bare name.
  functions: Set<String>,
};

// Everything one can do to a database.
action "postgres";
action ${quoted(POSTGRES_VERBS.map((verb) => `postgres:${verb}`))} in ["postgres"]
  appliesTo { principal: [User, Workload], resource: [Resource], context: PostgresFacts };

// Everything one can do on a server. In each, login is the login name there ("" where the connector chooses).
action "ssh";

// One command. It is plain when every common shell reads it as one program with literal arguments; only then
// do command, program, arguments and argumentCount say anything. construct says what made it not plain.
action "ssh:exec" in ["ssh"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {
      login: String,
      terminal: Bool,
      plain: Bool,
      construct: String,
      // The whole command in one canonical way of quoting: compare with == to allow exactly it.
      command: String,
      program: String,
      arguments: Set<String>,
      argumentCount: Long,
      // Known to run other programs, such as env, sudo, find or git; never a complete list.
      wrapper: Bool,
    },
  };

// An interactive login. What is typed in it is recorded, not decided.
action "ssh:shell" in ["ssh"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: { login: String, terminal: Bool },
  };

// One request of a file transfer. path is absolute, without "..", with symbolic links resolved.
// What names two paths, or both reads and writes, is decided for each.
action "ssh:sftp_read", "ssh:sftp_write" in ["ssh"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: { login: String, operation: String, path: String },
  };

// A connection through the server (ssh -L, -D, -W), or back from a port of it (ssh -R).
action "ssh:forward", "ssh:remote_forward" in ["ssh"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: { login: String, host: String, port: Long },
  };

// Requests to an HTTP service.
action "http";

// One request. read: GET, HEAD, OPTIONS and GraphQL queries; write: every other one, and every WebSocket.
action ${quoted(HTTP_VERBS.map((verb) => `http:${verb}`))} in ["http"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {
      method: String,
      // Canonical, without the query. route is the configured template that it fits, "" for none.
      path: String,
      route: String,
      queryKeys: Set<String>,
      contentType: String,
      // "name=value" for the body fields that the configuration names.
      body: Set<String>,
      // A WebSocket: what goes over it is recorded, not decided.
      upgrade: Bool,
      graphqlOperation: String,
      graphqlFields: Set<String>,
      grpcService: String,
      grpcMethod: String,
    },
  };

// Requests to a Kubernetes API server. Verbs are its own, except that what opens a stream has its own name.
action "kubernetes";

// discover: what every client has to read first (/api, /apis, /openapi, /version, health).
action ${quoted(KUBERNETES_PLAIN_VERBS.map((verb) => `kubernetes:${verb}`))} in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
    },
  };

// body: what the object, or the patch, asks for. When it cannot be read there is none, and a policy that needs
// it denies; one that asks for bodyReadable first can hold instead.
action ${quoted(KUBERNETES_WRITE_VERBS.map((verb) => `kubernetes:${verb}`))} in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
      bodyReadable: Bool,
      body: {
        kind: String,
        privileged: Bool,
        // "network", "pid", "ipc": those of the node.
        hostNamespaces: Set<String>,
        hostPaths: Set<String>,
        images: Set<String>,
        capabilities: Set<String>,
        serviceAccounts: Set<String>,
        // Secrets that a pod would be given, by name.
        secrets: Set<String>,
        // "ClusterRole/cluster-admin" of a binding, else "".
        roleRef: String,
      },
    },
  };

// One program in a container; also any request to a node's proxy, where the words are not known: plain is
// false then, and only plain commands have command, program, arguments and argumentCount.
action "kubernetes:exec" in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
      // "" for the pod's default container.
      container: String,
      stdin: Bool,
      terminal: Bool,
      plain: Bool,
      command: String,
      program: String,
      arguments: Set<String>,
      argumentCount: Long,
      wrapper: Bool,
    },
  };

action "kubernetes:attach" in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
      container: String,
      stdin: Bool,
      terminal: Bool,
    },
  };

// ports is empty for kubectl's tunnel, which names them inside.
action "kubernetes:portforward" in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
      ports: Set<String>,
    },
  };

// A request to a pod, a service or a node through the API server.
action "kubernetes:proxy" in ["kubernetes"]
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: {${KUBERNETES_CONTEXT}
      method: String,
      // As written, "" for the default.
      port: String,
    },
  };

// See a masked column as it is. For Kubernetes, column is the field as the masks write it ("data.*"); relation is
// the resource ("secrets"), and is asked again for the namespace ("shop/secrets") and the object ("shop/secrets/db"). For HTTP, relation is "" and column the field as the configuration writes it.
action "reveal"
  appliesTo {
    principal: [User, Workload],
    resource: [Resource],
    context: { relation: String, column: String },
  };

// Everything about the gateway's own records and configuration.
action "admin";
action ${quoted(RESOURCE_ADMIN_VERBS)} in ["admin"]
  appliesTo { principal: [User, Workload], resource: [Resource], context: {} };
action ${quoted(GATEWAY_ADMIN_VERBS)} in ["admin"]
  appliesTo { principal: [User, Workload], resource: [Gateway], context: {} };
`;

export const KNOWN_ACTIONS: ReadonlySet<string> = new Set([
  ...POSTGRES_VERBS.map((verb) => `postgres:${verb}`),
  ...SSH_VERBS.map((verb) => `ssh:${verb}`),
  ...HTTP_VERBS.map((verb) => `http:${verb}`),
  ...KUBERNETES_VERBS.map((verb) => `kubernetes:${verb}`),
  "reveal",
  ...RESOURCE_ADMIN_VERBS,
  ...GATEWAY_ADMIN_VERBS,
]);

/** The one Gateway entity. */
export const GATEWAY_ID = "sallyport";
