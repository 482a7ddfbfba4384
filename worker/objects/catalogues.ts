/**
 * The catalogues that this isolate knows, one per resource, for masking. The same for every session: no
 * identity. A catalogue counts as fresh for a short time and never while DDL is under way through the
 * gateway, so that a statement is rewritten by what the database is, not by what it was.
 */
import type { Catalogue } from "../../wire/postgres/catalogue.ts";
import type { MaskConfigError, Masker } from "../policy/masks/types.ts";
import { createMasker } from "../policy/masks/masker.ts";
import type { Resource } from "../policy/types.ts";
import type { Result } from "../../wire/result.ts";
import { sqlParser } from "./engines.ts";

/** Milliseconds after which DDL that did not pass through this gateway is looked for. */
const FRESH_MS = 30_000;

type Known = {
  catalogue: Catalogue | undefined;
  readAt: number;
  /** DDL that was sent and whose transaction has not ended. */
  changing: number;
  /** Increases whenever DDL has ended; a reading that began before is not fresh. */
  changes: number;
  reading: Promise<void> | undefined;
  maskers: Map<number, Result<Masker, MaskConfigError[]>>;
};

const known = new Map<string, Known>();

function of(resource: string): Known {
  let entry = known.get(resource);
  if (entry === undefined) {
    entry = {
      catalogue: undefined,
      readAt: 0,
      changing: 0,
      changes: 0,
      reading: undefined,
      maskers: new Map(),
    };
    known.set(resource, entry);
  }
  return entry;
}

export function freshCatalogue(resource: string, now: number): Catalogue | undefined {
  const entry = of(resource);
  const fresh = entry.changing === 0 && now - entry.readAt < FRESH_MS;
  return fresh ? entry.catalogue : undefined;
}

/** The newest version known, 0 for none; a new reading gets a higher one. */
export function catalogueVersion(resource: string): number {
  return of(resource).catalogue?.version ?? 0;
}

/** When the newest catalogue was read, in milliseconds since the epoch; 0 when there is none or it is stale. */
export function catalogueReadAt(resource: string): number {
  return of(resource).readAt;
}

/** DDL is about to be sent. */
export function ddlBegins(resource: string): void {
  of(resource).changing++;
}

/** The transaction with DDL has ended, one way or the other. */
export function ddlEnds(resource: string): void {
  const entry = of(resource);
  entry.changing = Math.max(0, entry.changing - 1);
  entry.changes++;
  entry.readAt = 0;
}

/** A relation was not known, or the configuration of the resource changed: the next statement reads anew. */
export function forgetCatalogue(resource: string): void {
  of(resource).readAt = 0;
}

/**
 * Reads the catalogue through `read` and keeps it, unless DDL ended meanwhile. Always gives what was read: it
 * is newer than the call, which is what the caller needs.
 */
export async function refreshCatalogue(
  resource: string,
  read: (version: number) => Promise<Result<Catalogue, unknown>>,
  now: () => number,
): Promise<Catalogue | undefined> {
  const entry = of(resource);
  const { changes } = entry;
  const startedAt = now();
  const result = await read(catalogueVersion(resource) + 1);
  if (!result.ok) return undefined;
  if (result.value.version > catalogueVersion(resource)) {
    entry.catalogue = result.value;
    entry.maskers.clear();
    if (entry.changes === changes) entry.readAt = startedAt;
  }
  return result.value;
}

/** The masker for a catalogue and the configuration's version of the resource. */
export function maskerFor(
  resource: Resource,
  configVersion: number,
  catalogue: Catalogue,
  hashKey: string,
): Result<Masker, MaskConfigError[]> {
  const entry = of(resource.name);
  const kept = entry.catalogue === catalogue ? entry.maskers.get(configVersion) : undefined;
  if (kept !== undefined) return kept;
  const masker = createMasker({ catalogue, resource, parser: sqlParser, hashKey });
  if (entry.catalogue === catalogue) {
    entry.maskers.clear();
    entry.maskers.set(configVersion, masker);
  }
  return masker;
}
