/**
 * Checks policy files without loading them: bounds, Cedar's grammar, our annotations, our schema. Whatever
 * Cedar merely warns about (a policy that can never apply, a name with hidden or look-alike characters) is
 * an error here, because a policy that silently does nothing is the worst kind.
 */
import type { DetailedError, PolicyJson, ValidationError } from "@cedar-policy/cedar-wasm/web";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type HoldTerms, readHoldTerms } from "../approval-annotations.ts";
import type { CedarModule } from "./module.ts";
import { SCHEMA } from "./schema.ts";
import {
  type ConfigError,
  type EntityReference,
  type PolicySource,
  type PolicyText,
  errorAt,
  fromByteOffset,
  positionAt,
  scanPolicies,
} from "./source.ts";

/** A policy that passed every check. Plain data. */
export type CheckedPolicy = {
  /** From `@id`, else `<file>:<number of the policy in its file>`. */
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly effect: "permit" | "forbid";
  readonly text: string;
  readonly approval?: HoldTerms;
  readonly reason?: string;
  /** Resources that the policy names, with their positions. */
  readonly resources: readonly { readonly name: string; readonly line: number; readonly column: number }[];
};

const ANNOTATIONS = ["id", "approval", "quorum", "escalate", "batch", "reason"] as const;
const ALLOWED = "allowed: @id, @approval, @quorum, @escalate, @batch, @reason";

// What would be invisible or would break a line where an identifier is shown.
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

/** Either every policy of the files, in order, or everything that is wrong with them. */
export function checkPolicies(
  cedar: CedarModule,
  sources: readonly PolicySource[],
): Result<readonly CheckedPolicy[], readonly ConfigError[]> {
  const total = sources.reduce((sum, source) => sum + source.text.length, 0);
  if (total > LIMITS.policy.text) {
    const message = `all policies together may have at most ${LIMITS.policy.text} characters, these have ${total}`;
    return err([{ file: sources[0]?.file ?? "", line: 1, column: 1, message }]);
  }
  const errors: ConfigError[] = [];
  const checked: CheckedPolicy[] = [];
  const seen = new Map<string, CheckedPolicy>();
  for (const source of sources) {
    const result = checkFile(cedar, source);
    if (!result.ok) {
      errors.push(...result.error);
      continue;
    }
    for (const policy of result.value) {
      const earlier = seen.get(policy.id);
      if (earlier === undefined) seen.set(policy.id, policy);
      else {
        const message = `@id("${policy.id}") is already used at ${earlier.file}:${earlier.line}; every policy needs its own`;
        errors.push({ file: policy.file, line: policy.line, column: 1, message });
      }
      checked.push(policy);
    }
  }
  if (checked.length > LIMITS.policy.policies) {
    const message = `there may be at most ${LIMITS.policy.policies} policies, these are ${checked.length}`;
    errors.push({ file: sources[0]?.file ?? "", line: 1, column: 1, message });
  }
  return errors.length > 0 ? err(errors) : ok(checked);
}

function checkFile(
  cedar: CedarModule,
  source: PolicySource,
): Result<readonly CheckedPolicy[], readonly ConfigError[]> {
  const scanned = scanPolicies(source.text);
  if (!scanned.ok) return err([errorAt(source, scanned.error.offset, scanned.error.message)]);

  let answer: ReturnType<CedarModule["validate"]>;
  const parsed: { scanned: PolicyText; json: PolicyJson }[] = [];
  try {
    answer = cedar.validate({ schema: SCHEMA, policies: { staticPolicies: source.text } });
    if (answer.type === "success") {
      for (const policy of scanned.value) {
        const json = cedar.policyToJson(policy.text);
        if (json.type === "failure") return err(json.errors.map((e) => cedarError(source, e, policy.offset)));
        parsed.push({ scanned: policy, json: json.json });
      }
    }
  } catch {
    cedar.restart();
    return err([
      errorAt(source, 0, "too complex to be evaluated safely; split or simplify the policies in this file"),
    ]);
  }
  if (answer.type === "failure") return err(answer.errors.map((e) => cedarError(source, e, 0)));

  const errors = validationErrors(source, answer.validationErrors, answer.validationWarnings);
  const policies: CheckedPolicy[] = [];
  parsed.forEach(({ scanned: policy, json }, index) => {
    const result = checkPolicy(source, policy, json, index + 1);
    if (result.ok) policies.push(result.value);
    else errors.push(...result.error);
  });
  return errors.length > 0
    ? err(errors.toSorted((a, b) => a.line - b.line || a.column - b.column))
    : ok(policies);
}

/** Cedar's message without its internal policy numbers, at the place that it names. */
function cedarError(source: PolicySource, error: DetailedError, baseOffset: number): ConfigError {
  const location = error.sourceLocations?.[0];
  const base = source.text.slice(baseOffset);
  const offset = baseOffset + (location === undefined ? 0 : fromByteOffset(base, location.start));
  const label = location?.label == null ? "" : ` (${location.label})`;
  const help = error.help == null ? "" : `; ${error.help}`;
  const gateway = / on entity type `Gateway` not found/.test(error.message);
  const resourceOnly = gateway
    ? "; write `resource is Resource` in the policy's scope if it is only about resources"
    : "";
  const template = error.message.includes("template")
    ? "templates (?principal, ?resource) are not supported"
    : undefined;
  const message = error.message
    .replace(/^failed to parse policies from string: /, "")
    .replace(/^for policy `[^`]*`, /, "");
  return errorAt(source, offset, `${template ?? message}${label}${help}${resourceOnly}`);
}

function validationErrors(
  source: PolicySource,
  errors: readonly ValidationError[],
  warnings: readonly ValidationError[],
): ConfigError[] {
  // A policy with an error is usually also "impossible": say only the first.
  const withErrors = new Set(errors.map((error) => error.policyId));
  const warned = new Set<string>();
  const all = [...errors];
  for (const warning of warnings) {
    if (withErrors.has(warning.policyId) || warned.has(warning.policyId)) continue;
    warned.add(warning.policyId);
    all.push(warning);
  }
  return mergeAttributeErrors(all.map(({ error }) => error)).map((error) => {
    const impossible = /unable to find an applicable action|policy is impossible/.test(error.message);
    const explained = impossible
      ? {
          ...error,
          message: "this policy can never apply to any request",
          help: "check that its action, principal, resource and conditions can be true together",
        }
      : error;
    return cedarError(source, explained, 0);
  });
}

const ATTRIBUTE_ERROR =
  /^for policy `[^`]*`, (attribute `[^`]*`) in context for Action::"([^"]*)" not found$/;
const SHOWN_ACTIONS = 6;

/** Cedar complains once for each action without the attribute; the author made one mistake. */
function mergeAttributeErrors(errors: readonly DetailedError[]): readonly DetailedError[] {
  const others: DetailedError[] = [];
  const merged = new Map<
    string,
    { attribute: string; actions: string[]; helps: string[]; first: DetailedError }
  >();
  for (const error of errors) {
    const match = ATTRIBUTE_ERROR.exec(error.message);
    if (match === null) {
      others.push(error);
      continue;
    }
    const [, attribute = "", action = ""] = match;
    const key = `${error.sourceLocations?.[0]?.start} ${attribute}`;
    const entry = merged.get(key) ?? { attribute, actions: [], helps: [], first: error };
    entry.actions.push(action);
    if (error.help != null) entry.helps.push(error.help);
    merged.set(key, entry);
  }
  for (const { attribute, actions, helps, first } of merged.values()) {
    const sorted = actions.toSorted();
    const shown = sorted.slice(0, SHOWN_ACTIONS).join(", ");
    const more = sorted.length > SHOWN_ACTIONS ? ` and ${sorted.length - SHOWN_ACTIONS} more` : "";
    const suggestion = mostFrequent(helps);
    const help = suggestion ?? "let the policy name only actions that have it, in its scope";
    others.push({ ...first, message: `${attribute} in context is not known for ${shown}${more}`, help });
  }
  return others;
}

function mostFrequent(values: readonly string[]): string | undefined {
  const count = (value: string): number => values.filter((other) => other === value).length;
  return values.toSorted((a, b) => count(b) - count(a))[0];
}

function checkPolicy(
  source: PolicySource,
  policy: PolicyText,
  json: PolicyJson,
  number: number,
): Result<CheckedPolicy, readonly ConfigError[]> {
  const errors: ConfigError[] = [];
  const annotations = json.annotations ?? {};
  const offsetOf = (name: string): number =>
    policy.annotations.find((annotation) => annotation.name === name)?.offset ?? policy.offset;
  const complain = (offset: number, message: string): void => {
    errors.push(errorAt(source, offset, message));
  };
  const read = (name: (typeof ANNOTATIONS)[number], limit: number): string | undefined => {
    if (!Object.hasOwn(annotations, name)) return undefined;
    // Cedar gives null for an annotation without a value, whatever its types say.
    const value = (annotations[name] as string | null) ?? "";
    if (value === "" || value.length > limit || HIDDEN.test(value)) {
      complain(
        offsetOf(name),
        `@${name} needs a value of 1 to ${limit} visible characters, such as ${EXAMPLES[name]}`,
      );
      return undefined;
    }
    return value;
  };

  for (const name of Object.keys(annotations)) {
    if (!ANNOTATIONS.some((known) => known === name))
      complain(offsetOf(name), `unknown annotation @${name}; ${ALLOWED}`);
  }
  const id = read("id", 128) ?? `${source.file}:${number}`;
  const reason = read("reason", 500);
  const terms = readHoldTerms(
    Object.fromEntries(
      (["approval", "quorum", "escalate", "batch"] as const)
        .filter((name) => Object.hasOwn(annotations, name))
        // One that cannot be read has been complained about, and still counts as being there.
        .map((name) => [name, read(name, 256) ?? ""]),
    ),
  );
  if (!terms.ok) {
    for (const { annotation, message } of terms.error) complain(offsetOf(annotation), message);
  }
  if (json.effect === "forbid" && Object.hasOwn(annotations, "approval")) {
    complain(offsetOf("approval"), "a forbid cannot be approved away; @approval belongs on a permit");
  }
  for (const reference of policy.references) checkReference(reference, complain);

  if (errors.length > 0) return err(errors);
  return ok({
    id,
    file: source.file,
    line: positionAt(source.text, policy.offset).line,
    effect: json.effect,
    text: policy.text,
    ...(terms.ok && terms.value !== undefined ? { approval: terms.value } : {}),
    ...(reason === undefined ? {} : { reason }),
    resources: policy.references
      .filter((reference) => reference.type === "Resource")
      .map((reference) => ({ name: reference.id, ...positionAt(source.text, reference.offset) })),
  });
}

const EXAMPLES = {
  id: `@id("engineers-read")`,
  approval: `@approval("dba")`,
  quorum: `@quorum("2")`,
  escalate: `@escalate("oncall after 10m")`,
  batch: `@batch("20")`,
  reason: `@reason("schema changes go through migrations")`,
} as const;

function checkReference(
  reference: EntityReference,
  complain: (offset: number, message: string) => void,
): void {
  if ((reference.type === "User" || reference.type === "Workload") && !/^[^#]+#./.test(reference.id)) {
    const example = `${reference.type}::"https://issuer.example#subject"`;
    complain(reference.offset, `a ${reference.type} is named by issuer and subject: ${example}`);
  }
  if (reference.type === "Gateway" && reference.id !== "sallyport") {
    complain(reference.offset, `the only Gateway is Gateway::"sallyport"`);
  }
}
