/** Shape of what is particular to a Kubernetes cluster, under its key `kubernetes`. */
import { z } from "zod";
import { parseFieldPattern } from "../../wire/http/json-paths.ts";
import type { KubernetesMask, KubernetesOptions } from "../policy/types.ts";
import { FIELD, MAX_FIELDS, fieldMask } from "./field-mask.ts";
import { AT_KEY, object } from "./shapes.ts";

/** `secrets`, `widgets.example.com`, `serviceaccounts/token`, or `*` for every resource. */
const RESOURCE = /^(?:\*|[a-z0-9][a-z0-9.-]{0,252}(?:\/[a-z0-9][a-z0-9-]{0,62})?)$/;

/** What nobody sees without `reveal`, whatever the configuration says of other resources. */
const SECRETS: readonly KubernetesMask[] = [
  { resource: "secrets", field: "$.data.*", mask: "full" },
  { resource: "secrets", field: "$.stringData.*", mask: "full" },
];

const masks = z
  .record(z.string().max(FIELD), z.record(z.string().max(FIELD), fieldMask))
  .default({})
  .transform((given, context): readonly KubernetesMask[] => {
    const list: KubernetesMask[] = [];
    for (const [resource, fields] of Object.entries(given)) {
      const complain = (path: string[], message: string): void =>
        context.addIssue({ code: "custom", path: [resource, ...path], params: AT_KEY, message });
      if (!RESOURCE.test(resource))
        complain([], `"${resource}" is not a resource; write secrets, widgets.example.com or *`);
      for (const [field, { mask, step }] of Object.entries(fields)) {
        const parsed = parseFieldPattern(field);
        if (!parsed.ok) complain([field], `"${field}" ${parsed.error}; write data.*, token or $.spec.token`);
        else list.push({ resource, field, mask, ...(step === undefined ? {} : { step }) });
      }
    }
    if (list.length > MAX_FIELDS) {
      const message = `there may be at most ${MAX_FIELDS} masks on one resource`;
      context.addIssue({ code: "custom", message });
    }
    // A configuration that says itself how Secrets are shown is taken at its word.
    return Object.hasOwn(given, "secrets") ? list : [...SECRETS, ...list];
  });

export const kubernetesShape = object({ masks });

export function toKubernetesOptions(shape: z.infer<typeof kubernetesShape>): KubernetesOptions {
  return shape;
}
