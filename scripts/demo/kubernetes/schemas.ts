/**
 * The OpenAPI schemas of what is served, recorded from a kube-apiserver 1.33 (recorded/schemas.json, descriptions cut
 * to their first sentence): for `/openapi/v3`, `/openapi/v2` and for finding unknown fields.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { GROUPS, KINDS, type Kind, apiVersionOf } from "./kinds.ts";
import { type Fields, isFields, valueAt } from "./objects.ts";

const SCHEMAS = JSON.parse(
  readFileSync(new URL("recorded/schemas.json", import.meta.url), "utf8"),
) as Readonly<Record<string, Fields>>;

const REFERENCE = "#/components/schemas/";

function schemaName(kind: Kind): string | undefined {
  return Object.keys(SCHEMAS).find((name) => {
    const known = SCHEMAS[name]?.["x-kubernetes-group-version-kind"];
    return (
      Array.isArray(known) &&
      (known as Fields[]).some(
        (each) =>
          each["group"] === kind.group && each["version"] === kind.version && each["kind"] === kind.kind,
      )
    );
  });
}

/** Paths of fields that the schema of `kind` does not have. */
export function unknownFields(kind: Kind, object: Fields): string[] {
  const name = schemaName(kind);
  return name === undefined ? [] : unknownIn(SCHEMAS[name] ?? {}, object, "");
}

function unknownIn(given: Fields, value: unknown, path: string): string[] {
  const schema = resolve(given);
  if (Array.isArray(value)) {
    const items = schema["items"];
    return isFields(items) ? value.flatMap((each, i) => unknownIn(items, each, `${path}[${i}]`)) : [];
  }
  if (!isFields(value)) return [];
  const { properties, additionalProperties } = schema;
  const at = (field: string): string => (path === "" ? field : `${path}.${field}`);
  if (isFields(properties)) {
    return Object.entries(value).flatMap(([field, each]) => {
      const below = Object.hasOwn(properties, field) ? properties[field] : undefined;
      return isFields(below) ? unknownIn(below, each, at(field)) : [at(field)];
    });
  }
  if (!isFields(additionalProperties)) return [];
  return Object.entries(value).flatMap(([field, each]) => unknownIn(additionalProperties, each, at(field)));
}

/** References stand alone or as the only member of `allOf`. */
function resolve(schema: Fields): Fields {
  const all = schema["allOf"];
  const reference = schema["$ref"] ?? (Array.isArray(all) ? valueAt(all[0], "$ref") : undefined);
  return typeof reference === "string" ? (SCHEMAS[reference.slice(REFERENCE.length)] ?? {}) : schema;
}

/** `/openapi/v3`: one document for each group and version. */
export function openapiIndex(): Fields {
  const paths = ["api/v1", ...GROUPS.map((group) => `apis/${group}/v1`)];
  const hash = createHash("sha256").update(JSON.stringify(SCHEMAS)).digest("hex").toUpperCase();
  const entries = paths.map((path) => [path, { serverRelativeURL: `/openapi/v3/${path}?hash=${hash}` }]);
  return { paths: Object.fromEntries(entries) };
}

/** `/openapi/v3/api/v1` and its like; undefined for what is not served. */
export function openapiDocument(path: string): Fields | undefined {
  const [, group = ""] = /^apis\/([^/]+)\/v1$/.exec(path) ?? (path === "api/v1" ? ["", ""] : []);
  if (path !== "api/v1" && !GROUPS.includes(group)) return undefined;
  const kinds = KINDS.filter((kind) => kind.group === group);
  const paths = Object.assign({}, ...kinds.map((kind) => pathsOf(kind, REFERENCE))) as Fields;
  const names = new Set<string>();
  for (const kind of kinds) collectReferences(schemaName(kind), names);
  const schemas = Object.fromEntries([...names].sort().map((name) => [name, SCHEMAS[name]]));
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: "v1.33.13" },
    paths,
    components: { schemas },
  };
}

/** `/openapi/v2`, in JSON. */
export function swagger(): Fields {
  const text = JSON.stringify(SCHEMAS).replaceAll(REFERENCE, "#/definitions/");
  const paths = Object.assign({}, ...KINDS.map((kind) => pathsOf(kind, "#/definitions/"))) as Fields;
  return {
    swagger: "2.0",
    info: { title: "Kubernetes", version: "v1.33.13" },
    paths,
    definitions: JSON.parse(text) as Fields,
  };
}

function collectReferences(name: string | undefined, found: Set<string>): void {
  if (name === undefined || found.has(name)) return;
  found.add(name);
  for (const [, below] of JSON.stringify(SCHEMAS[name] ?? {}).matchAll(/"#\/components\/schemas\/([^"]+)"/g))
    collectReferences(below, found);
}

/** Enough of the operations for clients that look for a kind's parameters. */
function pathsOf(kind: Kind, reference: string): Fields {
  const prefix = `/${kind.group === "" ? "api" : "apis"}/${apiVersionOf(kind)}`;
  const base = `${prefix}/${kind.namespaced ? "namespaces/{namespace}/" : ""}${kind.plural}`;
  const name = schemaName(kind);
  const schema = name === undefined ? {} : { schema: { $ref: `${reference}${name}` } };
  const gvk = { group: kind.group, version: kind.version, kind: kind.kind };
  const operation = (verb: string, parameters: readonly string[]): Fields => ({
    operationId: `${verb}${kind.kind}`,
    parameters: parameters.map((each) => ({
      name: each,
      in: "query",
      schema: { type: "string", uniqueItems: true },
    })),
    responses: { "200": { description: "OK", content: { "application/json": schema } } },
    "x-kubernetes-action": verb,
    "x-kubernetes-group-version-kind": gvk,
  });
  const written = ["dryRun", "fieldManager", "fieldValidation"];
  const collection: Fields = {};
  const single: Fields = {};
  if (kind.verbs.includes("list"))
    collection["get"] = operation("list", ["labelSelector", "fieldSelector", "limit"]);
  if (kind.verbs.includes("create")) collection["post"] = operation("post", written);
  if (kind.verbs.includes("get")) single["get"] = operation("get", []);
  if (kind.verbs.includes("update")) single["put"] = operation("put", written);
  if (kind.verbs.includes("patch")) single["patch"] = operation("patch", [...written, "force"]);
  if (kind.verbs.includes("delete")) single["delete"] = operation("delete", ["dryRun", "propagationPolicy"]);
  return {
    [base]: collection,
    ...(Object.keys(single).length === 0 ? {} : { [`${base}/{name}`]: single }),
  };
}
