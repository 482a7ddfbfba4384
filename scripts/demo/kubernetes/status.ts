/** Errors as the API server answers them: metav1.Status with the reasons of k8s.io/apimachinery/pkg/api/errors. */
import type { Fields } from "./objects.ts";

export type Status = {
  kind: "Status";
  apiVersion: "v1";
  metadata: Fields;
  status: "Success" | "Failure";
  message?: string;
  reason?: string;
  details?: Fields;
  code: number;
};

/** Thrown anywhere below the server's request handler, which answers with the Status. */
export class StatusError extends Error {
  readonly status: Status;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: number, reason: string, message: string, details?: Fields, headers = {}) {
    super(message);
    this.headers = headers;
    this.status = {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message,
      reason,
      ...(details === undefined ? {} : { details }),
      code,
    };
  }
}

type Named = { readonly group: string; readonly plural: string };

const qualified = ({ group, plural }: Named): string => (group === "" ? plural : `${plural}.${group}`);
const detailsOf = ({ group, plural }: Named, name: string): Fields => ({
  name,
  ...(group === "" ? {} : { group }),
  kind: plural,
});

export function notFound(kind: Named, name: string): StatusError {
  const details = detailsOf(kind, name);
  return new StatusError(404, "NotFound", `${qualified(kind)} "${name}" not found`, details);
}

export function noSuchPath(): StatusError {
  return new StatusError(404, "NotFound", "the server could not find the requested resource", {});
}

export function alreadyExists(kind: Named, name: string): StatusError {
  const details = detailsOf(kind, name);
  return new StatusError(409, "AlreadyExists", `${qualified(kind)} "${name}" already exists`, details);
}

export function conflict(kind: Named, name: string, why: string): StatusError {
  const message = `Operation cannot be fulfilled on ${qualified(kind)} "${name}": ${why}`;
  return new StatusError(409, "Conflict", message, detailsOf(kind, name));
}

export function invalid(
  kind: Named & { readonly kind: string },
  name: string,
  causes: Fields[],
): StatusError {
  const list = causes.map((cause) => `${String(cause["field"])}: ${String(cause["message"])}`);
  const why = list.length === 1 ? list[0] : `[${list.join(", ")}]`;
  const subject = kind.group === "" ? kind.kind : `${kind.kind}.${kind.group}`;
  const details = { name, group: kind.group, kind: kind.kind, causes };
  return new StatusError(422, "Invalid", `${subject} "${name}" is invalid: ${why}`, details);
}

export function forbidden(kind: Named, name: string, why: string): StatusError {
  const message = `${qualified(kind)}${name === "" ? "" : ` "${name}"`} is forbidden: ${why}`;
  return new StatusError(403, "Forbidden", message, detailsOf(kind, name));
}

export function badRequest(message: string): StatusError {
  return new StatusError(400, "BadRequest", message);
}

export function unsupportedMedia(accepted: readonly string[]): StatusError {
  const message = `the body of the request was in an unknown format - accepted media types include: ${accepted.join(", ")}`;
  return new StatusError(415, "UnsupportedMediaType", message);
}

export function notAcceptable(accepted: readonly string[]): StatusError {
  const message = `only the following media types are accepted: ${accepted.join(", ")}`;
  return new StatusError(406, "NotAcceptable", message);
}

export function methodNotAllowed(): StatusError {
  const message = "the server does not allow this method on the requested resource";
  return new StatusError(405, "MethodNotAllowed", message, {});
}

export function tooLarge(): StatusError {
  return new StatusError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728");
}

export function expired(): StatusError {
  return new StatusError(410, "Expired", "The resourceVersion for the provided watch is too old.");
}

/** Whatever went wrong, as something to answer with. */
export function asStatusError(error: unknown): StatusError {
  if (error instanceof StatusError) return error;
  return new StatusError(500, "InternalError", `Internal error occurred: ${String(error)}`);
}
