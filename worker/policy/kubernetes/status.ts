/**
 * A refusal as a Kubernetes client understands it: a metav1.Status (k8s.io/apimachinery/pkg/apis/meta/v1/types.go).
 * kubectl prints `Error from server (Forbidden): <message>`.
 */
import { concat, utf8 } from "../../../wire/bytes.ts";
import { writeEnvelope, writeField, writeNumber } from "../../../wire/kubernetes/protobuf.ts";
import { REFUSALS, type Refusal } from "../../../wire/refusals.ts";

export type Status = {
  readonly kind: "Status";
  readonly apiVersion: "v1";
  readonly metadata: Readonly<Record<string, never>>;
  readonly status: "Failure";
  readonly message: string;
  readonly reason: string;
  readonly details: {
    readonly name?: string;
    readonly group?: string;
    /** The resource; the API server writes it here too when it does not know the kind. */
    readonly kind?: string;
    readonly causes: readonly { readonly reason: string; readonly message: string }[];
  };
  readonly code: number;
};

/** Reasons of the API server by HTTP status (StatusReason in types.go). */
const REASONS: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  409: "Conflict",
  413: "RequestEntityTooLarge",
  422: "Invalid",
  500: "InternalError",
  501: "MethodNotAllowed",
  502: "ServiceUnavailable",
  503: "ServiceUnavailable",
};

/** What the request was about, as far as it is known. */
export type About = { readonly resource: string; readonly group: string; readonly name: string };

/** The hint and the approval are in the message, since kubectl shows nothing else, and in `causes` for programs. */
export function statusOf(why: Refusal, about?: About): Status {
  const { http } = REFUSALS[why.code];
  // 410 and 404 have a meaning to client-go: to list anew, and that the object is not there.
  const code = http === 410 || (http === 404 && why.code !== "not_found") ? 403 : http;
  const message = [
    `sally: ${why.message}`,
    ...(why.hint === undefined ? [] : [`hint: ${why.hint}`]),
    ...(why.approval === undefined ? [] : [`approval: ${why.approval}`]),
  ].join("\n");
  const causes = [
    { reason: "SallyportCode", message: why.code },
    ...(why.hint === undefined ? [] : [{ reason: "SallyportHint", message: why.hint }]),
    ...(why.approval === undefined ? [] : [{ reason: "SallyportApproval", message: why.approval }]),
  ];
  return {
    kind: "Status",
    apiVersion: "v1",
    metadata: {},
    status: "Failure",
    message,
    reason: REASONS[code] ?? "InternalError",
    details: {
      ...(about === undefined || about.name === "" ? {} : { name: about.name }),
      ...(about === undefined || about.group === "" ? {} : { group: about.group }),
      ...(about === undefined || about.resource === "" ? {} : { kind: about.resource }),
      causes,
    },
    code,
  };
}

/** Field numbers of k8s.io/apimachinery/pkg/apis/meta/v1/generated.proto. */
function encodeStatus(status: Status): Uint8Array {
  const { name, group, kind, causes } = status.details;
  const details = concat([
    ...(name === undefined ? [] : [writeField(1, name)]),
    ...(group === undefined ? [] : [writeField(2, group)]),
    ...(kind === undefined ? [] : [writeField(3, kind)]),
    ...causes.map(({ reason, message }) =>
      writeField(4, concat([writeField(1, reason), writeField(2, message)])),
    ),
  ]);
  const raw = concat([
    writeField(1, ""),
    writeField(2, status.status),
    writeField(3, status.message),
    writeField(4, status.reason),
    writeField(5, details),
    writeNumber(6, status.code),
  ]);
  return writeEnvelope({ apiVersion: status.apiVersion, kind: status.kind, raw });
}

/** A status in the form that the client takes: JSON, unless it takes protobuf and not JSON. */
export function statusBody(
  status: Status,
  accept: string,
): { readonly type: string; readonly bytes: Uint8Array } {
  const types = accept.split(",").map((clause) => clause.split(";")[0]?.trim().toLowerCase() ?? "");
  const protobuf = "application/vnd.kubernetes.protobuf";
  const json = types.some((type) => ["application/json", "application/*", "*/*", ""].includes(type));
  return !json && types.includes(protobuf)
    ? { type: protobuf, bytes: encodeStatus(status) }
    : { type: "application/json", bytes: utf8(`${JSON.stringify(status)}\n`) };
}
