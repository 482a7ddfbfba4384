/** Accept: which of the forms that the server knows a client wants. */
import { type Fields, type Stored, without } from "./objects.ts";
import { notAcceptable } from "./status.ts";
import { type Include, tableOf } from "./table.ts";

export type Form =
  | "plain"
  | "Table"
  | "PartialObjectMetadata"
  | "PartialObjectMetadataList"
  | "APIGroupDiscoveryList";

export type Accepted = { readonly form: Form; readonly yaml: boolean };

type Range = { readonly type: string; readonly parameters: ReadonlyMap<string, string> };

/** Throws a StatusError (406) when nothing that is accepted can be served. */
export function negotiate(accept: string | undefined, forms: readonly Form[]): Accepted {
  if (accept === undefined || accept.trim() === "") return { form: "plain", yaml: false };
  for (const { type, parameters } of ranges(accept)) {
    if (!["application/json", "application/yaml", "application/*", "*/*"].includes(type)) continue;
    const as = parameters.get("as");
    if (as !== undefined && !forms.includes(as as Form)) continue;
    return { form: as === undefined ? "plain" : (as as Form), yaml: type === "application/yaml" };
  }
  throw notAcceptable(["application/json", "application/yaml"]);
}

function ranges(accept: string): Range[] {
  return accept
    .split(",")
    .map((part) => {
      const [type = "", ...parameters] = part.split(";").map((each) => each.trim());
      const pairs = parameters.map((each): [string, string] => {
        const [name = "", value = ""] = each.split("=");
        return [name.toLowerCase(), value];
      });
      return { type: type.toLowerCase(), parameters: new Map(pairs) };
    })
    .sort((a, b) => quality(b) - quality(a));
}

function quality({ parameters }: Range): number {
  const given = Number(parameters.get("q") ?? "1");
  return Number.isNaN(given) ? 0 : given;
}

/** One object in the form that was asked for. */
export function present(object: Stored, form: Form, include: Include): Fields {
  if (form === "Table") {
    const metadata = { resourceVersion: object.metadata.resourceVersion };
    return tableOf(object.kind, [object], { include, metadata, withColumns: true });
  }
  if (form === "plain") return object;
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}

/** A list of objects of `kind` in the form that was asked for. */
export function presentList(
  kind: { readonly kind: string; readonly apiVersion: string },
  items: readonly Stored[],
  { form, include, metadata }: { readonly form: Form; readonly include: Include; readonly metadata: Fields },
): Fields {
  if (form === "Table") return tableOf(kind.kind, items, { include, metadata, withColumns: true });
  if (form === "plain") {
    // As the real one: in a list they go without saying.
    const bare = items.map((item) => without(item, "kind", "apiVersion"));
    return { kind: `${kind.kind}List`, apiVersion: kind.apiVersion, metadata, items: bare };
  }
  const partial = items.map((item) => present(item, "PartialObjectMetadata", include));
  return { kind: "PartialObjectMetadataList", apiVersion: "meta.k8s.io/v1", metadata, items: partial };
}
