/** What has to happen to a cluster's answer before the client may have it, and what may be asked for at all. */
import { type HeaderField, headerOf } from "../../../wire/http/headers.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { isJson, mediaType } from "../http/operations.ts";
import type { AnswerHead } from "../http/response.ts";
import { type AppliedMask, type MaskRules, maskRules } from "./masks.ts";
import type { RequestInfo } from "./request-info.ts";

const PROTOBUF = "application/vnd.kubernetes.protobuf";

export type KubernetesBodyPlan =
  | { readonly kind: "pass" }
  | {
      readonly kind: "mask";
      readonly form: "json" | "yaml" | "protobuf" | "protobufWatch";
      readonly rules: MaskRules;
      readonly decode: "identity" | "gzip" | "deflate";
    };

/**
 * The request's fields as the cluster should get them, so that its answer can be read: JSON where the client takes
 * it, no tables whose columns could show what is masked, not compressed, not in parts.
 *
 * @param masks those that apply to the principal here; none leave the fields as they are
 */
export function readableRequest(
  headers: readonly HeaderField[],
  masks: readonly AppliedMask[],
  info: RequestInfo,
): readonly HeaderField[] {
  if (masks.length === 0) return headers;
  const { dataOnly } = maskRules(masks, info);
  const dropped = ["accept", "accept-encoding", "range", "if-range", "if-none-match", "if-modified-since"];
  return [
    ...headers.filter(([name]) => !dropped.includes(name)),
    ["accept", readableTypes(headerOf(headers, "accept") ?? "", dataOnly)],
    ["accept-encoding", "identity"],
  ];
}

/** What is left of an Accept field (RFC 9110 section 12.5.1); JSON, when nothing is. */
export function readableTypes(accept: string, dataOnly: boolean): string {
  const clauses = accept
    .split(",")
    .map((clause) => clause.trim())
    .filter((clause) => clause !== "");
  const kept = clauses.filter((clause) => {
    const type = typeOf(clause);
    if (type === "*/*" || type === "application/*") return true;
    const table = /;\s*as\s*=\s*"?Table/i.test(clause);
    return type === "application/json" ? dataOnly || !table : false;
  });
  if (kept.length > 0)
    return kept.map((clause) => (typeOf(clause).includes("*") ? "application/json" : clause)).join(",");
  const others = clauses.filter((clause) => {
    const type = typeOf(clause);
    return type === "application/yaml" || (dataOnly && type === PROTOBUF);
  });
  return others.length > 0 ? others.join(",") : "application/json";
}

function typeOf(clause: string): string {
  return clause.split(";")[0]?.trim().toLowerCase() ?? "";
}

/** What becomes of the body of an answer. */
export function planKubernetesAnswer(
  info: RequestInfo,
  head: AnswerHead,
  masks: readonly AppliedMask[],
): Result<KubernetesBodyPlan, Refusal> {
  if (masks.length === 0 || isEmpty(head)) return ok({ kind: "pass" });
  const type = mediaType(head.headers);
  // The API server's own words, such as "404 page not found".
  if (head.status >= 400 && type === "text/plain") return ok({ kind: "pass" });
  const rules = maskRules(masks, info);
  const form = formOf(info, head, type, rules);
  const decode = decoding(head.headers);
  if (form !== undefined && decode !== undefined && head.status !== 206)
    return ok({ kind: "mask", form, rules, decode });
  return err(
    refusal(
      "mask_value_withheld",
      `the answer (${type || "no type"}) cannot be inspected for what you may not see`,
      {
        hint: "fields of these objects are masked for you; ask for JSON",
      },
    ),
  );
}

function formOf(
  info: RequestInfo,
  head: AnswerHead,
  type: string,
  rules: MaskRules,
): Extract<KubernetesBodyPlan, { kind: "mask" }>["form"] | undefined {
  if (isJson(type)) return "json";
  if (type === "application/yaml" && info.verb !== "watch") return "yaml";
  if (type !== PROTOBUF || !rules.dataOnly) return undefined;
  return info.verb === "watch" && head.status === 200 ? "protobufWatch" : "protobuf";
}

function isEmpty({ method, status, headers }: AnswerHead): boolean {
  if (method === "HEAD" || status === 204 || status === 304 || status < 200) return true;
  return headerOf(headers, "content-length")?.trim() === "0";
}

function decoding(headers: readonly HeaderField[]): "identity" | "gzip" | "deflate" | undefined {
  const encoding = headerOf(headers, "content-encoding")?.trim().toLowerCase() ?? "";
  if (encoding === "" || encoding === "identity") return "identity";
  if (encoding === "gzip" || encoding === "x-gzip") return "gzip";
  return encoding === "deflate" ? "deflate" : undefined;
}
