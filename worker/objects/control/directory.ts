/**
 * People and groups as an identity provider keeps them here through SCIM, in the Control object's SQLite. Where
 * a directory speaks for an issuer, it says who of that issuer's people may act at all, and in which groups.
 */
import type { Attributes } from "../../identity/scim/patch.ts";
import { LIMITS } from "../../../wire/limits.ts";
import type { DirectorySettings } from "../../config/scim.ts";
import type { Principal } from "../../policy/types.ts";

/** A user or a group. Times in milliseconds since the epoch. */
export type Entry = {
  readonly id: string;
  /** `userName` of a user, `displayName` of a group. */
  readonly name: string;
  readonly externalId: string | undefined;
  /** Always true for a group. */
  readonly active: boolean;
  /** Everything that the client gave, names and members aside too. */
  readonly attributes: Attributes;
  readonly createdAt: number;
  readonly modifiedAt: number;
};

export type Kind = "user" | "group";

type Row = {
  readonly id: string;
  readonly name: string;
  readonly external_id: string | null;
  readonly active: number;
  readonly attributes: string;
  readonly created_at: number;
  readonly modified_at: number;
};

/** What a search may ask for. */
export type Search = Partial<Record<"id" | "name" | "externalId" | "member", string>> & {
  readonly active?: boolean;
};

export class Directory {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS scim_directories (name TEXT PRIMARY KEY, filled_at INTEGER NOT NULL);
      CREATE TABLE IF NOT EXISTS scim_entries (
        directory TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, name_key TEXT NOT NULL,
        external_id TEXT, active INTEGER NOT NULL, attributes TEXT NOT NULL, created_at INTEGER NOT NULL,
        modified_at INTEGER NOT NULL, PRIMARY KEY (directory, kind, id));
      CREATE UNIQUE INDEX IF NOT EXISTS scim_entries_name ON scim_entries (directory, kind, name_key);
      CREATE UNIQUE INDEX IF NOT EXISTS scim_entries_external ON scim_entries (directory, kind, external_id)
        WHERE external_id IS NOT NULL;
      CREATE TABLE IF NOT EXISTS scim_members (
        directory TEXT NOT NULL, group_id TEXT NOT NULL, user_id TEXT NOT NULL,
        PRIMARY KEY (directory, group_id, user_id)) WITHOUT ROWID;
      CREATE INDEX IF NOT EXISTS scim_members_user ON scim_members (directory, user_id);
    `);
  }

  /**
   * The principal with the groups of its issuer's directory; as it is where no directory speaks for the issuer;
   * undefined for a person whom the directory does not have, or not as active. A workload that the directory
   * does not have is not its business. A directory speaks from its first user on.
   */
  current(principal: Principal, directories: readonly DirectorySettings[]): Principal | undefined {
    const settings = directories.find(({ issuer }) => issuer === principal.issuer);
    if (settings === undefined || !this.#speaks(settings.name)) return principal;
    const column = settings.subject === "userName" ? "name" : "external_id";
    const user = this.#sql
      .exec<Row>(
        `SELECT * FROM scim_entries WHERE directory = ? AND kind = 'user' AND ${column} = ?`,
        settings.name,
        principal.subject,
      )
      .toArray()[0];
    if (user === undefined) return principal.type === "Workload" ? principal : undefined;
    if (user.active !== 1) return undefined;
    const groups = this.groupsOf(settings.name, user.id).map(({ name }) => name);
    return groups.length > LIMITS.http.groups ? undefined : { ...principal, groups };
  }

  #speaks(directory: string): boolean {
    return this.#sql.exec("SELECT 1 FROM scim_directories WHERE name = ?", directory).toArray().length > 0;
  }

  get(directory: string, kind: Kind, id: string): Entry | undefined {
    const row = this.#sql
      .exec<Row>(
        "SELECT * FROM scim_entries WHERE directory = ? AND kind = ? AND id = ?",
        directory,
        kind,
        id,
      )
      .toArray()[0];
    return row === undefined ? undefined : toEntry(row);
  }

  /** Another entry of this name or external id; one kind has neither twice. */
  conflicting(directory: string, kind: Kind, entry: Pick<Entry, "id" | "name" | "externalId">): boolean {
    return (
      this.#sql
        .exec(
          "SELECT 1 FROM scim_entries WHERE directory = ? AND kind = ? AND id <> ? AND (name_key = ? OR external_id = ?)",
          directory,
          kind,
          entry.id,
          nameKey(kind, entry.name),
          entry.externalId ?? null,
        )
        .toArray().length > 0
    );
  }

  count(directory: string, kind: Kind): number {
    return this.#sql
      .exec<{ count: number }>(
        "SELECT count(*) AS count FROM scim_entries WHERE directory = ? AND kind = ?",
        directory,
        kind,
      )
      .one().count;
  }

  /** Entries from `offset` on, in the order in which they came, and how many there are in all. */
  search(
    directory: string,
    kind: Kind,
    by: Search,
    offset: number,
    limit: number,
  ): { readonly total: number; readonly entries: Entry[] } {
    const conditions = ["directory = ?", "kind = ?"];
    const values: (string | number)[] = [directory, kind];
    const where = (condition: string, ...given: (string | number)[]): void => {
      conditions.push(condition);
      values.push(...given);
    };
    if (by.id !== undefined) where("id = ?", by.id);
    if (by.name !== undefined) where("name_key = ?", nameKey(kind, by.name));
    if (by.externalId !== undefined) where("external_id = ?", by.externalId);
    if (by.active !== undefined) where("active = ?", by.active ? 1 : 0);
    if (by.member !== undefined) {
      where(
        "id IN (SELECT group_id FROM scim_members WHERE directory = ? AND user_id = ?)",
        directory,
        by.member,
      );
    }
    const from = `FROM scim_entries WHERE ${conditions.join(" AND ")}`;
    const { total } = this.#sql.exec<{ total: number }>(`SELECT count(*) AS total ${from}`, ...values).one();
    const rows = this.#sql
      .exec<Row>(`SELECT * ${from} ORDER BY created_at, id LIMIT ? OFFSET ?`, ...values, limit, offset)
      .toArray();
    return { total, entries: rows.map(toEntry) };
  }

  save(directory: string, kind: Kind, entry: Entry): void {
    if (kind === "user") {
      this.#sql.exec("INSERT OR IGNORE INTO scim_directories VALUES (?, ?)", directory, entry.modifiedAt);
    }
    this.#sql.exec(
      `INSERT INTO scim_entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (directory, kind, id) DO UPDATE SET name = excluded.name, name_key = excluded.name_key,
        external_id = excluded.external_id, active = excluded.active, attributes = excluded.attributes,
        modified_at = excluded.modified_at`,
      directory,
      kind,
      entry.id,
      entry.name,
      nameKey(kind, entry.name),
      entry.externalId ?? null,
      entry.active ? 1 : 0,
      JSON.stringify(entry.attributes),
      entry.createdAt,
      entry.modifiedAt,
    );
  }

  remove(directory: string, kind: Kind, id: string): void {
    const column = kind === "user" ? "user_id" : "group_id";
    this.#sql.exec(`DELETE FROM scim_members WHERE directory = ? AND ${column} = ?`, directory, id);
    this.#sql.exec(
      "DELETE FROM scim_entries WHERE directory = ? AND kind = ? AND id = ?",
      directory,
      kind,
      id,
    );
  }

  groupsOf(directory: string, user: string): { readonly id: string; readonly name: string }[] {
    return this.#sql
      .exec<{ id: string; name: string }>(
        `SELECT id, name FROM scim_members JOIN scim_entries
          ON scim_entries.directory = scim_members.directory AND kind = 'group' AND id = group_id
          WHERE scim_members.directory = ? AND user_id = ? ORDER BY name`,
        directory,
        user,
      )
      .toArray();
  }

  membersOf(directory: string, group: string): { readonly id: string; readonly name: string }[] {
    return this.#sql
      .exec<{ id: string; name: string }>(
        `SELECT id, name FROM scim_members JOIN scim_entries
          ON scim_entries.directory = scim_members.directory AND kind = 'user' AND id = user_id
          WHERE scim_members.directory = ? AND group_id = ? ORDER BY name`,
        directory,
        group,
      )
      .toArray();
  }

  join(directory: string, group: string, users: readonly string[]): void {
    for (const user of users) {
      this.#sql.exec("INSERT OR IGNORE INTO scim_members VALUES (?, ?, ?)", directory, group, user);
    }
  }

  leave(directory: string, group: string, users: readonly string[]): void {
    for (const user of users) {
      this.#sql.exec(
        "DELETE FROM scim_members WHERE directory = ? AND group_id = ? AND user_id = ?",
        directory,
        group,
        user,
      );
    }
  }
}

/** RFC 7643 section 4.1.1: `userName` is the same in any case. Groups are as exact as in policies. */
function nameKey(kind: Kind, name: string): string {
  return kind === "user" ? name.toLowerCase() : name;
}

function toEntry(row: Row): Entry {
  return {
    id: row.id,
    name: row.name,
    externalId: row.external_id ?? undefined,
    active: row.active === 1,
    attributes: JSON.parse(row.attributes) as Attributes,
    createdAt: row.created_at,
    modifiedAt: row.modified_at,
  };
}
