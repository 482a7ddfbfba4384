/**
 * Changes to a user or group (RFC 7644 section 3.5.2) in the dialects of Okta and Entra ID: operations in any
 * case, with a path or a whole object, booleans as text, `members[value eq "…"]`. Pure: from a resource to the
 * resource as it is after all operations, or nothing at all.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type ScimError, scimError } from "./messages.ts";

/** Attributes of a resource, members of groups aside. Plain JSON. */
export type Attributes = Readonly<Record<string, unknown>>;

/** Members are kept apart: there can be many. */
export type MemberChange =
  | { readonly op: "add" | "remove"; readonly ids: readonly string[] }
  | { readonly op: "replace"; readonly ids: readonly string[] };

export type Patched = { readonly attributes: Attributes; readonly members: readonly MemberChange[] };

type Operation = {
  readonly op: "add" | "replace" | "remove";
  readonly path: string;
  readonly value: unknown;
};

const NAME = /^[A-Za-z][\w$-]{0,127}$/;
const MEMBER = /^members\[\s*value\s+eq\s+"([^"\\]{1,128})"\s*\]$/i;
const SELECTED =
  /^([A-Za-z][\w$-]*)\[\s*([A-Za-z]+)\s+eq\s+("(?:[^"\\])*"|true|false)\s*\](?:\.([A-Za-z]+))?$/i;
const CORE = /^urn:ietf:params:scim:schemas:core:2\.0:(User|Group):/i;
const EXTENSION = /^(urn:[A-Za-z0-9:._-]+):([A-Za-z][\w$-]*)$/;
/** In the case in which we look them up; clients may write them otherwise (RFC 7643 section 2.1). */
const OURS = [
  "userName",
  "externalId",
  "displayName",
  "active",
  "members",
  "schemas",
  "id",
  "meta",
  "groups",
];
const READ_ONLY: ReadonlySet<string> = new Set(["id", "meta", "groups", "schemas", "password"]);

const bad = (detail: string): Result<never, ScimError> => err(scimError(400, detail, "invalidSyntax"));

/** A whole resource from a client: names once, ours in our case, without what is ours to say and without secrets. */
export function readResource(json: unknown): Result<Patched, ScimError> {
  if (!isObject(json)) return bad("the body has to be an object");
  const attributes: Record<string, unknown> = {};
  let members: readonly MemberChange[] = [];
  for (const [given, value] of Object.entries(json)) {
    const name = canonical(given);
    if (name === undefined) return bad("an attribute has an unusable name");
    if (Object.hasOwn(attributes, name)) return bad(`${name} is there more than once`);
    if (name === "members") {
      const ids = readMembers(value);
      if (!ids.ok) return ids;
      members = [{ op: "replace", ids: ids.value }];
    } else if (!READ_ONLY.has(name)) attributes[name] = value;
  }
  return ok({ attributes, members });
}

export function applyPatch(current: Attributes, json: unknown): Result<Patched, ScimError> {
  const operations = readOperations(json);
  if (!operations.ok) return operations;
  let attributes = current;
  const members: MemberChange[] = [];
  for (const operation of operations.value) {
    const applied = apply(attributes, operation);
    if (!applied.ok) return applied;
    ({ attributes } = applied.value);
    members.push(...applied.value.members);
  }
  return ok({ attributes, members });
}

function readOperations(json: unknown): Result<readonly Operation[], ScimError> {
  const list = isObject(json) ? (json["Operations"] ?? json["operations"]) : undefined;
  if (!Array.isArray(list) || list.length === 0) return bad("Operations is missing");
  if (list.length > LIMITS.scim.operations) {
    return err(scimError(413, `at most ${LIMITS.scim.operations} operations`, "tooMany"));
  }
  const operations: Operation[] = [];
  for (const item of list as readonly unknown[]) {
    const op = isObject(item) && typeof item["op"] === "string" ? item["op"].toLowerCase() : "";
    if (!isObject(item) || (op !== "add" && op !== "replace" && op !== "remove")) {
      return bad("op has to be add, replace or remove");
    }
    const path = item["path"] ?? "";
    if (typeof path !== "string" || path.length > LIMITS.scim.filter) return bad("path has to be text");
    operations.push({ op, path: path.replace(CORE, ""), value: item["value"] });
  }
  return ok(operations);
}

function apply(attributes: Attributes, operation: Operation): Result<Patched, ScimError> {
  const { op, path, value } = operation;
  if (path === "") {
    if (op === "remove") return err(scimError(400, "remove needs a path", "invalidPath"));
    if (!isObject(value)) return bad("without a path the value has to be an object");
    // Okta: the attributes as an object. Entra ID: with paths for keys.
    let patched: Patched = { attributes, members: [] };
    for (const [name, part] of Object.entries(value)) {
      if (name === "") return bad("an attribute has an unusable name");
      const one = apply(patched.attributes, { op, path: name.replace(CORE, ""), value: part });
      if (!one.ok) return one;
      patched = {
        attributes: one.value.attributes,
        members: [...patched.members, ...one.value.members],
      };
    }
    return ok(patched);
  }
  if (/^members\b/i.test(path)) return applyMembers(attributes, operation);
  return applyAttribute(attributes, operation);
}

function applyMembers(attributes: Attributes, { op, path, value }: Operation): Result<Patched, ScimError> {
  const one = MEMBER.exec(path)?.[1];
  if (one !== undefined) {
    if (op !== "remove") return err(scimError(400, "a selected member can only be removed", "invalidPath"));
    return ok({ attributes, members: [{ op, ids: [one] }] });
  }
  if (path.toLowerCase() !== "members") return err(scimError(400, "this path is not known", "invalidPath"));
  if (op === "remove" && value === undefined) {
    return ok({ attributes, members: [{ op: "replace", ids: [] }] });
  }
  const ids = readMembers(value);
  return ids.ok ? ok({ attributes, members: [{ op, ids: ids.value }] }) : ids;
}

function readMembers(value: unknown): Result<readonly string[], ScimError> {
  const list: readonly unknown[] = value === null ? [] : Array.isArray(value) ? value : [value];
  if (list.length > LIMITS.scim.members) return err(scimError(413, "too many members", "tooMany"));
  const ids: string[] = [];
  for (const item of list) {
    const id = isObject(item) ? item["value"] : undefined;
    if (typeof id !== "string")
      return err(scimError(400, "a member has a value, the id of a user", "invalidValue"));
    ids.push(id);
  }
  return ok([...new Set(ids)]);
}

function applyAttribute(attributes: Attributes, { op, path, value }: Operation): Result<Patched, ScimError> {
  const unknown = err(scimError(400, `the path ${path.slice(0, 100)} is not known`, "invalidPath"));
  const done = (name: string, next: unknown): Result<Patched, ScimError> => {
    const { [name]: _, ...others } = attributes;
    return ok({
      attributes: next === undefined || next === null ? others : { ...others, [name]: next },
      members: [],
    });
  };
  const given = op === "remove" ? undefined : value;
  const selected = SELECTED.exec(path);
  if (selected !== null) {
    const [, list = "", key = "", wanted = "", part] = selected;
    const name = canonical(list);
    if (name === undefined || READ_ONLY.has(name)) return unknown;
    return done(
      name,
      changeSelected(
        attributes[name],
        key,
        JSON.parse(
          wanted.toLowerCase() === "true" || wanted.toLowerCase() === "false" ? wanted.toLowerCase() : wanted,
        ),
        part,
        given,
      ),
    );
  }
  const [, extension, inExtension] = EXTENSION.exec(path) ?? [];
  const [top = "", sub, ...deeper] = extension === undefined ? path.split(".") : [extension, inExtension];
  const name = extension ?? canonical(top);
  if (name === undefined || deeper.length > 0) return unknown;
  if (READ_ONLY.has(name)) {
    // Clients send these along with the rest; only the server says them.
    return ok({ attributes, members: [] });
  }
  if (sub === undefined) return done(name, merged(op, attributes[name], given));
  if (!NAME.test(sub)) return unknown;
  const before = attributes[name];
  const { [sub]: _, ...others } = isObject(before) ? before : {};
  return done(name, given === undefined ? others : { ...others, [sub]: given });
}

/** `add` to a list appends, everything else replaces. */
function merged(op: Operation["op"], before: unknown, given: unknown): unknown {
  if (op !== "add" || !Array.isArray(before)) return given;
  const known = new Set(before.map((item) => JSON.stringify(item)));
  const added = (Array.isArray(given) ? given : [given]).filter((item) => !known.has(JSON.stringify(item)));
  return [...(before as readonly unknown[]), ...(added as readonly unknown[])];
}

/** `emails[type eq "work"].value`: changes the elements that match, or makes one. */
function changeSelected(
  before: unknown,
  key: string,
  wanted: unknown,
  part: string | undefined,
  given: unknown,
): unknown {
  const list: readonly unknown[] = Array.isArray(before) ? before : [];
  const matches = (item: unknown): boolean => isObject(item) && item[key] === wanted;
  if (given === undefined && part === undefined) return list.filter((item) => !matches(item));
  const change = (item: Attributes): Attributes => {
    if (part === undefined) return { ...item, ...(isObject(given) ? safeEntries(given) : {}) };
    const { [part]: _, ...others } = item;
    return given === undefined ? others : { ...others, [part]: given };
  };
  if (list.some(matches)) return list.map((item) => (isObject(item) && matches(item) ? change(item) : item));
  return given === undefined ? list : [...list, change({ [key]: wanted })];
}

function safeEntries(given: Attributes): Attributes {
  return Object.fromEntries(Object.entries(given).filter(([name]) => NAME.test(name)));
}

/** The attribute's name as we look it up; undefined for one that no attribute can have (`__proto__` too). */
function canonical(given: string): string | undefined {
  const ours = OURS.find((name) => name.toLowerCase() === given.toLowerCase());
  if (ours !== undefined) return ours;
  return NAME.test(given) || /^urn:[A-Za-z0-9:._-]{1,200}$/.test(given) ? given : undefined;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** `true`, `"True"` as Entra ID writes it, or nothing; undefined for what is not a boolean. */
export function readBoolean(value: unknown): boolean | undefined {
  if (typeof value === "boolean") return value;
  const text = typeof value === "string" ? value.toLowerCase() : "";
  return text === "true" ? true : text === "false" ? false : undefined;
}
