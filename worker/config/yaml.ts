/** YAML with the position of every value and key, and without what makes YAML dangerous. */
import { type Document, type Node, isAlias, isMap, isNode, isScalar, parseDocument, visit } from "yaml";
import { type Result, err, ok } from "../../wire/result.ts";
import { type ConfigError, type PolicySource, errorAt } from "../policy/cedar/source.ts";

export type YamlPath = readonly PropertyKey[];

export type YamlFile = {
  readonly source: PolicySource;
  readonly value: unknown;
  /** An error at the value of a path, or at the closest value above it that exists. */
  readonly errorAtValue: (path: YamlPath, message: string) => ConfigError;
  /** An error at the last key of a path. */
  readonly errorAtKey: (path: YamlPath, message: string) => ConfigError;
};

const TOO_DEEP = "this YAML is nested too deeply";
// One mistake in YAML often makes many complaints; the first ones are about it.
const SHOWN_PROBLEMS = 5;

/** Parses one document of YAML 1.2; refuses duplicate keys, aliases, unknown tags and several documents. */
export function parseYaml(source: PolicySource): Result<YamlFile, readonly ConfigError[]> {
  let document: Document.Parsed;
  try {
    document = parseDocument(source.text, {
      prettyErrors: false,
      uniqueKeys: true,
      version: "1.2",
      schema: "core",
    });
  } catch {
    // The parser recurses, so text nested thousands deep overflows the stack.
    return err([errorAt(source, 0, TOO_DEEP)]);
  }
  const found = [...document.errors, ...document.warnings];
  // The parser turns an overflow of its own stack into a complaint, followed by one for each open bracket.
  if (found.some((problem) => problem.message.includes("call stack")))
    return err([errorAt(source, 0, TOO_DEEP)]);
  const problems = found
    .slice(0, SHOWN_PROBLEMS)
    .map((problem) =>
      errorAt(source, problem.pos[0], lowerFirst(problem.message.split("\n")[0] ?? "malformed")),
    );
  if (problems.length > 0) return err(problems);
  try {
    visit(document, {
      Pair: (_, { key }) => {
        if (!isScalar(key)) problems.push(errorAt(source, offsetOf(key), "a key has to be text"));
      },
      Alias: (_, alias) => {
        problems.push(
          errorAt(source, offsetOf(alias), "aliases (*name) are not supported; write the value out"),
        );
      },
    });
    if (problems.length > 0) return err(problems);
    const value: unknown = document.toJS();
    return ok({
      source,
      value,
      errorAtValue: (path, message) => errorAt(source, valueOffset(document, path), message),
      errorAtKey: (path, message) => errorAt(source, keyOffset(document, path), message),
    });
  } catch {
    return err([errorAt(source, 0, TOO_DEEP)]);
  }
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}

function offsetOf(node: unknown): number {
  return isNode(node) ? ((node as Node).range?.[0] ?? 0) : 0;
}

function valueOffset(document: Document.Parsed, path: YamlPath): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true);
    if (isNode(node) && !isAlias(node)) {
      // A block mapping begins at its first key; its own key says better which one is meant.
      return isMap(node) && node.flow !== true ? keyOffset(document, path.slice(0, length)) : offsetOf(node);
    }
  }
  return offsetOf(document.contents);
}

function keyOffset(document: Document.Parsed, path: YamlPath): number {
  const parent = path.length === 1 ? document.contents : document.getIn(path.slice(0, -1), true);
  const name = path.at(-1);
  if (isMap(parent)) {
    const pair = parent.items.find(({ key }) => isScalar(key) && String(key.value) === String(name));
    if (pair !== undefined) return offsetOf(pair.key);
  }
  return offsetOf(document.getIn(path, true));
}
