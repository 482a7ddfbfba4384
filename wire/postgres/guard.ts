/** The second line of masking: what a server's answer must not carry to the client (DESIGN section 5). */
import { utf8 } from "../bytes.ts";
import { type Refusal, refusal } from "../refusals.ts";
import { type ErrorFields, errorField } from "./backend-decoder.ts";
import type { Field, Guard } from "./machine-types.ts";
import { ErrorField } from "./messages.ts";

/** Above this many withheld attributes a set is made for the search. */
const LINEAR = 16;

/** The refusal when one of the columns is one that the guard withholds. */
export function withheldField(guard: Guard, fields: readonly Field[]): Refusal | undefined {
  const list = guard.withheldAttributes;
  if (list.length === 0) return undefined;
  const set = list.length > LINEAR && fields.length > 1 ? new Set(list) : undefined;
  for (const field of fields) {
    if (field.tableOid === 0) continue;
    const key = `${field.tableOid}:${field.attribute}`;
    if (set === undefined ? list.includes(key) : set.has(key)) {
      return refusal(
        "mask_value_withheld",
        `column "${field.name}" of the result is masked for you and would have come unmasked`,
        {
          hint: "leave the column out, or ask for the right to reveal it; no row was delivered",
        },
      );
    }
  }
  return undefined;
}

/** The columns of these rows could not be learnt, so they cannot be checked. */
export function fieldsUnknown(): Refusal {
  return refusal(
    "mask_value_withheld",
    "the columns of this result are not known, so masks could not be checked",
    {
      hint: "describe the portal before it is executed, or use a simple query; no row was delivered",
    },
  );
}

const HIDDEN_ERROR = "the statement failed (details are withheld because it touches masked columns)";
const HIDDEN_NOTICE = "a notice of the server is withheld because its statement touches masked columns";

/** Severity and SQLSTATE of an error or notice with a neutral message; a value can stand in any other field. */
export function hideDetail(fields: ErrorFields, notice: boolean): ErrorFields {
  const kept = fields.filter(
    ({ code }) =>
      code === ErrorField.severity || code === ErrorField.severityFixed || code === ErrorField.code,
  );
  return [...kept, { code: ErrorField.message, value: utf8(notice ? HIDDEN_NOTICE : HIDDEN_ERROR) }];
}

/** Without the position, which counts in a text that the client did not send. */
export function dropPosition(fields: ErrorFields): ErrorFields {
  return fields.filter(({ code }) => code !== ErrorField.position);
}

/** FATAL and PANIC end the server's connection whatever was going on. */
export function isFatal(fields: ErrorFields): boolean {
  const severity = errorField(fields, ErrorField.severityFixed) || errorField(fields, ErrorField.severity);
  return severity === "FATAL" || severity === "PANIC";
}
