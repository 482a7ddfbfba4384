/** What has to happen to an answer's body before the client may have it. */
import { type HeaderField, headerOf } from "../../../wire/http/headers.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { FieldMask, HttpOptions, Resource } from "../types.ts";
import { isJson, mediaType } from "./operations.ts";

export type BodyPlan =
  | { readonly kind: "pass" }
  | {
      readonly kind: "filter";
      /** How the fields are found: in one JSON text, in the events of a stream, or not at all. */
      readonly fields: "json" | "events" | "none";
      readonly detect: boolean;
      /** Numbers that are overwritten have to stay numbers. */
      readonly json: boolean;
      readonly decode: "identity" | "gzip" | "deflate";
    };

export type AnswerHead = {
  readonly method: string;
  readonly status: number;
  readonly headers: readonly HeaderField[];
};

/**
 * @param hidden the masks that this principal may not look behind
 */
export function planBody(
  head: AnswerHead,
  hidden: readonly FieldMask[],
  detectors: Resource["detectors"],
  uninspectable: HttpOptions["uninspectable"],
): Result<BodyPlan, Refusal> {
  const detect = detectors !== "off";
  if ((hidden.length === 0 && !detect) || isEmpty(head)) return ok({ kind: "pass" });
  const plan = inspect(head, hidden.length > 0, detect);
  if (plan !== undefined) return ok(plan);
  if (uninspectable === "allow") return ok({ kind: "pass" });
  const type = mediaType(head.headers) || "no type";
  return err(
    refusal("mask_value_withheld", `the answer (${type}) cannot be inspected for what you may not see`, {
      hint: "the resource's masks or detectors apply to you; its administrator can allow such answers",
    }),
  );
}

function isEmpty({ method, status, headers }: AnswerHead): boolean {
  if (method === "HEAD" || status === 204 || status === 304 || status < 200) return true;
  return headerOf(headers, "content-length")?.trim() === "0";
}

function inspect({ status, headers }: AnswerHead, fields: boolean, detect: boolean): BodyPlan | undefined {
  const type = mediaType(headers);
  // A part of a JSON text is none, and where it begins is for the client to choose.
  if (status === 206 || type === "multipart/byteranges") return undefined;
  const decode = decoding(headers);
  if (decode === undefined || !isUtf8(headers)) return undefined;
  const json = isJson(type) || isJsonLines(type);
  const events = type === "text/event-stream";
  if (fields && !json && !events) return undefined;
  if (!json && !isText(type)) return undefined;
  const found = fields ? (events ? "events" : "json") : "none";
  return { kind: "filter", fields: found, detect, json: json || events, decode };
}

function decoding(headers: readonly HeaderField[]): "identity" | "gzip" | "deflate" | undefined {
  const encoding = headerOf(headers, "content-encoding")?.trim().toLowerCase() ?? "identity";
  if (encoding === "identity" || encoding === "") return "identity";
  if (encoding === "gzip" || encoding === "x-gzip") return "gzip";
  return encoding === "deflate" ? "deflate" : undefined;
}

function isUtf8(headers: readonly HeaderField[]): boolean {
  const charset = /;\s*charset\s*=\s*"?([^";\s]+)/i.exec(headerOf(headers, "content-type") ?? "")?.[1];
  return charset === undefined || /^(?:utf-?8|us-ascii|ascii)$/i.test(charset);
}

function isJsonLines(type: string): boolean {
  return /^application\/(?:x-)?(?:ndjson|jsonl|jsonlines|json-lines)$/.test(type);
}

function isText(type: string): boolean {
  return (
    type.startsWith("text/") ||
    /^application\/(?:.*\+)?xml$/.test(type) ||
    /^application\/(?:javascript|ecmascript|x-www-form-urlencoded|yaml|x-yaml|toml|sql|graphql)$/.test(type)
  );
}
