/**
 * YAML config files, checked with zod; whatever is wrong is told with file, line and column, and an unknown key
 * with the keys that are allowed in its place.
 */
import { readFile } from "node:fs/promises";
import {
  LineCounter,
  type Document,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  parseDocument,
} from "yaml";
import type { z } from "zod";
import { type Result, err, ok } from "../../wire/result.ts";

export type ConfigProblem = {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
};

const MAX_CONFIG_BYTES = 1 << 20;

/** A config that has been read, and where its parts stand in the file. */
export type ConfigFile<T> = {
  readonly value: T;
  /** The problem at a path of the config, for what is found wrong only later. */
  readonly problemAt: (path: readonly (string | number)[], message: string) => ConfigProblem;
};

export function formatProblem(problem: ConfigProblem): string {
  return problem.line === 0
    ? `${problem.file}: ${problem.message}`
    : `${problem.file}:${problem.line}:${problem.column}: ${problem.message}`;
}

export async function readConfigFile<T>(
  file: string,
  schema: z.ZodType<T>,
): Promise<Result<ConfigFile<T>, ConfigProblem[]>> {
  let bytes: Buffer;
  try {
    bytes = await readFile(file);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const message =
      code === "ENOENT" ? "there is no such file" : `cannot be read (${code ?? "unknown error"})`;
    return err([{ file, line: 0, column: 0, message }]);
  }
  if (bytes.length > MAX_CONFIG_BYTES)
    return err([{ file, line: 0, column: 0, message: `is over ${MAX_CONFIG_BYTES} bytes` }]);
  return parseConfig(file, bytes.toString("utf8"), schema);
}

/** Parses and checks the text of a config file; `file` is only for the messages. */
export function parseConfig<T>(
  file: string,
  text: string,
  schema: z.ZodType<T>,
): Result<ConfigFile<T>, ConfigProblem[]> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const at = (offset: number, message: string): ConfigProblem => {
    const { line, col } = lines.linePos(offset);
    return { file, line, column: col, message };
  };
  if (document.errors.length > 0) return err(document.errors.map((error) => at(error.pos[0], error.message)));
  let json: unknown;
  try {
    json = document.toJS();
  } catch {
    return err([at(0, "has too many aliases")]);
  }
  const problemAt = (path: readonly PropertyKey[], message: string): ConfigProblem =>
    at(offsetOf(document, path), message);
  const parsed = schema.safeParse(json);
  if (parsed.success) return ok({ value: parsed.data, problemAt });
  return err(flatten(parsed.error.issues).flatMap((issue) => problemsOf(issue, json, schema, problemAt)));
}

type Issue = z.core.$ZodIssue;

/** Of a union's branches the one that came furthest says best what is wrong. */
function flatten(issues: readonly Issue[]): Issue[] {
  return issues.flatMap((issue) => {
    if (issue.code !== "invalid_union" || issue.errors.length === 0) return [issue];
    const deepest = issue.errors.toSorted((a, b) => depth(b) - depth(a))[0] ?? [];
    if (depth(deepest) === 0) return [issue];
    return flatten(deepest.map((inner) => ({ ...inner, path: [...issue.path, ...inner.path] })));
  });
}

function depth(issues: readonly Issue[]): number {
  return Math.max(0, ...issues.map((issue) => issue.path.length));
}

function problemsOf(
  issue: Issue,
  json: unknown,
  schema: z.ZodType,
  problemAt: (path: readonly PropertyKey[], message: string) => ConfigProblem,
): ConfigProblem[] {
  const where = issue.path.map(String).join(".");
  const prefix = where === "" ? "" : `${where}: `;
  if (issue.code === "unrecognized_keys") {
    const allowed = allowedKeys(schema, json, issue.path);
    const list = allowed.length === 0 ? "" : `; allowed: ${allowed.join(", ")}`;
    return issue.keys.map((key) =>
      problemAt([...issue.path, key], `${prefix}unknown key "${key}"${nearest(key, allowed)}${list}`),
    );
  }
  if (issue.code === "invalid_type" && valueAt(json, issue.path) === undefined) {
    return [problemAt(issue.path.slice(0, -1), `${where} is missing`)];
  }
  return [
    problemAt(issue.path, `${prefix}${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)}`),
  ];
}

function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = json;
  for (const key of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** The keys that a strict object of the schema allows at a path of the value. */
function allowedKeys(schema: z.ZodType, json: unknown, path: readonly PropertyKey[]): string[] {
  let current: unknown = schema;
  let value = json;
  for (const key of path) {
    const definition = unwrap(current, value);
    if (definition?.type === "object") current = definition.shape?.[String(key)];
    else if (definition?.type === "record") current = definition.valueType;
    else if (definition?.type === "array") current = definition.element;
    else return [];
    value = valueAt(value, [key]);
  }
  const definition = unwrap(current, value);
  return definition?.type === "object" ? Object.keys(definition.shape ?? {}) : [];
}

type Definition = {
  readonly type: string;
  readonly innerType?: unknown;
  readonly in?: unknown;
  readonly options?: readonly unknown[];
  readonly discriminator?: string;
  readonly shape?: Readonly<Record<string, unknown>>;
  readonly valueType?: unknown;
  readonly element?: unknown;
};

/** Looks through optional, default and transform, and picks a discriminated union's branch by the value. */
function unwrap(schema: unknown, value: unknown): Definition | undefined {
  const definition = (schema as { def?: Definition } | undefined)?.def;
  if (definition?.innerType !== undefined) return unwrap(definition.innerType, value);
  if (definition?.type === "pipe") return unwrap(definition.in, value);
  if (definition?.type !== "union") return definition;
  const { discriminator, options = [] } = definition;
  if (discriminator === undefined) return undefined;
  const wanted = valueAt(value, [discriminator]);
  return options
    .map((option) => unwrap(option, value))
    .find((option) => {
      const literal = (option?.shape?.[discriminator] as { def?: { values?: unknown[] } } | undefined)?.def;
      return literal?.values?.includes(wanted) === true;
    });
}

/** Where the value at a path stands; for a key that has one, where the key stands. */
function offsetOf(document: Document.Parsed, path: readonly PropertyKey[]): number {
  let node: unknown = document.contents;
  let offset = isNode(node) ? (node.range?.[0] ?? 0) : 0;
  for (const key of path) {
    if (!isCollection(node)) break;
    const pair: unknown = isMap(node)
      ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key))
      : node.items[Number(key)];
    const keyNode: unknown = isPair(pair) ? pair.key : pair;
    if (!isNode(keyNode)) break;
    offset = keyNode.range?.[0] ?? offset;
    node = isPair(pair) ? pair.value : pair;
  }
  return offset;
}

/** `; did you mean "address"?` where one allowed key is at most two edits away. */
function nearest(key: string, allowed: readonly string[]): string {
  const best = allowed
    .map((each) => ({ each, distance: edits(key.toLowerCase(), each.toLowerCase()) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
  return best !== undefined && best.distance <= 2 ? ` (did you mean "${best.each}"?)` : "";
}

function edits(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i += 1) {
    const current = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min((previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1, substitution));
    }
    previous = current;
  }
  return previous[b.length] ?? 0;
}
