/**
 * What a masked column is shown as: SQL expressions over the column that keep its type, cannot fail, and name
 * everything in pg_catalog so that no search_path changes them. `null` and `full` show nothing at all, not even
 * whether there is a value; the others keep NULL.
 */
import { err, ok, type Result } from "../../../wire/result.ts";
import type { CatalogueColumn } from "../../../wire/postgres/catalogue.ts";
import type { ColumnMask } from "../types.ts";

/** Builds the expression for one way of naming the column, such as `ssn` or `customers.ssn`. */
export type MaskExpression = (reference: string) => string;

export type BuiltMask = {
  readonly expression: MaskExpression;
  /** What `policy explain` says: "shown as its last four characters". */
  readonly says: string;
  /** It reads the column; else it is a constant. */
  readonly reads: boolean;
  /** An administrator's own SQL, which may fail with the value in the message. */
  readonly mayFail: boolean;
  /** How its output is told from a real value, for text. */
  readonly looksLike?: "stars" | "last4" | "first1" | "email";
};

const WHOLE = new Set(["smallint", "integer", "bigint"]);
const FLOAT = new Set(["real", "double precision"]);

/** Constants that say nothing, by type; every other type is shown as NULL. */
const NEUTRAL: Readonly<Record<string, string>> = {
  smallint: "0",
  integer: "0",
  bigint: "0",
  numeric: "0",
  real: "0",
  "double precision": "0",
  money: "0",
  boolean: "'f'",
  date: "'1970-01-01'",
  "timestamp without time zone": "'1970-01-01 00:00:00'",
  "timestamp with time zone": "'1970-01-01 00:00:00+00'",
  "time without time zone": "'00:00:00'",
  "time with time zone": "'00:00:00+00'",
  interval: "'0'",
  uuid: "'00000000-0000-0000-0000-000000000000'",
  json: "'{}'",
  jsonb: "'{}'",
  bytea: "'\\x'",
  inet: "'0.0.0.0'",
  cidr: "'0.0.0.0/32'",
  xml: "''",
  tsvector: "''",
};

/** The name of the type without its modifier: `character varying(11)` is `character varying`. */
export function bareType(type: string): string {
  const open = type.indexOf("(");
  if (open === -1) return type;
  const close = type.indexOf(")", open);
  return (type.slice(0, open).trimEnd() + type.slice(close + 1)).trim();
}

/** The declared length of a character type, if it has one. */
function declaredLength(type: string): number | undefined {
  const open = type.indexOf("(");
  return open === -1 ? undefined : Number.parseInt(type.slice(open + 1), 10);
}

/** Works with the base type of a domain, whose checks a mask need not meet; the protocol names that type anyway. */
export function buildMask(column: CatalogueColumn, mask: ColumnMask): Result<BuiltMask, string> {
  const type = column.baseType;
  const bare = bareType(type);
  const text = column.category === "S";
  const cast = (expression: string): string => `CAST(${expression} AS ${type})`;
  const reading = (
    says: string,
    expression: MaskExpression,
    looksLike?: BuiltMask["looksLike"],
  ): Result<BuiltMask, string> =>
    ok({
      says,
      expression: (reference) => cast(expression(reference)),
      reads: true,
      mayFail: false,
      ...(looksLike === undefined ? {} : { looksLike }),
    });
  const constant = (says: string, expression: string): Result<BuiltMask, string> =>
    ok({ says, expression: () => cast(expression), reads: false, mayFail: false });
  switch (mask.mask) {
    case "null":
      return constant("shown as NULL", "NULL");
    case "full":
      if (text) {
        const stars = "*".repeat(Math.min(4, declaredLength(type) ?? 4));
        return ok({
          says: `shown as ${stars}`,
          expression: () => cast(`'${stars}'`),
          reads: false,
          mayFail: false,
          looksLike: "stars",
        });
      }
      if (column.category === "A" || bare.endsWith("[]")) return constant("shown as an empty array", "'{}'");
      return Object.hasOwn(NEUTRAL, bare)
        ? constant("shown as a constant", NEUTRAL[bare] ?? "NULL")
        : constant("shown as NULL", "NULL");
    case "last4":
      if (text) return reading("shown as its last four characters", last4, "last4");
      if (WHOLE.has(bare)) return reading("shown as its last four digits", last4Digits);
      return notSuited(mask, type, "text and whole numbers");
    case "first1":
      if (!text) return notSuited(mask, type, "text");
      return reading("shown as its first character", first1, "first1");
    case "email":
      if (!text) return notSuited(mask, type, "text");
      return reading("shown as its first letter and domain", email, "email");
    case "hash":
      return hash(mask, type, bare, text);
    case "date_year":
      return dateYear(mask, type, bare);
    case "round":
      return round(mask, type, bare);
    case "sql":
      return err("an expression of the administrator's is built elsewhere");
  }
}

function notSuited(mask: ColumnMask, type: string, suits: string): Result<BuiltMask, string> {
  return err(`the mask ${mask.mask} suits ${suits}, not ${type}`);
}

function asText(reference: string): string {
  return `CAST(${reference} AS pg_catalog.text)`;
}

function whenPresent(reference: string, expression: string): string {
  return `CASE WHEN ${reference} IS NULL THEN NULL ELSE ${expression} END`;
}

/** Fewer than eight characters would be shown by half or more, so nothing of them is. */
function last4(r: string): string {
  const value = asText(r);
  return whenPresent(
    r,
    `CASE WHEN pg_catalog.length(${value}) OPERATOR(pg_catalog.>=) 8 THEN pg_catalog.concat('****', pg_catalog.right(${value}, 4)) ELSE '****' END`,
  );
}

function last4Digits(r: string): string {
  return `CASE WHEN ${r} OPERATOR(pg_catalog.>=) 10000000 THEN ${r} OPERATOR(pg_catalog.%) 10000 WHEN ${r} IS NULL THEN NULL ELSE 0 END`;
}

function first1(r: string): string {
  return whenPresent(r, `pg_catalog.concat(pg_catalog.left(${asText(r)}, 1), '***')`);
}

/** The domain is what follows the last @; a value that is not an address shows nothing. */
function email(r: string): string {
  const value = asText(r);
  return whenPresent(
    r,
    `CASE WHEN pg_catalog.strpos(${value}, '@') OPERATOR(pg_catalog.>) 1` +
      ` THEN pg_catalog.concat(pg_catalog.left(${value}, 1), '***@', pg_catalog.split_part(${value}, '@', -1)) ELSE '***' END`,
  );
}

/** Names of the settings that hold HMAC's two padded keys, as hexadecimal. */
export const HASH_INNER = "sallyport.hash_inner";
export const HASH_OUTER = "sallyport.hash_outer";

/** HMAC-SHA256 (RFC 2104) of the value's text, by what every PostgreSQL has: `sha256` and a setting of the session. */
function hmac(r: string): string {
  const key = (setting: string): string =>
    `pg_catalog.decode(pg_catalog.current_setting('${setting}'), 'hex')`;
  const inner = `pg_catalog.sha256(${key(HASH_INNER)} OPERATOR(pg_catalog.||) pg_catalog.convert_to(${asText(r)}, 'UTF8'))`;
  return `pg_catalog.sha256(${key(HASH_OUTER)} OPERATOR(pg_catalog.||) ${inner})`;
}

/** Characters of a hash: 128 bits, in every text column, so that columns of different lengths still join. */
const HASH_CHARACTERS = 32;

function hash(mask: ColumnMask, type: string, bare: string, text: boolean): Result<BuiltMask, string> {
  const says = "shown as a keyed hash";
  const built = (expression: MaskExpression): Result<BuiltMask, string> =>
    ok({ says, expression: (r) => `CAST(${expression(r)} AS ${type})`, reads: true, mayFail: false });
  const hex = (r: string): string =>
    `pg_catalog.left(pg_catalog.encode(${hmac(r)}, 'hex'), ${HASH_CHARACTERS})`;
  if (text) {
    const length = declaredLength(type);
    if (length !== undefined && length < HASH_CHARACTERS) {
      return err(`the mask hash needs ${HASH_CHARACTERS} characters, ${type} has fewer`);
    }
    return built(hex);
  }
  if (bare === "uuid") return built(hex);
  if (bare === "bytea") {
    return built(
      (r) => `CASE WHEN ${r} IS NULL THEN NULL ELSE ${hmac(`pg_catalog.encode(${r}, 'hex')`)} END`,
    );
  }
  if (bare === "bigint" || bare === "numeric") {
    // 60 bits, never negative.
    return built((r) =>
      whenPresent(
        r,
        `CAST(CAST(pg_catalog.concat('x', pg_catalog.left(${hex(r)}, 15)) AS bit(60)) AS bigint)`,
      ),
    );
  }
  return notSuited(mask, type, "text, uuid, bytea, bigint and numeric");
}

/** A time zone of the client's choosing would move the turn of the year, so it is always UTC. */
function dateYear(mask: ColumnMask, type: string, bare: string): Result<BuiltMask, string> {
  const says = "shown as its year";
  const built = (expression: MaskExpression): Result<BuiltMask, string> =>
    ok({ says, expression: (r) => `CAST(${expression(r)} AS ${type})`, reads: true, mayFail: false });
  const year = (timestamp: string): string => `pg_catalog.date_trunc('year', ${timestamp})`;
  if (bare === "date") {
    // Beyond the range of timestamp a date cannot be truncated; nobody was born there.
    return built(
      (r) =>
        `CASE WHEN pg_catalog.isfinite(${r}) AND ${r} OPERATOR(pg_catalog.<) CAST('290000-01-01' AS pg_catalog.date)` +
        ` THEN CAST(${year(`CAST(${r} AS timestamp)`)} AS pg_catalog.date) ELSE NULL END`,
    );
  }
  if (bare === "timestamp without time zone") return built(year);
  if (bare === "timestamp with time zone") {
    return built((r) => `pg_catalog.timezone('UTC', ${year(`pg_catalog.timezone('UTC', ${r})`)})`);
  }
  return notSuited(mask, type, "dates and timestamps");
}

/** Towards zero, so that no result is out of the type's range. */
function round(mask: ColumnMask, type: string, bare: string): Result<BuiltMask, string> {
  const step = mask.step ?? 0;
  if (!Number.isFinite(step) || step <= 0) return err("the mask round needs a step above zero");
  const says = `shown in steps of ${step}`;
  const number =
    bare === "money" || WHOLE.has(bare) || bare === "numeric" ? "pg_catalog.numeric" : "pg_catalog.float8";
  if (!WHOLE.has(bare) && !FLOAT.has(bare) && bare !== "numeric" && bare !== "money") {
    return notSuited(mask, type, "numbers");
  }
  if (WHOLE.has(bare) && !Number.isInteger(step)) return err(`the mask round needs a whole step for ${type}`);
  const constant = `CAST('${step}' AS ${number})`;
  return ok({
    says,
    reads: true,
    mayFail: false,
    expression: (r) =>
      `CAST(pg_catalog.trunc(CAST(${r} AS ${number}) OPERATOR(pg_catalog./) ${constant}) OPERATOR(pg_catalog.*) ${constant} AS ${type})`,
  });
}
