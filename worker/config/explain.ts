/** A schema's complaint as a sentence at its place: what is wrong, what is allowed, what was probably meant. */
import type { z } from "zod";
import type { ConfigError } from "../policy/cedar/engine.ts";
import { didYouMean } from "./suggest.ts";
import type { YamlFile, YamlPath } from "./yaml.ts";

/** `base` is the path of `value` in the file; the issue's own path goes on from there. */
export function explainIssue(
  yaml: YamlFile,
  issue: z.core.$ZodIssue,
  base: YamlPath,
  value: unknown,
): ConfigError[] {
  const path = [...base, ...issue.path];
  const given = valueAt(value, issue.path);
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = issue.message.split(", ");
      return issue.keys.map((key) =>
        yaml.errorAtKey(
          [...path, key],
          `unknown key "${key}"${didYouMean(key, known)}; allowed: ${issue.message}`,
        ),
      );
    }
    case "invalid_value": {
      const allowed = issue.values.map(String);
      if (given === undefined)
        return [yaml.errorAtValue(path, `${missing(path)}; allowed: ${allowed.join(", ")}`)];
      const guess = typeof given === "string" ? didYouMean(given, allowed) : "";
      return [
        yaml.errorAtValue(path, `${show(given)} is not known here${guess}; allowed: ${allowed.join(", ")}`),
      ];
    }
    case "invalid_type":
      if (given === undefined) return [yaml.errorAtValue(path, missing(path))];
      return [
        yaml.errorAtValue(
          path,
          `${show(given)} must be ${KINDS[issue.expected] ?? issue.expected}${quoting(issue.expected, given)}`,
        ),
      ];
    case "invalid_key":
    case "invalid_element":
      return [yaml.errorAtKey(path, issue.issues[0]?.message ?? issue.message)];
    case "custom": {
      const { atKey = false } = (issue.params ?? {}) as { atKey?: boolean };
      return [
        atKey
          ? yaml.errorAtKey(path, issue.message)
          : yaml.errorAtValue(path, withName(path, given, issue.message)),
      ];
    }
    default:
      return [yaml.errorAtValue(path, withName(path, given, issue.message))];
  }
}

const KINDS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  object: "a mapping",
  record: "a mapping",
  array: "a list",
  boolean: "true or false",
};

function quoting(expected: string, given: unknown): string {
  const scalar = typeof given === "number" || typeof given === "boolean";
  return expected === "string" && scalar ? `; put it in quotes: "${given}"` : "";
}

function missing(path: YamlPath): string {
  return `"${String(path.at(-1))}" is missing`;
}

/** Messages that begin with a verb get the thing in front of them. */
function withName(path: YamlPath, given: unknown, message: string): string {
  if (!/^(must|is|has|needs) /.test(message)) return message;
  return typeof given === "object" || given === undefined
    ? `"${String(path.at(-1))}" ${message}`
    : `${show(given)} ${message}`;
}

const SHOWN = 60;

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text;
}

/**
 * What stands at a path. A single value where a list may stand is read as a list of one, so an issue's path
 * may have an index more than the file.
 */
function valueAt(value: unknown, path: YamlPath): unknown {
  let at = value;
  for (const key of path) {
    if (key === 0 && at !== undefined && !Array.isArray(at)) continue;
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[key];
  }
  return at;
}
