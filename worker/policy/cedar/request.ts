/** What Cedar is asked: principal, resource and facts as Cedar entities and context. */
import type { Context, Entities, EntityJson, TypeAndId } from "@cedar-policy/cedar-wasm/web";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Action, KubernetesBodyFacts, Principal, Resource } from "../types.ts";
import { GATEWAY_ID, KNOWN_ACTIONS } from "./schema.ts";

/** What an action is about: a resource, or the gateway itself (`config:read`, `config:write`). */
export type Target = Resource | "gateway";

export type CedarRequest = {
  readonly principal: TypeAndId;
  readonly action: TypeAndId;
  readonly resource: TypeAndId;
  readonly context: Context;
  readonly entities: Entities;
  /** False where a fact is missing on purpose. Not held against the schema then: only a policy that needs it fails. */
  readonly complete: boolean;
};

export type RequestProblem = "unknown_operation" | "over_limit" | "principal_malformed";

/** Cedar's identity of a principal, or undefined when its issuer could be mistaken for another. */
function principalId(principal: Principal): string | undefined {
  if (principal.issuer === "" || principal.subject === "" || principal.issuer.includes("#")) return undefined;
  return `${principal.issuer}#${principal.subject}`;
}

export function buildRequest(
  principal: Principal,
  target: Target,
  action: Action,
): Result<CedarRequest, RequestProblem> {
  if (!KNOWN_ACTIONS.has(action.action)) return err("unknown_operation");
  const context = buildContext(action);
  if (context === undefined) return err("over_limit");
  const entity = principalEntity(principal);
  if (entity === undefined) return err("principal_malformed");
  const resource = targetEntity(target);
  const complete = !("bodyReadable" in action.facts) || action.facts.bodyReadable;
  return ok({
    principal: entity.uid as TypeAndId,
    action: { type: "Action", id: action.action },
    resource: resource.uid as TypeAndId,
    context,
    entities: complete ? [entity, resource] : [entity, resource, actionEntity(action.action)],
    complete,
  });
}

function principalEntity(principal: Principal): EntityJson | undefined {
  const id = principalId(principal);
  if (id === undefined || principal.groups.length > LIMITS.http.groups) return undefined;
  return {
    uid: { type: principal.type, id },
    attrs: { issuer: principal.issuer, subject: principal.subject },
    parents: principal.groups.map((group) => ({ type: "Group", id: group })),
  };
}

/** The schema says what group an action is in; where it is not asked, the action has to say so itself. */
function actionEntity(id: string): EntityJson {
  const [group = ""] = id.split(":");
  return { uid: { type: "Action", id }, attrs: {}, parents: [{ type: "Action", id: group }] };
}

function targetEntity(target: Target): EntityJson {
  if (target === "gateway") return { uid: { type: "Gateway", id: GATEWAY_ID }, attrs: {}, parents: [] };
  return {
    uid: { type: "Resource", id: target.name },
    attrs: {
      protocol: target.protocol,
      connector: target.connector,
      labels: Object.entries(target.labels).map(([key, value]) => `${key}=${value}`),
    },
    parents: [],
  };
}

function buildContext(action: Action): Context | undefined {
  switch (action.action) {
    case "reveal":
      return { relation: action.facts.relation, column: action.facts.column };
    case "approval:decide":
    case "session:replay":
    case "session:watch":
    case "session:kill":
    case "config:read":
    case "config:write":
    case "identity:write":
      return {};
    case "ssh:exec":
      if (action.facts.arguments.length > LIMITS.policy.contextSet) return undefined;
      return { ...action.facts, arguments: [...action.facts.arguments] };
    case "http:read":
    case "http:write": {
      const { queryKeys, body, graphqlFields } = action.facts;
      if (Math.max(queryKeys.length, body.length, graphqlFields.length) > LIMITS.policy.contextSet)
        return undefined;
      return {
        ...action.facts,
        queryKeys: [...queryKeys],
        body: [...body],
        graphqlFields: [...graphqlFields],
      };
    }
    case "kubernetes:create":
    case "kubernetes:update":
    case "kubernetes:patch": {
      const { body, ...facts } = action.facts;
      if (body === undefined) return facts;
      const sets = kubernetesSets(body);
      return sets === undefined ? undefined : { ...facts, body: { ...body, ...sets } };
    }
    case "kubernetes:exec":
      if (action.facts.arguments.length > LIMITS.policy.contextSet) return undefined;
      return { ...action.facts, arguments: [...action.facts.arguments] };
    case "kubernetes:portforward":
      if (action.facts.ports.length > LIMITS.policy.contextSet) return undefined;
      return { ...action.facts, ports: [...action.facts.ports] };
    case "kubernetes:discover":
    case "kubernetes:nonresource":
    case "kubernetes:get":
    case "kubernetes:list":
    case "kubernetes:watch":
    case "kubernetes:delete":
    case "kubernetes:deletecollection":
    case "kubernetes:attach":
    case "kubernetes:proxy":
    case "ssh:shell":
    case "ssh:sftp_read":
    case "ssh:sftp_write":
    case "ssh:forward":
    case "ssh:remote_forward":
      return { ...action.facts };
    default: {
      const { reads, writes, hasWhere, functions } = action.facts;
      if (Math.max(reads.length, writes.length, functions.length) > LIMITS.policy.contextSet)
        return undefined;
      return { reads: [...reads], writes: [...writes], hasWhere, functions: [...functions] };
    }
  }
}

/** The sets of a body, as Cedar takes them; undefined when one is too large. */
function kubernetesSets(body: KubernetesBodyFacts): Record<KubernetesSet, string[]> | undefined {
  const { hostNamespaces, hostPaths, images, capabilities, serviceAccounts, secrets } = body;
  const sets = { hostNamespaces, hostPaths, images, capabilities, serviceAccounts, secrets };
  if (Object.values(sets).some((set) => set.length > LIMITS.policy.contextSet)) return undefined;
  return {
    hostNamespaces: [...hostNamespaces],
    hostPaths: [...hostPaths],
    images: [...images],
    capabilities: [...capabilities],
    serviceAccounts: [...serviceAccounts],
    secrets: [...secrets],
  };
}

type KubernetesSet =
  | "hostNamespaces"
  | "hostPaths"
  | "images"
  | "capabilities"
  | "serviceAccounts"
  | "secrets";
