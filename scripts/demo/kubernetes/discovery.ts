/** `/api`, `/apis` and what is below, in both ways: one document a group, and all at once (aggregated, v2). */
import { GROUPS, KINDS, type Kind, apiVersionOf } from "./kinds.ts";
import type { Fields } from "./objects.ts";

const VERSION = "v1";

export function apiVersions(address: string): Fields {
  return {
    kind: "APIVersions",
    versions: [VERSION],
    serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: address }],
  };
}

export function apiGroupList(): Fields {
  return { kind: "APIGroupList", apiVersion: "v1", groups: GROUPS.map(groupFields) };
}

export function apiGroup(group: string): Fields | undefined {
  return GROUPS.includes(group) ? { kind: "APIGroup", apiVersion: "v1", ...groupFields(group) } : undefined;
}

function groupFields(group: string): Fields {
  const version = { groupVersion: `${group}/${VERSION}`, version: VERSION };
  return { name: group, versions: [version], preferredVersion: version };
}

export function apiResourceList(group: string, version: string): Fields | undefined {
  const kinds = kindsOf(group, version);
  if (kinds.length === 0) return undefined;
  return {
    kind: "APIResourceList",
    ...(group === "" ? {} : { apiVersion: "v1" }),
    groupVersion: apiVersionOf({ group, version }),
    resources: kinds.flatMap((kind) => [
      {
        name: kind.plural,
        singularName: kind.singular,
        namespaced: kind.namespaced,
        kind: kind.kind,
        verbs: kind.verbs,
        ...(kind.shortNames.length === 0 ? {} : { shortNames: kind.shortNames }),
        ...(kind.categories.length === 0 ? {} : { categories: kind.categories }),
      },
      ...kind.subresources.map((each) => ({
        name: `${kind.plural}/${each.name}`,
        singularName: "",
        namespaced: kind.namespaced,
        ...(each.group === undefined ? {} : { group: each.group, version: each.version }),
        kind: each.kind,
        verbs: each.verbs,
      })),
    ]),
  };
}

/** The aggregated form for `/api` (the core group) or `/apis` (all others). */
export function aggregatedDiscovery(core: boolean): Fields {
  const groups = core ? [""] : GROUPS;
  return {
    kind: "APIGroupDiscoveryList",
    apiVersion: "apidiscovery.k8s.io/v2",
    metadata: {},
    items: groups.map((group) => ({
      metadata: { ...(group === "" ? {} : { name: group }), creationTimestamp: null },
      versions: [
        {
          version: VERSION,
          freshness: "Current",
          resources: kindsOf(group, VERSION).map(aggregatedResource),
        },
      ],
    })),
  };
}

function aggregatedResource(kind: Kind): Fields {
  const responseKind = (group: string, version: string, name: string): Fields => ({
    group,
    version,
    kind: name,
  });
  return {
    resource: kind.plural,
    responseKind: responseKind(kind.group, kind.version, kind.kind),
    scope: kind.namespaced ? "Namespaced" : "Cluster",
    singularResource: kind.singular,
    verbs: kind.verbs,
    ...(kind.shortNames.length === 0 ? {} : { shortNames: kind.shortNames }),
    ...(kind.categories.length === 0 ? {} : { categories: kind.categories }),
    ...(kind.subresources.length === 0
      ? {}
      : {
          subresources: kind.subresources.map((each) => ({
            subresource: each.name,
            responseKind: responseKind(each.group ?? kind.group, each.version ?? kind.version, each.kind),
            verbs: each.verbs,
          })),
        }),
  };
}

function kindsOf(group: string, version: string): Kind[] {
  return KINDS.filter((kind) => kind.group === group && kind.version === version);
}
