/** The connector's own token for a cluster, from wherever it comes, fresh when it has run out. */
import { performance } from "node:perf_hooks";
import { z } from "zod";
import { type Result, err, ok } from "../../../wire/result.ts";
import { resolveSecret } from "../../lib/credentials.ts";
import { Secrets } from "../http/credential.ts";
import type { ExecPlugin, TokenSource } from "./kubeconfig.ts";

/** client.authentication.k8s.io/v1, as far as it is of use here. */
const ExecCredential = z.looseObject({
  kind: z.literal("ExecCredential"),
  status: z.looseObject({
    token: z.string().min(1).optional(),
    expirationTimestamp: z.string().optional(),
  }),
});

/** A plugin's token is asked for again this long before it runs out, and after this long where it does not say. */
const EARLY_MS = 30_000;
const REUSE_MS = 60_000;

export class ClusterToken {
  readonly #source: TokenSource | undefined;
  readonly #reload: () => Promise<TokenSource | undefined>;
  readonly #secrets = new Secrets();
  #current: TokenSource | undefined;
  #plugin: { readonly token: string; readonly until: number } | undefined;
  #running: Promise<Result<string, string>> | undefined;

  /** @param reload the source as it is now, after the cluster did not take the token */
  constructor(source: TokenSource | undefined, reload: () => Promise<TokenSource | undefined>) {
    this.#source = source;
    this.#reload = reload;
    this.#current = source;
  }

  /** Undefined where the cluster knows us by something else. The error is safe to log. */
  async get(): Promise<Result<string | undefined, string>> {
    this.#current ??= (await this.#reload()) ?? this.#source;
    const source = this.#current;
    if (source === undefined) return ok(undefined);
    switch (source.kind) {
      case "literal":
        return ok(source.token);
      case "secret":
        return this.#secrets.get(source.source, performance.now());
      case "plugin":
        return this.#fromPlugin(source.plugin);
    }
  }

  /** The cluster did not take it. */
  forget(): void {
    this.#secrets.forget();
    this.#plugin = undefined;
    this.#current = undefined;
  }

  async #fromPlugin(plugin: ExecPlugin): Promise<Result<string, string>> {
    if (this.#plugin !== undefined && Date.now() < this.#plugin.until) return ok(this.#plugin.token);
    this.#running ??= this.#run(plugin).finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #run(plugin: ExecPlugin): Promise<Result<string, string>> {
    const words = [plugin.command, ...plugin.args].map(quote).join(" ");
    const info = { apiVersion: plugin.apiVersion, kind: "ExecCredential", spec: { interactive: false } };
    const printed = await resolveSecret(
      { kind: "exec", command: `exec ${words}` },
      { ...process.env, ...plugin.env, KUBERNETES_EXEC_INFO: JSON.stringify(info) },
    );
    if (!printed.ok) return err(printed.error.replace('command "exec"', `command "${plugin.command}"`));
    const credential = ExecCredential.safeParse(json(printed.value));
    const { token, expirationTimestamp } = credential.data?.status ?? {};
    if (token === undefined) return err(`command "${plugin.command}" printed no ExecCredential with a token`);
    const ends = Date.parse(expirationTimestamp ?? "");
    this.#plugin = { token, until: Number.isNaN(ends) ? Date.now() + REUSE_MS : ends - EARLY_MS };
    return ok(token);
  }
}

/** One word for a POSIX shell. */
function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
