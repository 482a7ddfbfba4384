/** An idle PostgreSQL session as JSON and back (DESIGN section 9, rule 5). */
import type { SessionNames } from "../../policy/masks/session-names.ts";
import { type PreparedState, newPreparedState } from "../../policy/sql/prepared.ts";
import type { BoundPortal } from "./postgres-judge.ts";
import type { Kept } from "./postgres-statements.ts";

export type FrozenPostgres = {
  /** What the machine's `freeze` gave. */
  readonly machine: string;
  readonly prepared: PreparedState<Kept>;
  readonly names: SessionNames;
  readonly parameters: Readonly<Record<string, string>>;
  readonly processId: number;
  readonly secretKey: Uint8Array;
  readonly status: "I" | "T" | "E";
  readonly hiding: boolean;
  readonly channel: number | undefined;
  readonly portals: ReadonlyMap<number, BoundPortal>;
};

/** The caller freezes only what is idle, so nothing is pending. */
export function freezePrepared(session: FrozenPostgres): string {
  const { prepared, portals, secretKey, ...rest } = session;
  return JSON.stringify({
    ...rest,
    secretKey: Buffer.from(secretKey).toString("hex"),
    statements: [...prepared.statements],
    cursors: [...prepared.cursors],
    portals: [...portals],
  });
}

export function thawPrepared(text: string): FrozenPostgres {
  // Our own text from our own storage.
  const json = JSON.parse(text) as Omit<FrozenPostgres, "prepared" | "portals" | "secretKey"> & {
    readonly secretKey: string;
    readonly statements: [string, never][];
    readonly cursors: [string, never][];
    readonly portals: [number, BoundPortal][];
  };
  const { statements, cursors, portals, secretKey, ...rest } = json;
  const prepared = newPreparedState<Kept>();
  for (const [name, entry] of statements) prepared.statements.set(name, entry);
  for (const [name, entry] of cursors) prepared.cursors.set(name, entry);
  return {
    ...rest,
    prepared,
    portals: new Map(portals),
    secretKey: Uint8Array.from(Buffer.from(secretKey, "hex")),
  };
}
