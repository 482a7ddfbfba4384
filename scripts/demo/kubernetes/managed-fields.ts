/**
 * Who set which field: server-side apply and the entries of `metadata.managedFields` (FieldsV1).
 * The lists that are merged by a key are those of the strategic merge patch; all others are one value.
 */
import { type Fields, type ManagedFields, type Stored, isFields, timestamp } from "./objects.ts";
import { mergeKeyOf } from "./patch.ts";
import { StatusError } from "./status.ts";

/** Fields that nobody owns. */
const UNOWNED = new Set([
  "apiVersion",
  "kind",
  "metadata.name",
  "metadata.namespace",
  "metadata.uid",
  "metadata.resourceVersion",
  "metadata.generation",
  "metadata.creationTimestamp",
  "metadata.managedFields",
  "metadata.deletionTimestamp",
  "metadata.deletionGracePeriodSeconds",
  "metadata.selfLink",
  "metadata.generateName",
]);

/** A path of names and list keys, as text, with the value at its end. */
type Leaves = Map<string, { readonly path: readonly Step[]; readonly value: unknown }>;

type Step = { readonly field: string } | { readonly key: string; readonly value: unknown };

export type Writer = { readonly manager: string; readonly subresource?: string };

/** Gives what `writer` changed between the two to it, and takes it away from all others. */
export function noteUpdate(previous: Stored | undefined, next: Stored, writer: Writer): void {
  const before = leavesOf(previous ?? {});
  const after = leavesOf(next);
  const changed = [...after.keys()].filter(
    (path) => !same(before.get(path)?.value, after.get(path)?.value) || !before.has(path),
  );
  const entries = entriesOf(previous ?? next);
  if (previous === undefined) entries.length = 0;
  for (const entry of entries) {
    for (const path of changed) entry.owned.delete(path);
    for (const path of entry.owned) if (!after.has(path)) entry.owned.delete(path);
  }
  if (changed.length > 0) {
    const mine = entryOf(entries, writer, "Update", next.apiVersion);
    for (const path of changed) mine.owned.add(path);
    mine.entry.time = timestamp();
  }
  store(next, entries, after);
}

/**
 * Server-side apply: `applied` laid over `live`, less what this manager applied before and does not any more.
 * Throws a Conflict with all conflicting fields, unless `force`.
 */
export function serverSideApply(
  live: Stored | undefined,
  applied: Stored,
  writer: Writer,
  force: boolean,
): Stored {
  const wanted = leavesOf(applied);
  const entries = live === undefined ? [] : entriesOf(live);
  const liveLeaves = leavesOf(live ?? {});
  const mine = entryOf(entries, writer, "Apply", applied.apiVersion);
  const clashes: { manager: string; path: string }[] = [];
  for (const { entry, owned } of entries) {
    if (entry === mine.entry) continue;
    for (const path of owned) {
      const given = wanted.get(path);
      if (given === undefined || same(given.value, liveLeaves.get(path)?.value)) continue;
      if (force) owned.delete(path);
      else clashes.push({ manager: entry.manager, path: shown(given.path) });
    }
  }
  if (clashes.length > 0) throw applyConflict(clashes);

  const result = structuredClone(live ?? applied);
  for (const path of mine.owned) {
    const elsewhere = entries.some(({ entry, owned }) => entry !== mine.entry && owned.has(path));
    const leaf = liveLeaves.get(path);
    if (!wanted.has(path) && !elsewhere && leaf !== undefined) prune(result, leaf.path);
  }
  mine.owned.clear();
  for (const path of wanted.keys()) mine.owned.add(path);
  mine.entry.time = timestamp();
  overlay(result, applied);
  store(result, entries, leavesOf(result));
  return result;
}

function applyConflict(clashes: readonly { manager: string; path: string }[]): StatusError {
  const many = clashes.length === 1 ? "1 conflict" : `${clashes.length} conflicts`;
  const list = clashes.map(({ manager, path }) => `conflict with "${manager}": ${path}`).join("\n- ");
  const causes = clashes.map(({ manager, path }) => ({
    reason: "FieldManagerConflict",
    message: `conflict with "${manager}"`,
    field: path,
  }));
  const message = `Apply failed with ${many}: ${clashes.length === 1 ? list : `\n- ${list}`}`;
  return new StatusError(409, "Conflict", message, { causes });
}

function leavesOf(object: Fields): Leaves {
  const leaves: Leaves = new Map();
  walk(object, [], "", leaves);
  return leaves;
}

function walk(value: unknown, path: readonly Step[], last: string, leaves: Leaves): void {
  if (isFields(value) && Object.keys(value).length > 0) {
    for (const [field, each] of Object.entries(value)) {
      if (path.length < 2 && UNOWNED.has([...path.map(stepText), field].join("."))) continue;
      walk(each, [...path, { field }], field, leaves);
    }
    return;
  }
  const key = Array.isArray(value) && value.length > 0 ? mergeKeyOf(last, value) : undefined;
  if (key !== undefined) {
    for (const each of value as Fields[]) walk(each, [...path, { key, value: each[key] }], "", leaves);
    return;
  }
  if (path.length > 0) leaves.set(JSON.stringify(path), { path, value });
}

function stepText(step: Step): string {
  return "field" in step ? step.field : `[${step.key}=${JSON.stringify(step.value)}]`;
}

function shown(path: readonly Step[]): string {
  return path.map((step) => ("field" in step ? `.${step.field}` : stepText(step))).join("");
}

function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Fields of `patch` into `target`, in place. */
function overlay(target: Fields, patch: Fields, top = true): void {
  for (const [field, value] of Object.entries(patch)) {
    if (field === "__proto__" || (top && (field === "apiVersion" || field === "kind"))) continue;
    const current = target[field];
    if (isFields(value) && isFields(current)) overlay(current, value, false);
    else if (Array.isArray(value) && Array.isArray(current))
      target[field] = overlayList(field, current, value);
    else target[field] = structuredClone(value);
  }
}

function overlayList(field: string, current: readonly unknown[], patch: readonly unknown[]): unknown[] {
  const key = mergeKeyOf(field, patch);
  if (key === undefined) return structuredClone([...patch]);
  const list = [...current];
  for (const each of patch as Fields[]) {
    const found = list.find((other) => isFields(other) && other[key] === each[key]);
    if (isFields(found)) overlay(found, each, false);
    else list.push(structuredClone(each));
  }
  return list;
}

/** Removes what is at the end of a path, and the list elements and objects that are empty without it. */
function prune(target: unknown, path: readonly Step[]): void {
  const [step, ...rest] = path;
  if (step === undefined) return;
  if ("field" in step) {
    if (!isFields(target)) return;
    const child = target[step.field];
    if (rest.length > 0) prune(child, rest);
    const empty =
      (isFields(child) && Object.keys(child).length === 0) || (Array.isArray(child) && child.length === 0);
    if (rest.length === 0 || empty) delete target[step.field];
    return;
  }
  if (!Array.isArray(target)) return;
  const list = target as unknown[];
  const at = list.findIndex((each) => isFields(each) && each[step.key] === step.value);
  if (at < 0) return;
  const element = list[at];
  prune(element, rest);
  if (isFields(element) && Object.keys(element).length === 0) list.splice(at, 1);
}

type Entry = { readonly entry: ManagedFields; readonly owned: Set<string> };

function entriesOf(object: Fields): Entry[] {
  const metadata = object["metadata"];
  const managed = isFields(metadata) ? (metadata["managedFields"] as ManagedFields[] | undefined) : undefined;
  return (managed ?? []).map((entry) => ({
    entry: { ...entry },
    owned: new Set(pathsOf(entry.fieldsV1).map((path) => JSON.stringify(path))),
  }));
}

function entryOf(
  entries: Entry[],
  { manager, subresource }: Writer,
  operation: ManagedFields["operation"],
  apiVersion: string,
): Entry {
  const found = entries.find(
    ({ entry }) =>
      entry.manager === manager && entry.operation === operation && entry.subresource === subresource,
  );
  if (found !== undefined) return found;
  const entry: ManagedFields = {
    manager,
    operation,
    apiVersion,
    time: timestamp(),
    fieldsType: "FieldsV1",
    fieldsV1: {},
    ...(subresource === undefined ? {} : { subresource }),
  };
  const made = { entry, owned: new Set<string>() };
  entries.push(made);
  return made;
}

function store(object: Stored, entries: readonly Entry[], leaves: Leaves): void {
  object.metadata.managedFields = entries
    .filter(({ owned }) => owned.size > 0)
    .map(({ entry, owned }) => {
      const fieldsV1: Fields = {};
      for (const path of owned) {
        const leaf = leaves.get(path);
        if (leaf !== undefined) plant(fieldsV1, leaf.path);
      }
      return { ...entry, fieldsV1 };
    });
}

/** `f:name` for a field, `k:{"name":"x"}` for an element, with `.` for the element itself. */
function plant(fields: Fields, path: readonly Step[]): void {
  let at = fields;
  for (const step of path) {
    const name = "field" in step ? `f:${step.field}` : `k:${JSON.stringify({ [step.key]: step.value })}`;
    const next = at[name];
    const child: Fields = isFields(next) ? next : "field" in step ? {} : { ".": {} };
    at[name] = child;
    at = child;
  }
}

function pathsOf(fields: Fields): Step[][] {
  return Object.entries(fields).flatMap(([name, below]) => {
    if (name === ".") return [];
    const step: Step = name.startsWith("k:") ? keyStep(name.slice(2)) : { field: name.slice(2) };
    const deeper = isFields(below) ? pathsOf(below) : [];
    return deeper.length === 0 ? [[step]] : deeper.map((path) => [step, ...path]);
  });
}

function keyStep(json: string): Step {
  const [[key, value] = ["", undefined]] = Object.entries(JSON.parse(json) as Fields);
  return { key, value };
}
