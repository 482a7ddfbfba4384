/**
 * Settings (PostgreSQL docs 20) that no policy can permit, because what the gateway decides would then not be
 * what the server does: those that change how the server reads bytes, and those that change who acts.
 *
 * Going back to the value that the session began with is always allowed. The connector begins every session
 * with client_encoding = UTF8 and standard_conforming_strings = on, so RESET, RESET ALL, SET ... TO DEFAULT
 * and DISCARD ALL lead back to those.
 */
import { refusal, type Refusal } from "../../../wire/refusals.ts";
import { asciiLowerCase } from "./names.ts";
import { type Fields, fieldsOf, list, object, strings, tagged, text } from "./walk.ts";

/** Values that a guarded setting may be set to. */
const GUARDED: ReadonlyMap<string, (value: string) => boolean> = new Map([
  ["client_encoding", isUtf8],
  ["standard_conforming_strings", isTrue],
  ["backslash_quote", (value: string) => asciiLowerCase(value) === "safe_encoding"],
  ["session_replication_role", (value: string) => asciiLowerCase(value) === "origin"],
  ["role", () => false],
  ["session_authorization", () => false],
]);

/** What a statement or function sets a setting to; undefined where it is not a constant. */
export type SettingValue = string | undefined;

/**
 * Refuses a setting that may not have this value. Used for SET, for set_config() and for the parameters of a
 * StartupMessage.
 */
export function checkSetting(name: string, value: SettingValue): Refusal | undefined {
  const allowed = GUARDED.get(asciiLowerCase(name));
  if (allowed === undefined || (value !== undefined && allowed(value))) return undefined;
  return refusal("setting_not_allowed", `the setting "${name}" cannot be changed through the gateway`, {
    hint: "the gateway needs UTF-8, standard strings and the role of the session's own login",
  });
}

/** As pg_char_to_encoding compares names: letters and digits only, in lower case. */
function isUtf8(value: string): boolean {
  let name = "";
  for (const character of asciiLowerCase(value)) {
    if ((character >= "a" && character <= "z") || (character >= "0" && character <= "9")) name += character;
  }
  return name === "utf8" || name === "unicode";
}

/** The spellings of true that matter here; parse_bool takes prefixes too, and those are refused. */
function isTrue(value: string): boolean {
  return ["on", "true", "yes", "1", "t", "y"].includes(asciiLowerCase(value));
}

export type Setting = {
  readonly op: "set" | "reset" | "show";
  readonly name: string;
  readonly value?: string;
};

/**
 * Reads a VariableSetStmt: SET, RESET, and the SET clauses of ALTER ROLE, ALTER DATABASE, ALTER SYSTEM and
 * functions. A `RESET ALL` is a reset of "all"; `SET TRANSACTION` and such have the name that PostgreSQL
 * gives them ("TRANSACTION", "SESSION CHARACTERISTICS", "TRANSACTION SNAPSHOT").
 */
export function readSetting(fields: Fields): {
  readonly setting: Setting;
  readonly refusal: Refusal | undefined;
} {
  const name = asciiLowerCase(text(fields["name"]) ?? "");
  switch (fields["kind"]) {
    case "VAR_SET_VALUE": {
      const args = list(fields["args"]);
      const values = args.map(constantText);
      const value = values.every((item) => item !== undefined) ? values.join(", ") : undefined;
      return {
        setting: { op: "set", name, ...(value === undefined ? {} : { value }) },
        refusal: checkSetting(name, args.length === 1 ? value : undefined),
      };
    }
    case "VAR_SET_DEFAULT":
    case "VAR_RESET":
      return { setting: { op: "reset", name }, refusal: undefined };
    case "VAR_RESET_ALL":
      return { setting: { op: "reset", name: "all" }, refusal: undefined };
    case "VAR_SET_MULTI":
      return { setting: { op: "set", name: text(fields["name"]) ?? "" }, refusal: undefined };
    // FROM CURRENT freezes whatever is current into a function, role or database.
    default:
      return { setting: { op: "set", name }, refusal: checkSetting(name, undefined) };
  }
}

/** The value of a constant, with or without a cast to text, as what SET or set_config() would take. */
function constantText(node: unknown): string | undefined {
  const found = tagged(node);
  if (found?.tag === "TypeCast" && isText(object(found.fields["typeName"]))) {
    return constantText(found.fields["arg"]);
  }
  if (found?.tag !== "A_Const") return undefined;
  const fields = found.fields;
  const string = object(fields["sval"]);
  if (string !== undefined) return text(string["sval"]) ?? "";
  const integer = object(fields["ival"]);
  if (integer !== undefined) return typeof integer["ival"] === "number" ? String(integer["ival"]) : "0";
  const float = object(fields["fval"]);
  if (float !== undefined) return text(float["fval"]) ?? "";
  const boolean = object(fields["boolval"]);
  if (boolean !== undefined) return boolean["boolval"] === true ? "true" : "false";
  return undefined;
}

/** A type to which a cast leaves a string as it is: 'rolex'::char(4) would become "role". */
function isText(type: Fields | undefined): boolean {
  if (type === undefined || type["typmods"] !== undefined || type["arrayBounds"] !== undefined) return false;
  const names = strings(type["names"]);
  const name = names.at(-1);
  return (name === "text" || name === "varchar") && (names.length === 1 || names[0] === "pg_catalog");
}

/** Functions of the extension set_user, which change the role as SET ROLE would. */
const ROLE_FUNCTIONS: ReadonlySet<string | undefined> = new Set([
  "set_user",
  "set_user_u",
  "set_session_auth",
]);

/** Refuses a function call that changes what no policy can permit to change. */
export function checkCall(call: Fields, resolvedName: string | undefined): Refusal | undefined {
  const parts = strings(call["funcname"]);
  const name = parts.at(-1);
  if (ROLE_FUNCTIONS.has(name)) {
    return refusal(
      "function_not_allowed",
      `${name}() is not allowed: the session keeps the role of its own login`,
    );
  }
  const isSetConfig = name === "set_config" && (parts.length === 1 || parts.at(-2) === "pg_catalog");
  return isSetConfig ? checkSetConfig(call, resolvedName) : undefined;
}

/**
 * Refuses a call of set_config(setting_name, new_value, is_local) that could set a guarded setting. A name
 * that is not a constant could be any.
 *
 * @param resolvedName what a name that is not a constant is known to be (see `pgDumpSettingName`)
 */
function checkSetConfig(call: Fields, resolvedName: string | undefined): Refusal | undefined {
  const args = list(call["args"]);
  const named = (name: string, at: number): unknown => {
    for (const arg of args) {
      const fields = fieldsOf(arg, "NamedArgExpr");
      if (fields?.["name"] === name) return fields["arg"];
    }
    return fieldsOf(args[at], "NamedArgExpr") === undefined ? args[at] : undefined;
  };
  const name =
    call["func_variadic"] === true ? undefined : (constantText(named("setting_name", 0)) ?? resolvedName);
  if (name === undefined) {
    return refusal("function_not_allowed", "set_config() needs the setting's name as a constant", {
      hint: "write the name in the statement, as in set_config('search_path', $1, false), or use SET",
    });
  }
  return checkSetting(name, constantText(named("new_value", 1)));
}

/**
 * pg_dump guards itself with `SELECT set_config(name, '...', false) FROM pg_settings WHERE name =
 * 'restrict_nonsystem_relation_kind'`, so that servers without that setting do not complain. This gives the
 * name for exactly that form and that setting.
 */
export function pgDumpSettingName(select: Fields): string | undefined {
  const from = list(select["fromClause"]);
  const relation = fieldsOf(from[0], "RangeVar");
  const where = fieldsOf(select["whereClause"], "A_Expr");
  if (from.length !== 1 || relation?.["relname"] !== "pg_settings" || where === undefined) return undefined;
  if (select["withClause"] !== undefined || select["op"] !== "SETOP_NONE") return undefined;
  if (where["kind"] !== "AEXPR_OP" || !isColumn(where["lexpr"], "name")) return undefined;
  const operator = list(where["name"]);
  if (operator.length !== 1 || fieldsOf(operator[0], "String")?.["sval"] !== "=") return undefined;
  const targets = list(select["targetList"]);
  const call = fieldsOf(fieldsOf(targets[0], "ResTarget")?.["val"], "FuncCall");
  if (targets.length !== 1 || call === undefined || !isColumn(list(call["args"])[0], "name"))
    return undefined;
  const name = constantText(where["rexpr"]);
  return name === "restrict_nonsystem_relation_kind" ? name : undefined;
}

function isColumn(node: unknown, name: string): boolean {
  const parts = list(fieldsOf(node, "ColumnRef")?.["fields"]);
  return parts.length === 1 && fieldsOf(parts[0], "String")?.["sval"] === name;
}
