/**
 * The whole configuration from its files: YAML for resources and identity providers, Cedar for policies.
 * Either all of it is good, or every error is told with its file, line and column; nothing is applied by
 * halves.
 */
import type { z } from "zod";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import type { Issuer } from "../identity/issuer.ts";
import type { SamlProvider } from "../identity/saml/provider.ts";
import type { CheckedPolicy, ConfigError, PolicyEngine, PolicySource } from "../policy/cedar/engine.ts";
import type { Resource } from "../policy/types.ts";
import { explainIssue } from "./explain.ts";
import { issuerShape, toIssuer } from "./issuer.ts";
import { resourceShape, toResource } from "./resource.ts";
import { samlShape, toSamlProvider } from "./saml.ts";
import { type DirectorySettings, scimShape } from "./scim.ts";
import type { NotificationTarget } from "../policy/notification.ts";
import { notificationShape, toNotification } from "./notifications.ts";
import { name } from "./shapes.ts";
import { didYouMean } from "./suggest.ts";
import { DEFAULT_TOKENS, type TokenSettings, tokensShape } from "./tokens.ts";
import { type YamlFile, type YamlPath, parseYaml } from "./yaml.ts";

export type { ConfigError } from "../policy/cedar/engine.ts";

/** Plain data. */
export type Config = {
  readonly issuers: readonly Issuer[];
  readonly saml: readonly SamlProvider[];
  readonly directories: readonly DirectorySettings[];
  readonly resources: readonly Resource[];
  readonly tokens: TokenSettings;
  readonly notifications: readonly NotificationTarget[];
  readonly policies: readonly PolicySource[];
  /** The policies of those files, one by one. */
  readonly checkedPolicies: readonly CheckedPolicy[];
};

export type ConfigChecks = {
  /**
   * Says what is wrong with an administrator's SQL expression (a row filter, an `sql` mask) on a resource that
   * trusts these functions, if anything.
   */
  readonly expression?: (
    kind: "rows" | "mask",
    expression: string,
    trustedFunctions: readonly string[],
  ) => string | undefined;
};

const TOP_KEYS = ["issuers", "saml", "scim", "resources", "tokens", "notifications"] as const;

/** Parses and checks all files (path → text). The engine is only asked to check, not to load. */
export function parseConfig(
  files: Readonly<Record<string, string>>,
  engine: Pick<PolicyEngine, "check">,
  checks: ConfigChecks = {},
): Result<Config, readonly ConfigError[]> {
  const paths = Object.keys(files).toSorted();
  const total = paths.reduce((sum, path) => sum + (files[path]?.length ?? 0), 0);
  if (paths.length > LIMITS.config.files || total > LIMITS.config.text) {
    const limits = `${LIMITS.config.files} files and ${LIMITS.config.text} characters`;
    return err([{ file: "", line: 1, column: 1, message: `a configuration may have at most ${limits}` }]);
  }
  const errors: ConfigError[] = [];
  const policies: PolicySource[] = [];
  const reader = newReader(errors, checks);
  for (const file of paths) {
    const source = { file, text: files[file] ?? "" };
    const problem = pathProblem(file);
    if (problem !== undefined) errors.push({ file, line: 1, column: 1, message: problem });
    else if (file.endsWith(".cedar")) policies.push(source);
    else reader.read(source);
  }
  const checked = engine.check(policies);
  if (!checked.ok) errors.push(...checked.error);
  else errors.push(...unknownResources(checked.value, [...reader.declared]));
  for (const { settings, lost } of reader.directories.values()) {
    const known = [...reader.issuers.keys(), ...[...reader.saml.values()].map(({ entityId }) => entityId)];
    if (!known.includes(settings.issuer)) errors.push(lost);
  }
  if (errors.length > 0 || !checked.ok) return err(errors.toSorted(byPlace));
  return ok({
    issuers: [...reader.issuers.values()],
    saml: [...reader.saml.values()],
    directories: [...reader.directories.values()].map(({ settings }) => settings),
    resources: [...reader.resources.values()],
    tokens: reader.tokens.value ?? DEFAULT_TOKENS,
    notifications: [...reader.notifications.values()],
    policies,
    checkedPolicies: checked.value,
  });
}

function byPlace(a: ConfigError, b: ConfigError): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.line - b.line || a.column - b.column;
}

function pathProblem(path: string): string | undefined {
  const clean = path.length <= 255 && /^[^\p{Cc}\p{Cf}\p{Cs}\\]+$/u.test(path) && !path.startsWith("/");
  if (!clean || path.split("/").some((part) => part === "" || part === "." || part === "..")) {
    return "not a usable path; allowed are relative paths without '.' and '..'";
  }
  return /\.(ya?ml|cedar)$/.test(path)
    ? undefined
    : "not a configuration file; allowed are .yaml, .yml and .cedar";
}

/** A policy that names what does not exist protects nothing: almost always a typing error. */
function unknownResources(policies: readonly CheckedPolicy[], known: readonly string[]): ConfigError[] {
  return policies.flatMap((policy) =>
    policy.resources
      .filter((resource) => !known.includes(resource.name))
      .map(({ name: missing, line, column }) => {
        const guess = didYouMean(missing, known);
        const message = `there is no resource "${missing}"${guess}; known: ${known.join(", ") || "none"}`;
        return { file: policy.file, line, column, message };
      }),
  );
}

type Reader = {
  readonly issuers: Map<string, Issuer>;
  readonly saml: Map<string, SamlProvider>;
  /** Each with the error that it gives should its issuer not be there. */
  readonly directories: Map<string, { readonly settings: DirectorySettings; readonly lost: ConfigError }>;
  readonly resources: Map<string, Resource>;
  readonly tokens: { value: TokenSettings | undefined };
  readonly notifications: Map<string, NotificationTarget>;
  /** Names of all resources, also of those with errors. */
  readonly declared: Set<string>;
  readonly read: (source: PolicySource) => void;
};

/** Collects what YAML files define, over all of them, and what is wrong with it. */
function newReader(errors: ConfigError[], checks: ConfigChecks): Reader {
  const issuers = new Map<string, Issuer>();
  const saml: Reader["saml"] = new Map();
  const directories: Reader["directories"] = new Map();
  const resources = new Map<string, Resource>();
  const declared = new Set<string>();
  const tokens: Reader["tokens"] = { value: undefined };
  const notifications = new Map<string, NotificationTarget>();
  const definedAt = new Map<string, string>();

  const define = (yaml: YamlFile, kind: string, key: string, path: YamlPath): boolean => {
    const earlier = definedAt.get(`${kind} ${key}`);
    const { message, ...place } = yaml.errorAtKey(path, `${kind} "${key}" is already defined at ${earlier}`);
    if (earlier !== undefined) errors.push({ ...place, message });
    else definedAt.set(`${kind} ${key}`, `${place.file}:${place.line}`);
    return earlier === undefined;
  };

  const readResource = (yaml: YamlFile, key: string, value: unknown): void => {
    const path = ["resources", key];
    declared.add(key);
    const named = name.safeParse(key);
    if (!named.success)
      errors.push(yaml.errorAtKey(path, `"${key}": ${named.error.issues[0]?.message ?? "not a name"}`));
    const parsed = parse(yaml, resourceShape, value, path, errors);
    if (parsed === undefined || !define(yaml, "resource", key, path)) return;
    const resource = toResource(key, parsed);
    resources.set(key, resource);
    checkExpressions(yaml, resource, value, path);
  };

  const checkExpressions = (yaml: YamlFile, resource: Resource, value: unknown, path: YamlPath): void => {
    const { rows = {}, masks = {} } = value as Partial<Record<"rows" | "masks", Record<string, unknown>>>;
    const trusted = resource.trustedFunctions;
    Object.keys(rows).forEach((key, index) => {
      const problem = checks.expression?.("rows", resource.rows[index]?.condition ?? "", trusted);
      if (problem !== undefined) errors.push(yaml.errorAtValue([...path, "rows", key], problem));
    });
    Object.keys(masks).forEach((key, index) => {
      const expression = resource.masks[index]?.expression;
      const problem = expression === undefined ? undefined : checks.expression?.("mask", expression, trusted);
      if (problem !== undefined)
        errors.push(yaml.errorAtValue([...path, "masks", key, "expression"], problem));
    });
  };

  const readIssuer = (yaml: YamlFile, index: number, value: unknown): void => {
    const path = ["issuers", index];
    const parsed = parse(yaml, issuerShape, value, path, errors);
    if (parsed === undefined || !define(yaml, "issuer", parsed.issuer, [...path, "issuer"])) return;
    issuers.set(parsed.issuer, toIssuer(parsed));
  };

  const readSaml = (yaml: YamlFile, key: string, value: unknown): void => {
    const path = ["saml", key];
    if (!checkName(yaml, key, path)) return;
    const parsed = parse(yaml, samlShape, value, path, errors);
    if (parsed === undefined || !define(yaml, "SAML provider", key, path)) return;
    // Policies know an issuer by this name, whatever it speaks.
    if (!define(yaml, "issuer", parsed.entityId, [...path, "entityId"])) return;
    saml.set(key, toSamlProvider(key, parsed));
  };

  const readDirectory = (yaml: YamlFile, key: string, value: unknown): void => {
    const path = ["scim", key];
    if (!checkName(yaml, key, path)) return;
    const parsed = parse(yaml, scimShape, value, path, errors);
    if (parsed === undefined || !define(yaml, "SCIM directory", key, path)) return;
    const at = [...path, "issuer"];
    if (!define(yaml, "directory of the issuer", parsed.issuer, at)) return;
    for (const token of parsed.tokens) define(yaml, "token", token, [...path, "tokens"]);
    const lost = yaml.errorAtValue(at, `there is no issuer or SAML provider "${parsed.issuer}"`);
    directories.set(key, { settings: { name: key, ...parsed }, lost });
  };

  const checkName = (yaml: YamlFile, key: string, path: YamlPath): boolean => {
    const named = name.safeParse(key);
    if (named.success) return true;
    errors.push(yaml.errorAtKey(path, `"${key}": ${named.error.issues[0]?.message ?? "not a name"}`));
    return false;
  };

  const readNotification = (yaml: YamlFile, index: number, value: unknown): void => {
    const path = ["notifications", index];
    const parsed = parse(yaml, notificationShape, value, path, errors);
    if (parsed === undefined || !define(yaml, "notification", parsed.name, [...path, "name"])) return;
    notifications.set(parsed.name, toNotification(parsed));
  };

  return {
    issuers,
    saml,
    directories,
    resources,
    tokens,
    notifications,
    declared,
    read: (source) => {
      const yaml = parseYaml(source);
      if (!yaml.ok) {
        errors.push(...yaml.error);
        return;
      }
      const { value, errorAtKey, errorAtValue } = yaml.value;
      if (value === null || value === undefined) return;
      if (!isRecord(value)) {
        errors.push(errorAtValue([], `must be a mapping with the keys ${TOP_KEYS.join(", ")}`));
        return;
      }
      for (const [key, part] of Object.entries(value)) {
        if (key === "resources") {
          if (isRecord(part)) Object.entries(part).forEach(([k, v]) => readResource(yaml.value, k, v));
          else if (part !== null)
            errors.push(errorAtValue([key], "must map the name of each resource to what it is"));
        } else if (key === "notifications") {
          if (Array.isArray(part)) {
            part.forEach((entry: unknown, index) => readNotification(yaml.value, index, entry));
          } else if (part !== null) errors.push(errorAtValue([key], "must be a list of those to tell"));
        } else if (key === "saml" || key === "scim") {
          const readOne = key === "saml" ? readSaml : readDirectory;
          if (isRecord(part)) Object.entries(part).forEach(([k, v]) => readOne(yaml.value, k, v));
          else if (part !== null) errors.push(errorAtValue([key], "must map a name to each"));
        } else if (key === "tokens") {
          const settings = parse(yaml.value, tokensShape, part, [key], errors);
          if (settings !== undefined && define(yaml.value, "setting", key, [key])) tokens.value = settings;
        } else if (key === "issuers") {
          if (Array.isArray(part))
            part.forEach((entry: unknown, index) => readIssuer(yaml.value, index, entry));
          else if (part !== null) errors.push(errorAtValue([key], "must be a list of identity providers"));
        } else {
          errors.push(
            errorAtKey(
              [key],
              `unknown key "${key}"${didYouMean(key, TOP_KEYS)}; allowed: ${TOP_KEYS.join(", ")}`,
            ),
          );
        }
      }
    },
  };
}

function parse<T extends z.ZodType>(
  yaml: YamlFile,
  shape: T,
  value: unknown,
  path: YamlPath,
  errors: ConfigError[],
): z.infer<T> | undefined {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  errors.push(...parsed.error.issues.flatMap((issue) => explainIssue(yaml, issue, path, value)));
  return undefined;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
