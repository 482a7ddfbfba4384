/** What a request to a cluster means for policy: its actions with their facts, and the text that people are shown. */
import { type HeaderField, headerOf } from "../../../wire/http/headers.ts";
import type { Value } from "../../../wire/kubernetes/value.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { canonicalText, isWrapper } from "../../../wire/ssh/command-line.ts";
import { type HttpRequest, mediaType } from "../http/operations.ts";
import type {
  Action,
  KubernetesBodyFacts,
  KubernetesExecFacts,
  KubernetesFacts,
  Operation,
} from "../types.ts";
import { type KubernetesBody, bodyFacts, isDryRun, readKubernetesBody } from "./body.ts";
import { checkWrite } from "./masked-writes.ts";
import type { AppliedMask } from "./masks.ts";
import { type RequestInfo, requestInfo } from "./request-info.ts";
import { requestText } from "./request-text.ts";

/** Whether the decision needs the body: every change of an object has one that says what it is. */
export function kubernetesNeedsBody(request: HttpRequest): boolean {
  if (!request.hasBody || request.upgrade) return false;
  const info = requestInfo(request);
  return info.ok && isChange(info.value);
}

function isChange({ verb, resource }: RequestInfo): boolean {
  return resource !== "" && ["create", "update", "patch", "delete", "deletecollection"].includes(verb);
}

/**
 * The operation that a request stands for.
 *
 * @param body the whole body where `kubernetesNeedsBody` asked for it
 * @param masks those that apply to the principal here (`appliedMasks`)
 */
export function kubernetesOperation(
  request: HttpRequest,
  body: Uint8Array | undefined,
  masks: readonly AppliedMask[],
): Result<Operation, Refusal> {
  const parsed = requestInfo(request);
  if (!parsed.ok) return parsed;
  const info = parsed.value;
  // Where none belongs it would be the server's to ignore or not.
  if (request.hasBody && !isChange(info) && info.verb !== "proxy" && info.verb !== "nonresource") {
    return err(refusal("request_invalid", "this request to the cluster has a body, which it has no use for"));
  }
  const given =
    isChange(info) && body !== undefined && body.length > 0 ? bodyOf(request.headers, body) : undefined;
  const read = given === undefined ? undefined : readKubernetesBody(info, given);
  const value = read?.ok === true ? read.value : undefined;
  if (given !== undefined) {
    const checked = checkWrite(given, value, masks);
    if (!checked.ok) return checked;
  }
  return ok({
    actions: actionsOf(info, given, value),
    text: requestText(request, info),
  });
}

function bodyOf(headers: readonly HeaderField[], bytes: Uint8Array): KubernetesBody {
  const encoding = headerOf(headers, "content-encoding")?.trim().toLowerCase() ?? "";
  return { type: mediaType(headers), encoding, bytes };
}

function actionsOf(
  info: RequestInfo,
  body: KubernetesBody | undefined,
  value: Value | undefined,
): readonly Action[] {
  const { verb } = info;
  const facts = baseFacts(info);
  switch (verb) {
    case "discover":
    case "nonresource":
    case "get":
    case "list":
    case "watch":
      return [{ action: `kubernetes:${verb}`, facts }];
    case "delete":
    case "deletecollection": {
      const dryRun = body === undefined ? facts.dryRun : value !== undefined && isDryRun(value);
      return [{ action: `kubernetes:${verb}`, facts: { ...facts, dryRun } }];
    }
    case "create":
    case "update":
    case "patch": {
      const asked = written(body, value);
      const known = asked === undefined ? { bodyReadable: false } : { bodyReadable: true, body: asked };
      return [{ action: `kubernetes:${verb}`, facts: { ...facts, ...known } }];
    }
    case "exec":
      return [{ action: "kubernetes:exec", facts: execFacts(facts, info) }];
    case "attach": {
      const { container = "", stdin = false, tty: terminal = false } = info.stream ?? {};
      return [{ action: "kubernetes:attach", facts: { ...facts, container, stdin, terminal } }];
    }
    case "portforward":
      return [
        { action: "kubernetes:portforward", facts: { ...facts, ports: [...new Set(info.stream?.ports)] } },
      ];
    case "proxy": {
      const proxy: Action = {
        action: "kubernetes:proxy",
        facts: { ...facts, method: info.method, port: info.port },
      };
      // A node's kubelet runs programs in its pods for whoever may talk to it, by GET too.
      return info.resource === "nodes"
        ? [proxy, { action: "kubernetes:exec", facts: execFacts(facts, info) }]
        : [proxy];
    }
  }
}

function baseFacts(info: RequestInfo): KubernetesFacts {
  const { group, version, resource, subresource, namespace, name, path, dryRun } = info;
  return { group, version, resource, subresource, namespace, name, path, dryRun };
}

const NOTHING: KubernetesBodyFacts = {
  kind: "",
  privileged: false,
  hostNamespaces: [],
  hostPaths: [],
  images: [],
  capabilities: [],
  serviceAccounts: [],
  secrets: [],
  roleRef: "",
};

/** What the body asks for; undefined when nobody can say. */
function written(
  body: KubernetesBody | undefined,
  value: Value | undefined,
): KubernetesBodyFacts | undefined {
  if (body === undefined) return NOTHING;
  if (value === undefined) return undefined;
  const facts = bodyFacts(value, body.type);
  return facts.ok ? facts.value : undefined;
}

function execFacts(facts: KubernetesFacts, { verb, stream }: RequestInfo): KubernetesExecFacts {
  const { container = "", stdin = false, tty: terminal = false, command = [] } = stream ?? {};
  const base = { ...facts, container, stdin, terminal };
  if (verb !== "exec") {
    // What is not known counts as the worst, so that `unless { context.wrapper }` needs no second condition.
    return {
      ...base,
      stdin: true,
      terminal: true,
      plain: false,
      command: "",
      program: "",
      arguments: [],
      argumentCount: 0,
      wrapper: true,
    };
  }
  const [program = "", ...rest] = command;
  return {
    ...base,
    plain: true,
    command: canonicalText(command),
    program,
    arguments: [...new Set(rest)],
    argumentCount: rest.length,
    wrapper: isWrapper(command),
  };
}
