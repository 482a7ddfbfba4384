/** The three kinds of PATCH beside server-side apply: RFC 7386, RFC 6902 and Kubernetes' strategic merge. */
import { type Fields, isFields, without } from "./objects.ts";
import { StatusError, badRequest } from "./status.ts";

const PROTECTED = new Set(["__proto__", "constructor", "prototype"]);

/** RFC 7386. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  const result: Fields = isFields(target) ? { ...target } : {};
  for (const [name, value] of Object.entries(patch)) {
    if (PROTECTED.has(name)) continue;
    if (value === null) delete result[name];
    else result[name] = mergePatch(result[name], value);
  }
  return result;
}

/** RFC 6902. Throws a StatusError when an operation does not fit the object. */
export function jsonPatch(target: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw badRequest("a JSON patch is an array of operations");
  const root: Fields = { "": structuredClone(target) };
  for (const operation of patch) {
    if (!isFields(operation)) throw badRequest("a JSON patch is an array of operations");
    applyOperation(root, operation);
  }
  return root[""];
}

function applyOperation(root: Fields, operation: Fields): void {
  const { op, path, from, value } = operation;
  const to = pointer(path);
  switch (op) {
    case "test":
      if (canonical(read(root, to)) !== canonical(value))
        throw unprocessable(`testing path ${String(path)} failed`);
      return;
    case "add":
      return add(root, to, value);
    case "remove":
      remove(root, to);
      return;
    case "replace":
      remove(root, to);
      return add(root, to, value);
    case "move":
      return add(root, to, remove(root, pointer(from)));
    case "copy":
      return add(root, to, structuredClone(read(root, pointer(from))));
    default:
      throw badRequest(`Unexpected kind: ${String(op)}`);
  }
}

function pointer(path: unknown): string[] {
  if (typeof path !== "string" || (path !== "" && !path.startsWith("/")))
    throw badRequest(`not a JSON pointer: ${String(path)}`);
  // The first one names the document itself.
  const names = path.split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  if (names.some((name) => PROTECTED.has(name))) throw badRequest(`not a JSON pointer here: ${path}`);
  return names;
}

/** The array or object that holds the last name of a path, and the last name. */
function holder(root: Fields, path: readonly string[]): [Fields | unknown[], string] {
  let at: unknown = root;
  for (const name of path.slice(0, -1))
    at = Array.isArray(at) ? at[index(at, name)] : isFields(at) ? at[name] : undefined;
  if (!Array.isArray(at) && !isFields(at)) throw unprocessable(`doc is missing path: ${path.join("/")}`);
  return [at, path.at(-1) ?? ""];
}

function read(root: Fields, path: readonly string[]): unknown {
  const [at, name] = holder(root, path);
  return Array.isArray(at) ? at[index(at, name)] : at[name];
}

function add(root: Fields, path: readonly string[], value: unknown): void {
  const [at, name] = holder(root, path);
  if (!Array.isArray(at)) at[name] = value;
  else if (name === "-") at.push(value);
  else if (Number(name) === at.length) at.push(value);
  else at.splice(index(at, name), 0, value);
}

function remove(root: Fields, path: readonly string[]): unknown {
  const [at, name] = holder(root, path);
  if (Array.isArray(at)) return at.splice(index(at, name), 1)[0];
  if (!Object.hasOwn(at, name)) throw unprocessable(`Unable to remove nonexistent key: ${name}`);
  const value = at[name];
  delete at[name];
  return value;
}

function index(array: readonly unknown[], name: string): number {
  const position = /^(0|[1-9]\d*)$/.test(name) ? Number(name) : array.length;
  if (position >= array.length) throw unprocessable(`Unable to access invalid index: ${name}`);
  return position;
}

function unprocessable(message: string): StatusError {
  const why = `the server rejected our request due to an error in our request: ${message}`;
  return new StatusError(422, "Invalid", why, {});
}

function canonical(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) =>
    isFields(each) ? Object.fromEntries(Object.entries(each).sort(([a], [b]) => (a < b ? -1 : 1))) : each,
  );
}

/** Lists of objects that are merged by a key (x-kubernetes-patch-merge-key), by the field that holds them. */
const MERGE_KEYS: Readonly<Record<string, readonly string[]>> = {
  containers: ["name"],
  initContainers: ["name"],
  ephemeralContainers: ["name"],
  volumes: ["name"],
  env: ["name"],
  imagePullSecrets: ["name"],
  secrets: ["name"],
  // Of a container and of a Service.
  ports: ["containerPort", "port"],
  volumeMounts: ["mountPath"],
  volumeDevices: ["devicePath"],
  conditions: ["type"],
  addresses: ["type"],
  ownerReferences: ["uid"],
  hostAliases: ["ip"],
  topologySpreadConstraints: ["topologyKey"],
};

/** Lists of scalars that are united. */
const MERGED_SCALARS = new Set(["finalizers"]);

/** The key that tells the elements of a list apart, or undefined for a list that is one value (or a set). */
export function mergeKeyOf(field: string, elements: readonly unknown[]): string | undefined {
  return MERGE_KEYS[field]?.find((key) =>
    elements.every((each) => isFields(each) && each[key] !== undefined),
  );
}

/** Strategic merge patch, with its directives `$patch`, `$setElementOrder`, `$retainKeys`, `$deleteFromPrimitiveList`. */
export function strategicPatch(target: unknown, patch: unknown): unknown {
  if (!isFields(patch)) return patch;
  if (patch["$patch"] === "replace") return without(patch, "$patch");
  if (patch["$patch"] === "delete") return {};
  const result: Fields = isFields(target) ? { ...target } : {};
  const retained = patch["$retainKeys"];
  if (Array.isArray(retained))
    for (const name of Object.keys(result)) if (!retained.includes(name)) delete result[name];
  for (const [name, value] of Object.entries(patch)) {
    if (PROTECTED.has(name)) continue;
    if (name.startsWith("$deleteFromPrimitiveList/")) {
      const field = name.slice(name.indexOf("/") + 1);
      const gone = Array.isArray(value) ? value : [];
      const list = result[field];
      if (Array.isArray(list)) result[field] = list.filter((each) => !gone.includes(each));
    } else if (name.startsWith("$")) continue;
    else if (value === null) delete result[name];
    else if (Array.isArray(value)) result[name] = mergeList(name, result[name], value);
    else result[name] = strategicPatch(result[name], value);
  }
  for (const [name, order] of Object.entries(patch)) {
    if (name.startsWith("$setElementOrder/") && Array.isArray(order)) {
      const field = name.slice(name.indexOf("/") + 1);
      const list = result[field];
      if (Array.isArray(list)) result[field] = inOrder(field, list, order);
    }
  }
  return result;
}

function mergeList(field: string, current: unknown, patch: readonly unknown[]): unknown[] {
  const list = Array.isArray(current) ? [...(current as unknown[])] : [];
  if (MERGED_SCALARS.has(field)) return [...new Set([...list, ...patch])];
  const replaced = patch.some((each) => isFields(each) && each["$patch"] === "replace");
  if (replaced) return patch.filter((each) => !(isFields(each) && each["$patch"] === "replace"));
  const key = mergeKeyOf(field, patch);
  if (key === undefined) return [...patch];
  for (const element of patch as Fields[]) {
    const at = list.findIndex((each) => isFields(each) && each[key] === element[key]);
    if (element["$patch"] === "delete") {
      if (at >= 0) list.splice(at, 1);
    } else if (at >= 0) list[at] = strategicPatch(list[at], element);
    else list.push(strategicPatch({}, element));
  }
  return list;
}

function inOrder(field: string, list: readonly unknown[], order: readonly unknown[]): unknown[] {
  const key = mergeKeyOf(field, order);
  const rank = (element: unknown): number => {
    const at = order.findIndex((each) =>
      key !== undefined && isFields(each) && isFields(element)
        ? each[key] === element[key]
        : each === element,
    );
    return at < 0 ? order.length : at;
  };
  return [...list].sort((a, b) => rank(a) - rank(b));
}
