/** What the server serves, and what the real one says about the same. */

export type Subresource = {
  readonly name: string;
  readonly kind: string;
  readonly group?: string;
  readonly version?: string;
  readonly verbs: readonly string[];
};

export type Kind = {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly singular: string;
  readonly kind: string;
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly namespaced: boolean;
  readonly verbs: readonly string[];
  readonly subresources: readonly Subresource[];
};

const ALL_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const STATUS_VERBS = ["get", "patch", "update"];

type Given = Partial<Kind> & Pick<Kind, "kind" | "plural">;

function kind(given: Given): Kind {
  return {
    group: "",
    version: "v1",
    singular: given.kind.toLowerCase(),
    shortNames: [],
    categories: [],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: [],
    ...given,
  };
}

const status = (of: string): Subresource => ({ name: "status", kind: of, verbs: STATUS_VERBS });
const scale: Subresource = {
  name: "scale",
  kind: "Scale",
  group: "autoscaling",
  version: "v1",
  verbs: STATUS_VERBS,
};
const stream = (name: string, of: string): Subresource => ({ name, kind: of, verbs: ["create", "get"] });

export const KINDS: readonly Kind[] = [
  kind({
    kind: "Namespace",
    plural: "namespaces",
    shortNames: ["ns"],
    namespaced: false,
    verbs: ALL_VERBS.filter((verb) => verb !== "deletecollection"),
    subresources: [status("Namespace")],
  }),
  kind({
    kind: "Node",
    plural: "nodes",
    shortNames: ["no"],
    namespaced: false,
    subresources: [status("Node")],
  }),
  kind({
    kind: "Pod",
    plural: "pods",
    shortNames: ["po"],
    categories: ["all"],
    subresources: [
      stream("attach", "PodAttachOptions"),
      { name: "ephemeralcontainers", kind: "Pod", verbs: STATUS_VERBS },
      stream("exec", "PodExecOptions"),
      { name: "log", kind: "Pod", verbs: ["get"] },
      stream("portforward", "PodPortForwardOptions"),
      status("Pod"),
    ],
  }),
  kind({
    kind: "Service",
    plural: "services",
    shortNames: ["svc"],
    categories: ["all"],
    subresources: [status("Service")],
  }),
  kind({ kind: "ConfigMap", plural: "configmaps", shortNames: ["cm"] }),
  kind({ kind: "Secret", plural: "secrets" }),
  kind({ kind: "ServiceAccount", plural: "serviceaccounts", shortNames: ["sa"] }),
  kind({ kind: "Event", plural: "events", shortNames: ["ev"] }),
  kind({
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    shortNames: ["deploy"],
    categories: ["all"],
    subresources: [scale, status("Deployment")],
  }),
  kind({
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    shortNames: ["rs"],
    categories: ["all"],
    subresources: [scale, status("ReplicaSet")],
  }),
  kind({
    group: "authentication.k8s.io",
    kind: "SelfSubjectReview",
    plural: "selfsubjectreviews",
    namespaced: false,
    verbs: ["create"],
  }),
  kind({
    group: "authorization.k8s.io",
    kind: "SelfSubjectAccessReview",
    plural: "selfsubjectaccessreviews",
    namespaced: false,
    verbs: ["create"],
  }),
  kind({
    group: "authorization.k8s.io",
    kind: "SelfSubjectRulesReview",
    plural: "selfsubjectrulesreviews",
    namespaced: false,
    verbs: ["create"],
  }),
];

/** The groups beside the core one, each in its only version. */
export const GROUPS: readonly string[] = [
  ...new Set(KINDS.map(({ group }) => group).filter((group) => group !== "")),
];

export function findKind(group: string, version: string, plural: string): Kind | undefined {
  return KINDS.find((each) => each.group === group && each.version === version && each.plural === plural);
}

/** One that is known to be there. */
export function kindNamed(name: string): Kind {
  const found = KINDS.find((each) => each.kind === name);
  if (found === undefined) throw new Error(`no kind ${name}`);
  return found;
}

/** As objects carry it: `v1`, `apps/v1`. */
export function apiVersionOf({ group, version }: Pick<Kind, "group" | "version">): string {
  return group === "" ? version : `${group}/${version}`;
}
