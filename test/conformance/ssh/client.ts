/** The real OpenSSH tools, led through the gateway by what `sally ssh-config` prints. */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { OidcUserName } from "../../../scripts/lib/oidc-users.ts";
import type { Stack } from "../../support/stack.ts";

export type Ran = {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: string;
  readonly text: string;
};

export type RunOptions = {
  readonly input?: string | Uint8Array;
  readonly cwd?: string;
  readonly timeout?: number;
  readonly env?: NodeJS.ProcessEnv;
};

export class SshUser {
  readonly directory: string;
  readonly configFile: string;
  readonly #environment: NodeJS.ProcessEnv;

  static async of(stack: Stack, user: OidcUserName): Promise<SshUser> {
    const directory = await mkdtemp(join(tmpdir(), "sally-ssh-test-"));
    const printed = await stack.sally(user, ["ssh-config"], { configHome: directory });
    if (printed.code !== 0) throw new Error(printed.stderr);
    const configFile = join(directory, "config");
    await writeFile(configFile, `${printed.stdout}  ControlPath ${directory}/master\n`);
    return new SshUser(directory, configFile, {
      ...process.env,
      SALLY_TOKEN_FILE: stack.tokenFiles[user],
      LC_ALL: "C.UTF-8",
    });
  }

  private constructor(directory: string, configFile: string, environment: NodeJS.ProcessEnv) {
    this.directory = directory;
    this.configFile = configFile;
    this.#environment = environment;
  }

  start(program: string, args: readonly string[], options: RunOptions = {}): ChildProcess {
    return spawn(program, [...args], {
      env: { ...this.#environment, ...options.env },
      cwd: options.cwd,
      stdio: "pipe",
    });
  }

  /** Runs ssh, scp, sftp, … with the configuration. */
  run(program: "ssh" | "scp" | "sftp", args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    return this.any(program, ["-F", this.configFile, ...args], options);
  }

  /** A command on `web-1`. */
  exec(command: string, options: RunOptions = {}): Promise<Ran> {
    return this.run("ssh", ["web-1", command], options);
  }

  /** A program that starts ssh itself. */
  any(program: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const child = this.start(program, args, options);
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout?.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr?.on("data", (chunk: Buffer) => err.push(chunk));
    child.stdin?.on("error", () => undefined);
    child.stdin?.end(options.input ?? "");
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeout ?? 60_000);
    return new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code) => {
        clearTimeout(timer);
        const stdout = Buffer.concat(out);
        resolve({
          code: code ?? 128,
          stdout,
          stderr: Buffer.concat(err).toString(),
          text: stdout.toString(),
        });
      });
    });
  }

  async dispose(): Promise<void> {
    await this.any("ssh", ["-F", this.configFile, "-O", "exit", "web-1"]).catch(() => undefined);
    await rm(this.directory, { recursive: true, force: true });
  }
}

export type RecordedBody = Readonly<Record<string, unknown>>;

/**
 * Waits for the SSH session in which an operation was recorded whose text has `marker` in it, until what is
 * recorded of it is `enough`. Other files run sessions of the same people at the same time, so that a session's
 * place in the list says nothing.
 */
export async function recordedSession(
  stack: Stack,
  user: OidcUserName,
  marker: string,
  enough: (bodies: readonly RecordedBody[]) => boolean = () => true,
): Promise<{ readonly id: string; readonly bodies: readonly RecordedBody[] }> {
  const token = await stack.sessionToken(user);
  const read = async <T>(path: string): Promise<T> =>
    (await (
      await fetch(`${stack.gateway}${path}`, { headers: { authorization: `Bearer ${token}` } })
    ).json()) as T;
  type Listed = { sessions: { id: string; protocol: string; status: string }[] };
  type Page = { events?: { seq: number; body: RecordedBody }[]; more?: boolean };
  const foreign = new Set<string>();
  for (let attempt = 0; attempt < 100; attempt++) {
    const { sessions } = await read<Listed>("/v1/sessions?status=all&limit=200");
    for (const { id, protocol, status } of sessions) {
      if (protocol !== "ssh" || foreign.has(id)) continue;
      const bodies: RecordedBody[] = [];
      for (let after = 0, more = true; more;) {
        const page: Page = await read(`/v1/sessions/${id}/events?after=${after}&limit=1000`);
        for (const { body } of page.events ?? []) bodies.push(body);
        after = page.events?.at(-1)?.seq ?? after;
        more = page.more === true && (page.events?.length ?? 0) > 0;
      }
      if (!bodies.some((body) => String(body["text"]).includes(marker))) {
        // One that goes on may still get the operation.
        if (status !== "live") foreign.add(id);
      } else if (enough(bodies)) return { id, bodies };
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error(`no SSH session has recorded ${marker} and what should follow it`);
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
