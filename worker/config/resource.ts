/** Shape of one resource in configuration. */
import { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import type { ColumnMask, MaskKind, Resource, RowFilter } from "../policy/types.ts";
import { MASKS } from "./field-mask.ts";
import { httpShape, toHttpOptions } from "./http.ts";
import { kubernetesShape, toKubernetesOptions } from "./kubernetes.ts";
import { parseQualifiedName } from "./relation-name.ts";
import { AT_KEY, duration, name, object, size, text } from "./shapes.ts";

const COLUMN_MASKS = [...MASKS, "sql"] as const satisfies readonly MaskKind[];

const MAX_EXPRESSION = 4_096;
const MAX_MASKS = 2_000;
/** Bytes of results kept per operation when the configuration does not say. */
const RESULT_BYTES = 256 << 10;

const maskKind = z.enum(COLUMN_MASKS);
const maskObject = object({
  mask: maskKind,
  step: z.number().positive("must be greater than 0").finite().optional(),
  expression: text(MAX_EXPRESSION).optional(),
});

/** `last4`, or `{ mask: round, step: 100 }`. An unquoted `null` in YAML is the mask of that name. */
const mask = z
  .unknown()
  .transform((value, context): z.infer<typeof maskObject> => {
    const short = maskKind.transform((kind) => ({ mask: kind }));
    const parsed = (typeof value === "object" && value !== null ? maskObject : short).safeParse(
      value ?? "null",
    );
    if (parsed.success) return parsed.data;
    // Issues go up as they are; the type of a raw issue only differs in `input`, which is added.
    for (const issue of parsed.error.issues)
      context.issues.push({ ...issue, input: value } as z.core.$ZodRawIssue);
    return z.NEVER;
  })
  .superRefine(({ mask: kind, step, expression }, context) => {
    const complain = (message: string): void => context.addIssue({ code: "custom", message });
    if (kind === "round" && step === undefined) complain("round needs a step: { mask: round, step: 100 }");
    if (kind !== "round" && step !== undefined) complain(`step belongs to round, not to ${kind}`);
    if (kind === "sql" && expression === undefined) {
      complain(`sql needs an expression over value: { mask: sql, expression: "left(value, 2)" }`);
    }
    if (kind !== "sql" && expression !== undefined) complain(`expression belongs to sql, not to ${kind}`);
  });

const masks = z
  .record(z.string(), mask)
  .default({})
  .transform((given, context): readonly ColumnMask[] => {
    const list: ColumnMask[] = [];
    const entries = Object.entries(given);
    if (entries.length > MAX_MASKS) {
      context.addIssue({
        code: "custom",
        message: `there may be at most ${MAX_MASKS} masks on one resource`,
      });
    }
    for (const [key, { mask: kind, step, expression }] of entries) {
      const parts = parseQualifiedName(key);
      const [schema, relation, column] = parts.ok ? parts.value : [];
      if (
        !parts.ok ||
        parts.value.length !== 3 ||
        schema === undefined ||
        relation === undefined ||
        column === undefined
      ) {
        const why = parts.ok ? "is not a column" : parts.error;
        const message = `"${key}" ${why}; a column is named schema.relation.column`;
        context.addIssue({ code: "custom", path: [key], params: AT_KEY, message });
        continue;
      }
      list.push({
        schema,
        relation,
        column,
        mask: kind,
        ...(step === undefined ? {} : { step }),
        ...(expression === undefined ? {} : { expression }),
      });
    }
    return list;
  });

const rows = z
  .record(z.string(), text(MAX_EXPRESSION))
  .default({})
  .transform((given, context): readonly RowFilter[] =>
    Object.entries(given).flatMap(([key, condition]) => {
      const parts = parseQualifiedName(key);
      const [schema, relation] = parts.ok ? parts.value : [];
      if (!parts.ok || parts.value.length !== 2 || schema === undefined || relation === undefined) {
        const why = parts.ok ? "is not a relation" : parts.error;
        const message = `"${key}" ${why}; a relation is named schema.relation`;
        context.addIssue({ code: "custom", path: [key], params: AT_KEY, message });
        return [];
      }
      return [{ schema, relation, condition }];
    }),
  );

const trustedFunctions = z
  .array(z.string())
  .default([])
  .transform((given, context): readonly string[] =>
    given.map((written, index) => {
      const parts = parseQualifiedName(written);
      if (!parts.ok || parts.value.length !== 2) {
        const why = parts.ok ? "is not qualified" : parts.error;
        const message = `"${written}" ${why}; a function is named schema.function`;
        context.addIssue({ code: "custom", path: [index], message });
        return written;
      }
      return parts.value.join(".");
    }),
  );

const labelKey = /^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$/;

const labels = z
  .record(z.string(), text(256))
  .default({})
  .superRefine((given, context) => {
    for (const key of Object.keys(given)) {
      if (labelKey.test(key)) continue;
      const message = `"${key}" is not a label's name: 1 to 63 letters, digits, '.', '_', '/' and '-'`;
      context.addIssue({ code: "custom", path: [key], params: AT_KEY, message });
    }
  });

const loginName = z.string().regex(/^[A-Za-z0-9_][A-Za-z0-9_.@\\+-]{0,63}$/, "is not a plain login name");

/** What stands under a resource's name. */
export const resourceShape = object({
  protocol: z.enum(["postgres", "ssh", "http", "kubernetes"]),
  connector: name,
  database: text(63).optional(),
  logins: z.array(loginName).max(100).optional(),
  labels,
  masks,
  rows,
  trustedFunctions,
  detectors: z.enum(["off", "mask", "block"]).default("off"),
  recordResultBytes: size(0, 16 << 20).default(RESULT_BYTES),
  heldInTransaction: duration(1_000, LIMITS.time.approval).default(LIMITS.time.heldInTransaction),
  heldReminder: duration(1_000, LIMITS.time.approval).optional(),
  approvalExpires: duration(10_000, LIMITS.time.approval).optional(),
  http: httpShape.optional(),
  kubernetes: kubernetesShape.optional(),
}).superRefine((resource, context) => {
  // A protection that does not protect would be worse than none.
  const complain = (key: string, message: string): void =>
    context.addIssue({ code: "custom", path: [key], params: AT_KEY, message });
  for (const key of ["http", "kubernetes"] as const)
    if (resource.protocol !== key && resource[key] !== undefined)
      complain(key, `"${key}" belongs to resources with protocol: ${key}`);
  if (resource.protocol !== "http" && resource.protocol !== "kubernetes") return;
  for (const key of ["masks", "rows", "trustedFunctions"] as const) {
    const hint = key === "masks" ? `; write the fields under ${resource.protocol}.masks` : "";
    if (resource[key].length > 0)
      complain(key, `"${key}" is about relations, which ${resource.protocol} does not have${hint}`);
  }
});

export function toResource(resourceName: string, shape: z.infer<typeof resourceShape>): Resource {
  const { database, logins, heldReminder, approvalExpires, http, kubernetes, ...rest } = shape;
  return {
    name: resourceName,
    ...rest,
    ...(database === undefined ? {} : { database }),
    ...(logins === undefined ? {} : { logins }),
    ...(shape.protocol === "http" ? { http: toHttpOptions(http ?? httpShape.parse({})) } : {}),
    ...(shape.protocol === "kubernetes"
      ? { kubernetes: toKubernetesOptions(kubernetes ?? kubernetesShape.parse({})) }
      : {}),
    ...(heldReminder === undefined ? {} : { heldReminder }),
    ...(approvalExpires === undefined ? {} : { approvalExpires }),
  };
}
