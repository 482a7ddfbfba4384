/** Shape of what is particular to a Kubernetes cluster, under its key `kubernetes`. */
import { z } from "zod";
import { parseObjectField } from "../policy/kubernetes/fields.ts";
import type { KubernetesMask, KubernetesOptions } from "../policy/types.ts";
import { FIELD, MAX_FIELDS, fieldMask } from "./field-mask.ts";
import { AT_KEY, object } from "./shapes.ts";

/** `secrets`, `widgets.example.com`, `serviceaccounts/token`, or `*` for every resource. */
const RESOURCE = /^(?:\*|[a-z0-9][a-z0-9.-]{0,252}(?:\/[a-z0-9][a-z0-9-]{0,62})?)$/;

/** The whole core group; a name without a group that is none of these is a slip, and its mask would mask nothing. */
const CORE = new Set(
  (
    "bindings componentstatuses configmaps endpoints events limitranges namespaces nodes persistentvolumeclaims " +
    "persistentvolumes pods podtemplates replicationcontrollers resourcequotas secrets serviceaccounts services"
  ).split(" "),
);

/** Those of Secrets and tokens come after these (worker/policy/kubernetes/masks.ts), so what is named here wins. */
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
      const [name = ""] = resource.split("/");
      if (name !== "*" && !name.includes(".") && !CORE.has(name))
        complain([], `"${name}" is not in the core group; write its group too, as in deployments.apps`);
      for (const [field, { mask, step }] of Object.entries(fields)) {
        const parsed = parseObjectField(field);
        if (!parsed.ok)
          complain([field], `"${field}" ${parsed.error}; write data.*, spec.token or data["tls.crt"]`);
        else list.push({ resource, field, mask, ...(step === undefined ? {} : { step }) });
      }
    }
    if (list.length > MAX_FIELDS) {
      const message = `there may be at most ${MAX_FIELDS} masks on one resource`;
      context.addIssue({ code: "custom", message });
    }
    return list;
  });

export const kubernetesShape = object({ masks });

export function toKubernetesOptions(shape: z.infer<typeof kubernetesShape>): KubernetesOptions {
  return shape;
}
