/** Answers of a cluster as a client gets them: through the plan and the filter that the gateway puts them through. */
import { concat, displayUtf8, utf8 } from "../../wire/bytes.ts";
import type { HeaderField } from "../../wire/http/headers.ts";
import type { HttpMethod } from "../../wire/http/open.ts";
import { parseTarget } from "../../wire/http/target.ts";
import { planKubernetesAnswer } from "../../worker/policy/kubernetes/answers.ts";
import { createMaskFilter } from "../../worker/policy/kubernetes/mask-filter.ts";
import { type AppliedMask, appliedMasks } from "../../worker/policy/kubernetes/masks.ts";
import { type RequestInfo, requestInfo } from "../../worker/policy/kubernetes/request-info.ts";
import type { KubernetesMask } from "../../worker/policy/types.ts";

export const JSON_TYPE = "application/json";
export const YAML = "application/yaml";
export const PROTOBUF = "application/vnd.kubernetes.protobuf";
/** What must never be seen, as it is and in base64. */
export const SECRET = "hunter2-canary";
export const BASE64 = btoa(SECRET);
export const SECRETS = "GET /api/v1/namespaces/shop/secrets";
export const ONE = `${SECRETS}/db`;

export function infoOf(request: string): RequestInfo {
  const [method = "", raw = ""] = request.split(" ");
  const target = parseTarget(raw);
  const info = target.ok
    ? requestInfo({ method: method as HttpMethod, target: target.value, upgrade: false })
    : target;
  if (!info.ok) throw new Error(info.error.message);
  return info.value;
}

export type Options = {
  readonly masks?: readonly KubernetesMask[];
  readonly reveals?: readonly string[];
  readonly type?: string;
  readonly headers?: readonly HeaderField[];
  readonly status?: number;
  /** Bytes of each piece. */
  readonly pieces?: number;
};

export function masksOf(request: string, { masks = [], reveals = [] }: Options = {}): readonly AppliedMask[] {
  return appliedMasks({ masks }, infoOf(request), (relation, column) =>
    reveals.includes(`${relation} ${column}`),
  );
}

type Seen = { readonly bytes: Uint8Array; readonly text: string; readonly masked: readonly string[] };

/** An answer as the client gets it, or the code with which it ends. */
export function answer(
  request: string,
  body: string | Uint8Array | object,
  options: Options = {},
): Seen | string {
  const bytes =
    body instanceof Uint8Array ? body : utf8(typeof body === "string" ? body : JSON.stringify(body));
  const info = infoOf(request);
  const head = {
    method: info.method,
    status: options.status ?? 200,
    headers: [["content-type", options.type ?? JSON_TYPE] as const, ...(options.headers ?? [])],
  };
  const plan = planKubernetesAnswer(info, head, masksOf(request, options));
  if (!plan.ok) return plan.error.code;
  if (plan.value.kind === "pass") return { bytes, text: displayUtf8(bytes), masked: [] };
  const masked: string[] = [];
  const filter = createMaskFilter(plan.value, {
    hash: (text) => `hash-of-${text.length}`,
    masked: (what) => masked.push(what),
  });
  const out: Uint8Array[] = [new Uint8Array()];
  const step = options.pieces ?? bytes.length;
  for (let at = 0; at < bytes.length; at += Math.max(1, step)) {
    const pushed = filter.push(bytes.subarray(at, at + Math.max(1, step)));
    if (!pushed.ok) return pushed.error.code;
    out.push(pushed.value);
  }
  const ended = filter.end();
  if (!ended.ok) return ended.error.code;
  const whole = concat([...out, ended.value]);
  return { bytes: whole, text: displayUtf8(whole), masked };
}

export function seen(...parameters: Parameters<typeof answer>): Seen {
  const result = answer(...parameters);
  if (typeof result === "string") throw new Error(result);
  return result;
}

export const json = (...parameters: Parameters<typeof answer>): unknown =>
  JSON.parse(seen(...parameters).text);

export const SECRET_OBJECT = {
  kind: "Secret",
  apiVersion: "v1",
  metadata: {
    name: "db",
    namespace: "shop",
    annotations: {
      "kubectl.kubernetes.io/last-applied-configuration": `${JSON.stringify({
        apiVersion: "v1",
        data: { password: BASE64 },
        kind: "Secret",
        metadata: { annotations: {}, name: "db" },
        stringData: { token: SECRET },
      })}\n`,
      "example.com/owner": "team-a",
    },
    managedFields: [{ manager: "kubectl", fieldsV1: { "f:data": { ".": {}, "f:password": {} } } }],
  },
  data: { password: BASE64, "tls.crt": BASE64 },
  type: "Opaque",
};
