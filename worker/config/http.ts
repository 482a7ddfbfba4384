/** Shape of what is particular to an HTTP resource, under its key `http`. */
import { z } from "zod";
import { parseFieldPattern } from "../../wire/http/json-paths.ts";
import { parseRoute } from "../../wire/http/routes.ts";
import { LIMITS } from "../../wire/limits.ts";
import type { FieldMask, HttpOptions } from "../policy/types.ts";
import { FIELD, MAX_FIELDS, fieldMask } from "./field-mask.ts";
import { AT_KEY, object, text } from "./shapes.ts";

const masks = z
  .record(z.string().max(FIELD), fieldMask)
  .default({})
  .transform((given, context): readonly FieldMask[] => {
    const entries = Object.entries(given);
    if (entries.length > MAX_FIELDS) {
      context.addIssue({
        code: "custom",
        message: `there may be at most ${MAX_FIELDS} masks on one resource`,
      });
    }
    return entries.flatMap(([field, { mask, step }]) => {
      const parsed = parseFieldPattern(field);
      if (!parsed.ok) {
        const message = `"${field}" ${parsed.error}; write ssn, customer.ssn or $.customer.ssn`;
        context.addIssue({ code: "custom", path: [field], params: AT_KEY, message });
        return [];
      }
      return [{ field, mask, ...(step === undefined ? {} : { step }) }];
    });
  });

const bodyField = text(FIELD).superRefine((field, context) => {
  const parsed = parseFieldPattern(field);
  if (!parsed.ok)
    context.addIssue({ code: "custom", message: `${parsed.error}; write amount or $.order.amount` });
});

const template = text(1_024).superRefine((route, context) => {
  const parsed = parseRoute(route);
  if (!parsed.ok) context.addIssue({ code: "custom", message: `${parsed.error}; write /orders/{id}` });
});

/** Of an OpenAPI document only the paths are read; the rest of it may be there. */
const openapi = z.looseObject({ paths: z.record(template, z.unknown()) });

export const httpShape = object({
  routes: z
    .array(template)
    .max(LIMITS.http.routes, `there may be at most ${LIMITS.http.routes} routes`)
    .default([]),
  openapi: openapi.optional(),
  graphql: z.array(template).max(32).default([]),
  bodyFields: z.array(bodyField).max(100).default([]),
  masks,
  uninspectable: z.enum(["allow", "deny"]).default("deny"),
  redirects: z.enum(["same", "any"]).default("same"),
});

export function toHttpOptions(shape: z.infer<typeof httpShape>): HttpOptions {
  const { openapi: document, routes, ...rest } = shape;
  return { ...rest, routes: [...new Set([...routes, ...Object.keys(document?.paths ?? {})])] };
}
