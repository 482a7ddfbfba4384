/** How a field of JSON is shown, as configuration writes it. */
import { z } from "zod";
import type { FieldMask } from "../policy/types.ts";
import { object } from "./shapes.ts";

/** Masks that need nothing but the value; columns have one more, by SQL. */
export const MASKS = [
  "null",
  "full",
  "last4",
  "first1",
  "email",
  "hash",
  "date_year",
  "round",
] as const satisfies readonly FieldMask["mask"][];

/** Masks of one resource. */
export const MAX_FIELDS = 500;
/** Characters of a field's name or path. */
export const FIELD = 256;

const maskKind = z.enum(MASKS);

/** `last4`, or `{ mask: round, step: 100 }`. An unquoted `null` in YAML is the mask of that name. */
export const fieldMask = z.preprocess(
  (value) => (typeof value === "object" && value !== null ? value : { mask: value ?? "null" }),
  object({
    mask: maskKind,
    step: z.number().positive("must be greater than 0").finite().optional(),
  }).superRefine(({ mask, step }, context) => {
    if ((mask === "round") === (step !== undefined)) return;
    const message =
      mask === "round"
        ? "round needs a step: { mask: round, step: 100 }"
        : `step belongs to round, not to ${mask}`;
    context.addIssue({ code: "custom", message });
  }),
);
