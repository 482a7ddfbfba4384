/**
 * SCIM requests against a directory (RFC 7644), and what each means for whoever it is about: someone who may not
 * act any more, or whose groups have changed. The Control object carries that to tokens, tasks and live sessions.
 */
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { DirectorySettings } from "../../config/scim.ts";
import { isName } from "../../identity/claims.ts";
import { parseFilter } from "../../identity/scim/filter.ts";
import {
  GROUP_SCHEMA,
  type ScimError,
  USER_SCHEMA,
  listBody,
  scimError,
} from "../../identity/scim/messages.ts";
import {
  type MemberChange,
  type Patched,
  applyPatch,
  readBoolean,
  readResource,
} from "../../identity/scim/patch.ts";
import { identifier } from "../identifiers.ts";
import type { Directory, Entry, Kind, Search } from "./directory.ts";

export type ScimRequest = {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly kind: Kind;
  readonly id?: string;
  readonly filter?: string;
  /** From one, as in SCIM. */
  readonly startIndex?: number;
  readonly count?: number;
  readonly withoutMembers?: boolean;
  /** Parsed JSON. */
  readonly body?: unknown;
  /** Address of the service, `…/scim/v2`. */
  readonly base: string;
};

export type ScimAnswer = {
  readonly status: 200 | 201 | 204;
  readonly body?: object;
  readonly location?: string;
};

/** What a request changed for one subject of the issuer: its groups, or undefined: it may not act any more. */
export type Effect = { readonly subject: string; readonly groups: readonly string[] | undefined };

export type Handled = { readonly answer: ScimAnswer; readonly effects: readonly Effect[] };

type RecordEvent = (body: { readonly type: string; readonly [field: string]: unknown }) => void;

export class ScimService {
  readonly #directory: Directory;
  readonly #record: RecordEvent;

  constructor(directory: Directory, record: RecordEvent) {
    this.#directory = directory;
    this.#record = record;
  }

  /** `now` in milliseconds since the epoch. */
  handle(settings: DirectorySettings, request: ScimRequest, now: number): Result<Handled, ScimError> {
    const { method, kind, id } = request;
    if (id === undefined) {
      if (method === "GET") return this.#list(settings, request);
      if (method === "POST") return this.#create(settings, request, now);
      return err(scimError(501, `${method} needs the id of a ${kind}`));
    }
    const entry = this.#directory.get(settings.name, kind, id);
    if (entry === undefined) return err(scimError(404, `there is no ${kind} ${id.slice(0, 100)}`));
    switch (method) {
      case "GET":
        return unchanged({ status: 200, body: this.#show(settings, request, entry) });
      case "PUT":
        return this.#replace(settings, request, entry, now);
      case "PATCH":
        return this.#patch(settings, request, entry, now);
      case "DELETE":
        return this.#delete(settings, request, entry);
      case "POST":
        return err(scimError(501, "a resource is created without an id"));
    }
  }

  #list(settings: DirectorySettings, request: ScimRequest): Result<Handled, ScimError> {
    const { kind, filter, startIndex = 1, count = LIMITS.scim.page } = request;
    const attributes =
      kind === "user"
        ? ["id", "userName", "externalId", "active"]
        : ["id", "displayName", "externalId", "members", "members.value"];
    const conditions = filter === undefined ? ok([]) : parseFilter(filter, attributes);
    if (!conditions.ok) return conditions;
    const by: Record<string, string | boolean> = {};
    for (const { attribute, value } of conditions.value) {
      const name = COLUMNS[attribute] ?? attribute;
      const wanted = name === "active" ? readBoolean(value) : value;
      // Twice the same attribute with two values fits nothing, and so does a value of the wrong kind.
      const fits = name === "active" ? typeof wanted === "boolean" : typeof wanted === "string";
      if (wanted === undefined || !fits || (Object.hasOwn(by, name) && by[name] !== wanted)) {
        return unchanged({ status: 200, body: listBody(0, 1, []) });
      }
      by[name] = wanted;
    }
    const from = Math.max(1, startIndex);
    const limit = Math.min(Math.max(0, count), LIMITS.scim.page);
    const found = this.#directory.search(settings.name, kind, by, from - 1, limit);
    const shown = found.entries.map((entry) => this.#show(settings, request, entry));
    return unchanged({ status: 200, body: listBody(found.total, from, shown) });
  }

  #create(settings: DirectorySettings, request: ScimRequest, now: number): Result<Handled, ScimError> {
    const { kind } = request;
    const read = readResource(request.body);
    if (!read.ok) return read;
    const most = kind === "user" ? LIMITS.scim.users : LIMITS.scim.groups;
    if (this.#directory.count(settings.name, kind) >= most) {
      return err(scimError(413, `a directory has at most ${most} of these`, "tooMany"));
    }
    const id = identifier(kind === "user" ? "usr" : "grp");
    return this.#write(settings, request, { id, createdAt: now, active: true }, read.value, now);
  }

  #replace(
    settings: DirectorySettings,
    request: ScimRequest,
    entry: Entry,
    now: number,
  ): Result<Handled, ScimError> {
    const read = readResource(request.body);
    if (!read.ok) return read;
    // RFC 7644 section 3.5.1: what is not in the request is not there any more. A group's members too.
    const members: readonly MemberChange[] =
      request.kind === "group" && read.value.members.length === 0
        ? [{ op: "replace", ids: [] }]
        : read.value.members;
    return this.#write(settings, request, entry, { ...read.value, members }, now);
  }

  #patch(
    settings: DirectorySettings,
    request: ScimRequest,
    entry: Entry,
    now: number,
  ): Result<Handled, ScimError> {
    const attributes = { ...entry.attributes, ...(request.kind === "user" ? { active: entry.active } : {}) };
    const patched = applyPatch(attributes, request.body);
    return patched.ok ? this.#write(settings, request, entry, patched.value, now) : patched;
  }

  #delete(
    settings: DirectorySettings,
    { kind, id = "" }: ScimRequest,
    entry: Entry,
  ): Result<Handled, ScimError> {
    const concerned =
      kind === "user" ? [id] : this.#directory.membersOf(settings.name, id).map((user) => user.id);
    const effects = this.#changing(settings, concerned, () => {
      this.#record({ type: "scim", directory: settings.name, change: "delete", kind, id, name: entry.name });
      this.#directory.remove(settings.name, kind, id);
    });
    return ok({ answer: { status: 204 }, effects });
  }

  /** Checks the whole of what the entry will be, then writes it. */
  #write(
    settings: DirectorySettings,
    request: ScimRequest,
    before: Pick<Entry, "id" | "createdAt" | "active"> & Partial<Entry>,
    { attributes, members }: Patched,
    now: number,
  ): Result<Handled, ScimError> {
    const { kind, method } = request;
    const { name: directory } = settings;
    if (kind === "user" && members.length > 0)
      return err(scimError(400, "a user has no members", "invalidPath"));
    const entry = toEntry(kind, before, attributes, now);
    if (!entry.ok) return entry;
    if (this.#directory.conflicting(directory, kind, entry.value)) {
      return err(scimError(409, `there is another ${kind} of this name or externalId`, "uniqueness"));
    }
    const moved = this.#membership(directory, before.id, members);
    if (!moved.ok) return moved;
    const { joining, leaving } = moved.value;
    const renamed = before.name !== undefined && before.name !== entry.value.name;
    const everyone =
      kind === "group" && renamed ? this.#directory.membersOf(directory, before.id).map(({ id }) => id) : [];
    const concerned = kind === "user" ? [before.id] : [...new Set([...everyone, ...joining, ...leaving])];
    const effects = this.#changing(settings, concerned, () => {
      this.#record({
        type: "scim",
        directory,
        change: method === "POST" ? "create" : "change",
        kind,
        id: before.id,
        name: entry.value.name,
        ...(kind === "user" ? { active: entry.value.active } : { joining, leaving }),
      });
      this.#directory.save(directory, kind, entry.value);
      this.#directory.leave(directory, before.id, leaving);
      this.#directory.join(directory, before.id, joining);
    });
    const location = locationOf(request, before.id);
    if (method === "PATCH" && kind === "group") return ok({ answer: { status: 204 }, effects });
    const body = this.#show(settings, request, entry.value);
    const status = method === "POST" ? 201 : 200;
    return ok({ answer: { status, body, location }, effects });
  }

  /** Who joins and who leaves a group after all changes. */
  #membership(
    directory: string,
    group: string,
    changes: readonly MemberChange[],
  ): Result<{ joining: string[]; leaving: string[] }, ScimError> {
    if (changes.length === 0) return ok({ joining: [], leaving: [] });
    const before = new Set(this.#directory.membersOf(directory, group).map(({ id }) => id));
    let after = new Set(before);
    for (const { op, ids } of changes) {
      if (op === "replace") after = new Set(ids);
      else
        for (const id of ids)
          if (op === "add") after.add(id);
          else after.delete(id);
    }
    if (after.size > LIMITS.scim.members) {
      return err(scimError(413, `a group has at most ${LIMITS.scim.members} members`, "tooMany"));
    }
    const joining = [...after].filter((id) => !before.has(id));
    const stranger = joining.find((id) => this.#directory.get(directory, "user", id) === undefined);
    if (stranger !== undefined) {
      return err(
        scimError(
          400,
          `there is no user ${stranger.slice(0, 100)}; groups in groups are not supported`,
          "invalidValue",
        ),
      );
    }
    return ok({ joining, leaving: [...before].filter((id) => !after.has(id)) });
  }

  /** Does the work and says for which of these users it made a difference. */
  #changing(settings: DirectorySettings, users: readonly string[], work: () => void): Effect[] {
    const before = users.map((id) => this.#standing(settings, id));
    work();
    const effects: Effect[] = [];
    users.forEach((id, at) => {
      const [was, is] = [before[at], this.#standing(settings, id)];
      if (was?.groups !== undefined && was.subject !== is?.subject) {
        effects.push({ subject: was.subject, groups: undefined });
      }
      if (is === undefined) return;
      const same = was?.subject === is.subject && was.groups?.join("\n") === is.groups?.join("\n");
      if (!same) effects.push(is);
    });
    return effects;
  }

  /** The user as an issuer's tokens name it; undefined when there is no such user, or it has no such name. */
  #standing({ name, subject }: DirectorySettings, id: string): Effect | undefined {
    const user = this.#directory.get(name, "user", id);
    const named = subject === "userName" ? user?.name : user?.externalId;
    if (user === undefined || named === undefined) return undefined;
    const groups = user.active ? this.#directory.groupsOf(name, id).map((group) => group.name) : undefined;
    return { subject: named, groups };
  }

  #show(settings: DirectorySettings, request: ScimRequest, entry: Entry): object {
    const { kind } = request;
    const { id, name, externalId, active, createdAt, modifiedAt } = entry;
    const toMember = (member: { readonly id: string; readonly name: string }): object => ({
      value: member.id,
      display: member.name,
    });
    const extensions = Object.keys(entry.attributes).filter((key) => key.startsWith("urn:"));
    const own =
      kind === "user"
        ? { userName: name, active, groups: this.#directory.groupsOf(settings.name, id).map(toMember) }
        : {
            displayName: name,
            ...(request.withoutMembers === true
              ? {}
              : { members: this.#directory.membersOf(settings.name, id).map(toMember) }),
          };
    return {
      schemas: [kind === "user" ? USER_SCHEMA : GROUP_SCHEMA, ...extensions],
      id,
      ...(externalId === undefined ? {} : { externalId }),
      ...entry.attributes,
      ...own,
      meta: {
        resourceType: kind === "user" ? "User" : "Group",
        created: new Date(createdAt).toISOString(),
        lastModified: new Date(modifiedAt).toISOString(),
        location: locationOf(request, id),
      },
    };
  }
}

const COLUMNS: Readonly<Record<string, keyof Search>> = {
  userName: "name",
  displayName: "name",
  members: "member",
  "members.value": "member",
};

function unchanged(answer: ScimAnswer): Result<Handled, never> {
  return ok({ answer, effects: [] });
}

function locationOf({ base, kind }: ScimRequest, id: string): string {
  return `${base}/${kind === "user" ? "Users" : "Groups"}/${id}`;
}

function toEntry(
  kind: Kind,
  before: Pick<Entry, "id" | "createdAt" | "active">,
  attributes: Patched["attributes"],
  now: number,
): Result<Entry, ScimError> {
  const nameAttribute = kind === "user" ? "userName" : "displayName";
  const { [nameAttribute]: name, externalId, active: given, ...others } = attributes;
  if (!isName(name)) {
    return err(scimError(400, `${nameAttribute} has to be text that can be shown`, "invalidValue"));
  }
  if (externalId !== undefined && externalId !== null && externalId !== "" && !isName(externalId)) {
    return err(scimError(400, "externalId has to be text that can be shown", "invalidValue"));
  }
  // Not said is not changed: a client that leaves it out must not let anybody in again.
  const active = given === undefined ? before.active : readBoolean(given);
  if (kind === "user" && active === undefined) {
    return err(scimError(400, "active has to be true or false", "invalidValue"));
  }
  const kept = { ...others, [nameAttribute]: name, ...(isName(externalId) ? { externalId } : {}) };
  if (JSON.stringify(kept).length > LIMITS.scim.resource) {
    return err(scimError(413, `a ${kind} has at most ${LIMITS.scim.resource} characters of JSON`, "tooMany"));
  }
  return ok({
    id: before.id,
    name,
    externalId: isName(externalId) ? externalId : undefined,
    active: kind === "group" || active === true,
    attributes: kept,
    createdAt: before.createdAt,
    modifiedAt: now,
  });
}
