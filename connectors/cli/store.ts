/**
 * What `sally login` keeps: `$XDG_CONFIG_HOME/sally/` (else `~/.config/sally/`), directory 0700, files
 * 0600, one file a gateway, so that signing in to one never rewrites another's tokens. `default` names the
 * gateway that was signed in to last.
 */
import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rename, rm, stat, unlink } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Environment } from "./context.ts";
import { type Failure, fail, reasonOf } from "./failure.ts";

export const Login = z.object({
  gateway: z.string(),
  issuer: z.string(),
  clientId: z.string(),
  tokenEndpoint: z.string(),
  idToken: z.string(),
  /** Seconds since the epoch, the ID token's `exp`. */
  expiresAt: z.number(),
  refreshToken: z.string().optional(),
  name: z.string(),
});
export type Login = z.infer<typeof Login>;

export function storeDirectory(environment: Environment): string {
  const configured = environment["XDG_CONFIG_HOME"];
  // A relative XDG_CONFIG_HOME is to be ignored (XDG Base Directory Specification).
  const base = configured?.startsWith("/") ? configured : join(environment["HOME"] ?? homedir(), ".config");
  return join(base, "sally");
}

function loginFile(environment: Environment, gateway: string): string {
  return join(storeDirectory(environment), `login-${encodeURIComponent(gateway)}.json`);
}

export async function readLogin(
  environment: Environment,
  gateway: string,
): Promise<Result<Login | undefined, Failure>> {
  const path = loginFile(environment, gateway);
  const text = await readIfThere(path);
  if (!text.ok) return text;
  if (text.value === undefined) return ok(undefined);
  const parsed = Login.safeParse(jsonOrUndefined(text.value));
  if (!parsed.success) {
    return fail(EXIT.unauthenticated, `${path} is damaged`, { hint: "sign in again with: sally login" });
  }
  return ok(parsed.data);
}

export async function writeLogin(environment: Environment, login: Login): Promise<Result<void, Failure>> {
  const written = await writePrivate(
    environment,
    loginFile(environment, login.gateway),
    JSON.stringify(login),
  );
  return written.ok ? writeDefaultGateway(environment, login.gateway) : written;
}

/** Replaces the tokens of a login that was refreshed; the default gateway stays what it is. */
export function updateLogin(environment: Environment, login: Login): Promise<Result<void, Failure>> {
  return writePrivate(environment, loginFile(environment, login.gateway), JSON.stringify(login));
}

/** Resolves to whether there was a login to remove. */
export async function removeLogin(environment: Environment, gateway: string): Promise<boolean> {
  try {
    await unlink(loginFile(environment, gateway));
    return true;
  } catch {
    return false;
  }
}

export async function readDefaultGateway(environment: Environment): Promise<string | undefined> {
  const text = await readIfThere(join(storeDirectory(environment), "default"));
  const gateway = text.ok ? text.value?.trim() : undefined;
  return gateway === "" ? undefined : gateway;
}

function writeDefaultGateway(environment: Environment, gateway: string): Promise<Result<void, Failure>> {
  return writePrivate(environment, join(storeDirectory(environment), "default"), `${gateway}\n`);
}

/**
 * Runs `work` while no other `sally` of this user runs any under the same name: issuers that rotate refresh
 * tokens take a second use of one for theft and end the login.
 */
export async function withLock<T>(
  environment: Environment,
  gateway: string,
  work: () => Promise<T>,
): Promise<T> {
  const path = `${loginFile(environment, gateway)}.lock`;
  const locked = await takeLock(path);
  try {
    return await work();
  } finally {
    if (locked) await rm(path, { force: true });
  }
}

/** A lock this old was left behind by a process that died: refreshing takes half of this at most. */
const STALE_LOCK_MS = 60_000;

/** False when no lock can be had (read-only directory): better an unprotected refresh than none. */
async function takeLock(path: string): Promise<boolean> {
  const giveUp = Date.now() + STALE_LOCK_MS;
  while (Date.now() < giveUp) {
    try {
      const handle = await open(path, "wx", 0o600);
      await handle.close();
      return true;
    } catch (error) {
      if ((error as { code?: unknown }).code !== "EEXIST") return false;
    }
    const age = await stat(path).then(
      (found) => Date.now() - found.mtimeMs,
      () => 0,
    );
    if (age > STALE_LOCK_MS) await rm(path, { force: true });
    else await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return false;
}

/** The file of known hosts for one gateway: its own SSH host key stands in it, under `knownHostsAlias`. */
export function knownHostsFile(environment: Environment, gateway: string): string {
  // Without `%`, which means something to ssh.
  const name = encodeURIComponent(gateway).replaceAll(/%../g, "_");
  return join(storeDirectory(environment), `ssh-known-hosts-${name}`);
}

export function writeKnownHosts(
  environment: Environment,
  gateway: string,
  text: string,
): Promise<Result<void, Failure>> {
  return writePrivate(environment, knownHostsFile(environment, gateway), text);
}

async function readIfThere(path: string): Promise<Result<string | undefined, Failure>> {
  try {
    return ok(await readFile(path, "utf8"));
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return ok(undefined);
    return fail(EXIT.failed, `cannot read ${path}: ${reasonOf(error)}`);
  }
}

/** Writes beside the file and renames, so that a reader sees the old or the new one, never a half. */
async function writePrivate(
  environment: Environment,
  path: string,
  text: string,
): Promise<Result<void, Failure>> {
  const beside = `${path}.${randomUUID()}`;
  try {
    await mkdir(storeDirectory(environment), { recursive: true, mode: 0o700 });
    const handle = await open(beside, "wx", 0o600);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(beside, path);
    return ok(undefined);
  } catch (error) {
    await rm(beside, { force: true });
    return fail(EXIT.failed, `cannot write ${path}: ${reasonOf(error)}`);
  }
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
