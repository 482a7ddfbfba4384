/**
 * Which functions may be called over a resource with masks. Built-in ones by an allow-list (an immutable
 * function sees its arguments only; the others were read one by one, scripts/masks/); those of the database's
 * own and of extensions only if the administrator trusts them, since their bodies can read any relation.
 */
import type { Catalogue } from "../../../wire/postgres/catalogue.ts";
import { ALLOWED_FUNCTIONS, OTHER_FUNCTIONS } from "./builtin-functions.ts";

export type TrustedNames = {
  /** `schema.name` of trusted functions. */
  readonly trusted: ReadonlySet<string>;
  /** Bare names of the database's own functions, with the schemas that have one. */
  readonly own: ReadonlyMap<string, readonly string[]>;
  /** Names of own, untrusted functions that `t.name` could call with a whole row. */
  readonly takingRows: ReadonlySet<string>;
  /** Names of operators, and of types, that call a function which is not trusted. */
  readonly operators: ReadonlySet<string>;
  readonly types: ReadonlySet<string>;
  readonly untrustedOids: ReadonlySet<number>;
  readonly columns: ReadonlySet<string>;
  /** A masked column takes its values from a sequence. */
  sequencesTell: boolean;
};

/** Functions that tell the last value of a sequence. */
const SEQUENCE_FUNCTIONS = new Set(["currval", "lastval", "nextval", "setval"]);

export function trustedNames(catalogue: Catalogue, trustedFunctions: readonly string[]): TrustedNames {
  const trusted = new Set(trustedFunctions);
  const own = new Map<string, string[]>();
  const takingRows = new Set<string>();
  const untrustedOids = new Set<number>();
  for (const { oid, schema, name, takesRow } of catalogue.functions) {
    own.set(name, [...(own.get(name) ?? []), schema]);
    if (trusted.has(`${schema}.${name}`)) continue;
    untrustedOids.add(oid);
    if (takesRow) takingRows.add(name);
  }
  // Operators and casts of an extension are code of its types, named = or < like any other; its functions stay refused.
  const ofExtensions = new Set(
    catalogue.functions.filter(({ extension }) => extension !== undefined).map(({ oid }) => oid),
  );
  const untrusted = ({ function: oid }: { readonly function: number }): boolean =>
    untrustedOids.has(oid) && !ofExtensions.has(oid);
  const types = new Set(catalogue.types.filter(untrusted).map(({ name }) => name));
  for (const cast of catalogue.casts.filter(untrusted)) types.add(cast.source).add(cast.target);
  return {
    trusted,
    own,
    takingRows,
    untrustedOids,
    types: new Set([...types].filter((name) => !BUILTIN_TYPES.has(name))),
    operators: new Set(catalogue.operators.filter(untrusted).map(({ name }) => name)),
    columns: new Set(catalogue.relations.flatMap(({ columns }) => columns.map(({ name }) => name))),
    sequencesTell: false,
  };
}

/** What is known before there is a catalogue: the functions that are to be trusted. */
export function declaredNames(trustedFunctions: readonly string[]): TrustedNames {
  const own = new Map<string, readonly string[]>();
  for (const qualified of trustedFunctions) {
    // A name that is quoted may hold a dot itself: every way to read it counts here.
    for (let dot = qualified.indexOf("."); dot !== -1; dot = qualified.indexOf(".", dot + 1)) {
      const name = qualified.slice(dot + 1);
      own.set(name, [...(own.get(name) ?? []), qualified.slice(0, dot)]);
    }
  }
  return {
    trusted: new Set(trustedFunctions),
    own,
    takingRows: new Set(),
    operators: new Set(),
    types: new Set(),
    untrustedOids: new Set(),
    columns: new Set(),
    sequencesTell: false,
  };
}

/** The other side of a cast is often a built-in type, which stays usable: the cast needs its own type to be named. */
const BUILTIN_TYPES = new Set(
  "text varchar bpchar name bool int2 int4 int8 float4 float8 numeric date timestamp timestamptz time timetz interval uuid json jsonb bytea oid xml inet cidr money".split(
    " ",
  ),
);

/**
 * Why a call is not allowed, or undefined.
 * @param parts the function's name as written: `[name]` or `[schema, name]`
 * @param projects the call could be the notation `column(row)`
 */
export function functionProblem(
  parts: readonly string[],
  names: TrustedNames,
  projects = false,
): string | undefined {
  const name = parts.at(-1) ?? "";
  const schema = parts.at(-2);
  const shown = parts.join(".");
  if (schema !== undefined && schema !== "pg_catalog") {
    return names.trusted.has(`${schema}.${name}`)
      ? undefined
      : `${shown} is not a function that this resource trusts`;
  }
  // Without a schema a function of the database's own can be meant, whatever search_path says.
  const own = schema === undefined ? (names.own.get(name) ?? []) : [];
  const distrusted = own.find((owner) => !names.trusted.has(`${owner}.${name}`));
  if (distrusted !== undefined) return `${distrusted}.${name} is not a function that this resource trusts`;
  if (ALLOWED_FUNCTIONS.has(name)) {
    return names.sequencesTell && SEQUENCE_FUNCTIONS.has(name)
      ? `${shown} tells of a masked column that takes its values from a sequence`
      : undefined;
  }
  if (OTHER_FUNCTIONS.has(name))
    return `${shown} can tell what is stored, so it is not allowed where columns are masked`;
  if (own.length > 0) return undefined;
  if (projects && names.columns.has(name)) return undefined;
  return `${shown} is not a function that is known to be safe where columns are masked`;
}
