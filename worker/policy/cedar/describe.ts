/** Actions in words, for refusals and notices: what was about to happen, never with what values. */
import type { Action, KubernetesFacts, KubernetesVerb, PostgresFacts, PostgresVerb } from "../types.ts";

const POSTGRES_WORDS: Readonly<Record<PostgresVerb, string>> = {
  select: "SELECT",
  insert: "INSERT",
  update: "UPDATE",
  delete: "DELETE",
  truncate: "TRUNCATE",
  merge: "MERGE",
  schema: "a schema change",
  grant: "a change of roles or privileges",
  copy_program: "a program or file on the server",
  call: "CALL or DO",
  session: "a session command",
  transaction: "a transaction command",
  lock: "LOCK",
  maintenance: "a maintenance command",
};

const SHOWN_RELATIONS = 5;

/** For example `DELETE without WHERE on public.orders`. */
export function describeAction(action: Action): string {
  switch (action.action) {
    case "reveal":
      return `seeing ${action.facts.relation}.${action.facts.column} unmasked`;
    case "approval:decide":
      return "deciding approvals";
    case "session:replay":
      return "replaying sessions";
    case "session:watch":
      return "watching sessions";
    case "session:kill":
      return "ending sessions";
    case "config:read":
      return "reading the configuration";
    case "config:write":
      return "changing the configuration";
    case "identity:write":
      return "managing identities";
    case "http:read":
    case "http:write": {
      const { method, path, upgrade, graphqlOperation, graphqlFields } = action.facts;
      if (graphqlOperation !== "") return `the GraphQL ${graphqlOperation} ${graphqlFields.join(", ")}`;
      return `${upgrade ? "a WebSocket to" : method} ${path}`;
    }
    case "ssh:exec":
      return action.facts.plain
        ? `the command ${action.facts.program}`
        : `a command that is not plain (${action.facts.construct.replaceAll("_", " ")})`;
    case "ssh:shell":
      return "a shell";
    case "ssh:sftp_read":
    case "ssh:sftp_write": {
      const { operation, path } = action.facts;
      const words = `${operation.replaceAll("_", " ")} (${action.action === "ssh:sftp_read" ? "read" : "change"})`;
      return path === "" ? words : `${words} of ${path}`;
    }
    case "ssh:forward":
      return `a forward to ${action.facts.host}:${action.facts.port}`;
    case "ssh:remote_forward":
      return `a remote forward from ${action.facts.host}:${action.facts.port}`;
    case "kubernetes:discover":
    case "kubernetes:nonresource":
    case "kubernetes:get":
    case "kubernetes:list":
    case "kubernetes:watch":
    case "kubernetes:create":
    case "kubernetes:update":
    case "kubernetes:patch":
    case "kubernetes:delete":
    case "kubernetes:deletecollection":
    case "kubernetes:exec":
    case "kubernetes:attach":
    case "kubernetes:portforward":
    case "kubernetes:proxy":
      return describeKubernetes(action.action.slice("kubernetes:".length) as KubernetesVerb, action.facts);
    default:
      return describePostgres(action.action.slice("postgres:".length) as PostgresVerb, action.facts);
  }
}

/** For example `delete deployments.apps/web in shop`. */
function describeKubernetes(verb: KubernetesVerb, facts: KubernetesFacts): string {
  if (facts.resource === "") return `${verb === "discover" ? "reading" : "a request to"} ${facts.path}`;
  const group = facts.group === "" ? "" : `.${facts.group}`;
  const name = facts.name === "" ? "" : `/${facts.name}`;
  const subresource = ["", verb].includes(facts.subresource) ? "" : ` (${facts.subresource})`;
  const namespace = facts.namespace === "" || facts.resource === "namespaces" ? "" : ` in ${facts.namespace}`;
  return `${verb} ${facts.resource}${group}${name}${subresource}${namespace}${facts.dryRun ? " as a dry run" : ""}`;
}

function describePostgres(verb: PostgresVerb, facts: PostgresFacts): string {
  const words = POSTGRES_WORDS[verb] ?? verb;
  const where = facts.hasWhere ? "" : " without WHERE";
  const relations = facts.writes.length > 0 ? facts.writes : facts.reads;
  if (relations.length === 0) return `${words}${where}`;
  const shown = relations.slice(0, SHOWN_RELATIONS).join(", ");
  const more = relations.length > SHOWN_RELATIONS ? ` and ${relations.length - SHOWN_RELATIONS} more` : "";
  return `${words}${where} on ${shown}${more}`;
}
