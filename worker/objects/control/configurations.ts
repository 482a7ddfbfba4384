/**
 * The configuration that runs, and how another comes to run in its place: all of its files are checked, the
 * change is recorded and stored as a new version, loaded here, then given to every live session.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { describeChanges } from "../../config/changes.ts";
import { type ConfigChecks, parseConfig } from "../../config/parse.ts";
import type { ConfigError, PolicySource } from "../../policy/cedar/engine.ts";
import { expressionProblem } from "../../policy/masks/custom.ts";
import type { Principal } from "../../policy/types.ts";
import { policyEngine, sqlParser } from "../engines.ts";
import { type EventBody, sha256 } from "../recording/chain.ts";
import type { Authority } from "./authority.ts";
import { ConfigHistory, type ConfigVersion, type Files } from "./config-history.ts";
import { type FileChange, compareFiles } from "./file-changes.ts";
import type { GatewaySecrets } from "./secrets.ts";
import type { ApplyOutcome, ApplyProblem, Configuration, Snapshot } from "./types.ts";

export type ConfigurationsHost = {
  readonly secrets: GatewaySecrets;
  readonly authority: Authority;
  readonly record: (body: EventBody) => void;
  /** Another version runs now. Resolves when live sessions have been told. */
  readonly changed: (snapshot: Snapshot) => Promise<void>;
};

const CHECKS: ConfigChecks = {
  expression: (kind, expression, trusted) => expressionProblem(kind, expression, sqlParser, trusted),
};

export class Configurations {
  readonly #history: ConfigHistory;
  readonly #host: ConfigurationsHost;
  #running: Configuration | undefined;

  constructor(sql: SqlStorage, host: ConfigurationsHost) {
    this.#history = new ConfigHistory(sql);
    this.#host = host;
  }

  /** Takes up the newest stored version. @throws when it does not load: then the gateway does not run. */
  load(): void {
    const { version, files } = this.#history.newest();
    if (version === 0) return;
    // Without the checks: what an earlier version took still runs, and an expression that is wrong refuses there.
    const parsed = parseConfig(files, policyEngine);
    if (!parsed.ok) throw new Error("the stored configuration does not parse");
    const { secrets } = this.#host;
    const maskKeys = secrets.maskKeys(parsed.value.resources);
    this.#running = { version, ...parsed.value, maskKeys, sshHostKey: secrets.sshHostKey };
    const loaded = policyEngine.load(version, parsed.value.policies);
    if (!loaded.ok) throw new Error("the stored policies do not load");
  }

  /** Undefined before the first. */
  get running(): Configuration | undefined {
    return this.#running;
  }

  snapshot(): Snapshot | undefined {
    if (this.#running === undefined) return undefined;
    const { version, resources, policies, maskKeys, sshHostKey } = this.#running;
    return { version, resources, policies, maskKeys, sshHostKey };
  }

  /** The files as applied last. */
  files(principal: Principal): Result<{ version: number; files: Files }, Refusal> {
    return this.#host.authority.permitted(principal, "config:read", () => this.#history.newest());
  }

  /** `by` is undefined for the bootstrap token, which may only ever apply the first configuration. */
  async apply(
    files: Files,
    by: Principal | undefined,
    dryRun: boolean,
    ifVersion?: number,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    const allowed = this.#mayApply(by);
    if (!allowed.ok) return allowed;
    const running = this.#running?.version ?? 0;
    if (ifVersion !== undefined && ifVersion !== running) {
      const hint = "look at what has changed, then apply onto that version";
      return err(refusal("config_changed", `version ${running} is running, not ${ifVersion}`, { hint }));
    }
    const parsed = parseConfig(files, policyEngine, CHECKS);
    if (!parsed.ok) return err({ errors: [...parsed.error] });
    const changes = describeChanges(this.#running, parsed.value);
    if (dryRun) return ok({ version: running, dryRun, changes });
    const version = running + 1;
    const text = JSON.stringify(files);
    const author = by ?? "bootstrap";
    this.#host.record({ type: "config", version, by: author, changes, digest: sha256(text) });
    this.#history.add(version, Date.now(), author, text);
    this.load();
    const snapshot = this.snapshot();
    if (snapshot !== undefined) await this.#host.changed(snapshot);
    return ok({ version, dryRun, changes });
  }

  #mayApply(by: Principal | undefined): Result<void, Refusal> {
    if (by !== undefined) return this.#host.authority.authorize(by, undefined, "config:write");
    if (this.#running === undefined) return ok(undefined);
    const hint = "apply with a token of somebody whom policy permits config:write";
    return err(
      refusal("token_invalid", "the bootstrap token applies only the first configuration", { hint }),
    );
  }

  versions(
    principal: Principal,
    limit: number,
  ): Result<(ConfigVersion & { readonly digest: string })[], Refusal> {
    return this.#host.authority.permitted(principal, "config:read", () => this.#history.list(limit));
  }

  version(principal: Principal, version: number): Result<ConfigVersion & { readonly files: Files }, Refusal> {
    const allowed = this.#host.authority.authorize(principal, undefined, "config:read");
    return allowed.ok ? this.#history.get(version) : allowed;
  }

  /** What these files would change of the running ones. */
  compare(
    principal: Principal,
    files: Files,
  ): Result<{ version: number; changes: string[]; files: FileChange[] }, Refusal | ApplyProblem> {
    const running = this.files(principal);
    if (!running.ok) return running;
    const parsed = parseConfig(files, policyEngine, CHECKS);
    if (!parsed.ok) return err({ errors: [...parsed.error] });
    return ok({
      version: running.value.version,
      changes: describeChanges(this.#running, parsed.value),
      files: compareFiles(running.value.files, files),
    });
  }

  /** Applies the files of an earlier version once more, as a new one. */
  async rollBack(
    principal: Principal,
    version: number,
    ifVersion: number | undefined,
  ): Promise<Result<ApplyOutcome, Refusal | ApplyProblem>> {
    const found = this.version(principal, version);
    return found.ok ? this.apply(found.value.files, principal, false, ifVersion) : found;
  }

  /** The policies of files that are not applied, to ask them something. */
  draftPolicies(principal: Principal, files: Files): Result<readonly PolicySource[], Refusal | ApplyProblem> {
    const allowed = this.#host.authority.authorize(principal, undefined, "config:read");
    if (!allowed.ok) return allowed;
    const parsed = parseConfig(files, policyEngine, CHECKS);
    return parsed.ok ? ok(parsed.value.policies) : err({ errors: [...parsed.error] });
  }

  /** Checks files without any effect. */
  check(files: Files): readonly ConfigError[] {
    const parsed = parseConfig(files, policyEngine, CHECKS);
    return parsed.ok ? [] : [...parsed.error];
  }
}
