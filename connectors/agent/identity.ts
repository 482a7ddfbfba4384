/**
 * Who this connector is: an Ed25519 key that never leaves its state directory. Enrolling hands the gateway the
 * public half against a join token; afterwards the connector signs a fresh token for each control socket.
 */
import {
  type KeyObject,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomUUID,
} from "node:crypto";
import { chmod, mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { SignJWT } from "jose";
import { z } from "zod";
import { PATHS } from "../../wire/control.ts";
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { networkReason } from "../lib/web-socket.ts";

export type Identity = { readonly name: string; readonly gateway: string; readonly key: KeyObject };

export type IdentityFailure = { readonly message: string; readonly hint?: string; readonly code?: string };

const KEY_FILE = "connector.key";
/** A key that the gateway may trust already: written before it is asked to, so that no crash can lose it. */
const NEXT_KEY_FILE = "connector.key.next";
const ENROLMENT_FILE = "enrolment.json";
/** Seconds that a token for the control socket is good for. */
const TOKEN_LIFETIME = 60;

const Enrolment = z.object({ gateway: z.string(), name: z.string() });
const Problem = z.object({
  title: z.string().optional(),
  code: z.string().optional(),
  hint: z.string().optional(),
});

type Where = { readonly gateway: string; readonly name: string; readonly stateDirectory: string };

/** The identity that an earlier enrolment with this gateway under this name left, or undefined. */
export async function loadIdentity(where: Where): Promise<Result<Identity | undefined, IdentityFailure>> {
  const enrolment = await readEnrolment(where.stateDirectory);
  if (enrolment === undefined || enrolment.gateway !== where.gateway || enrolment.name !== where.name)
    return ok(undefined);
  const key = await readKey(where.stateDirectory);
  if (!key.ok) return key;
  return ok(
    key.value === undefined ? undefined : { name: where.name, gateway: where.gateway, key: key.value },
  );
}

/** Enrols: makes a key unless there is one, and trades the join token for the gateway's trust in it. */
export async function enrol(where: Where, joinToken: string): Promise<Result<Identity, IdentityFailure>> {
  const existing = await readKey(where.stateDirectory);
  if (!existing.ok) return existing;
  // Kept before the token is spent: a crash in between must not lose a key that the gateway trusts.
  const key = existing.value ?? (await createKey(where.stateDirectory));
  const jwk = createPublicKey(key).export({ format: "jwk" });
  const publicKey = { kty: jwk.kty, crv: jwk.crv, x: jwk.x };
  const asked = await post(`${where.gateway}/connector/enroll`, {
    token: joinToken,
    name: where.name,
    publicKey,
  });
  if (!asked.ok) return asked;
  if (!asked.value.ok) {
    const problem = parseJson(Problem, asked.value.text);
    return err({
      message: `the gateway refused to enrol "${where.name}": ${problem?.title ?? `HTTP status ${asked.value.status}`}`,
      hint:
        problem?.hint ??
        `a join token is good for one use; make a new one with: sally connector enroll ${where.name}`,
      ...(problem?.code === undefined ? {} : { code: problem.code }),
    });
  }
  await writePrivately(
    where.stateDirectory,
    ENROLMENT_FILE,
    `${JSON.stringify({ gateway: where.gateway, name: where.name })}\n`,
  );
  return ok({ name: where.name, gateway: where.gateway, key });
}

/**
 * Follows the connector's key by a new one, on the authority of the old one. Other processes with the same
 * state directory find the new key there; a copy of the old one elsewhere is worth nothing any more.
 */
export async function rotateKey(
  identity: Identity,
  stateDirectory: string,
): Promise<Result<Identity, IdentityFailure>> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const next: Identity = { ...identity, key: privateKey };
  try {
    await writePrivately(stateDirectory, NEXT_KEY_FILE, toPem(privateKey));
  } catch (error) {
    return err({
      message: `the new key cannot be written: ${(error as NodeJS.ErrnoException).code ?? "unknown error"}`,
    });
  }
  const now = Date.now();
  const { kty, crv, x } = createPublicKey(privateKey).export({ format: "jwk" });
  const body = { publicKey: { kty, crv, x }, proof: await controlToken(next, now) };
  const asked = await post(`${identity.gateway}${PATHS.connectorRotate}`, body, {
    authorization: `Bearer ${await controlToken(identity, now)}`,
  });
  if (!asked.ok) return asked;
  if (!asked.value.ok) {
    const problem = parseJson(Problem, asked.value.text);
    return err({
      message: `the gateway refused the new key: ${problem?.title ?? `HTTP status ${asked.value.status}`}`,
      ...(problem?.code === undefined ? {} : { code: problem.code }),
    });
  }
  await rename(join(stateDirectory, NEXT_KEY_FILE), join(stateDirectory, KEY_FILE));
  return ok(next);
}

/**
 * The identity that another process, or a rotation that was cut short, has left beside `refused`; undefined
 * when there is none.
 */
export async function otherIdentity(refused: Identity, where: Where): Promise<Identity | undefined> {
  const current = await loadIdentity(where);
  if (current.ok && current.value !== undefined && !current.value.key.equals(refused.key))
    return current.value;
  const next = await readKey(where.stateDirectory, NEXT_KEY_FILE);
  if (!next.ok || next.value === undefined) return undefined;
  await rename(join(where.stateDirectory, NEXT_KEY_FILE), join(where.stateDirectory, KEY_FILE));
  return { ...refused, key: next.value };
}

/** Age of the connector's key in milliseconds. */
export async function keyAge(stateDirectory: string, now: number): Promise<number> {
  const { mtimeMs } = await stat(join(stateDirectory, KEY_FILE));
  return now - mtimeMs;
}

/** A fresh token for the control socket (docs/api.md), good for a minute. `now` in milliseconds since 1970. */
export function controlToken(identity: Identity, now: number): Promise<string> {
  const issued = Math.floor(now / 1000);
  return new SignJWT({})
    .setProtectedHeader({ alg: "EdDSA", typ: "JWT" })
    .setIssuer(identity.name)
    .setSubject(identity.name)
    .setAudience(identity.gateway)
    .setIssuedAt(issued)
    .setExpirationTime(issued + TOKEN_LIFETIME)
    .setJti(randomUUID())
    .sign(identity.key);
}

type Answer = { readonly ok: boolean; readonly status: number; readonly text: string };

async function post(
  url: string,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<Result<Answer, IdentityFailure>> {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json", ...headers },
      body: JSON.stringify(body),
      redirect: "error",
      signal: AbortSignal.timeout(LIMITS.time.upstreamOpen),
    });
    return ok({ ok: response.ok, status: response.status, text: await response.text() });
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return err({
      message: `cannot reach the gateway ${new URL(url).origin}: ${networkReason(cause)}`,
      code: "unreachable",
    });
  }
}

function toPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

async function readEnrolment(directory: string): Promise<z.infer<typeof Enrolment> | undefined> {
  try {
    return parseJson(Enrolment, await readFile(join(directory, ENROLMENT_FILE), "utf8"));
  } catch {
    return undefined;
  }
}

async function readKey(
  directory: string,
  name = KEY_FILE,
): Promise<Result<KeyObject | undefined, IdentityFailure>> {
  const path = join(directory, name);
  let pem: string;
  try {
    const { mode } = await stat(path);
    if ((mode & 0o077) !== 0) {
      return err({
        message: `${path} can be read by others than its owner`,
        hint: `chmod 600 ${path}, and enrol anew if others may have read it`,
      });
    }
    pem = await readFile(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    return code === "ENOENT"
      ? ok(undefined)
      : err({ message: `${path} cannot be read (${code ?? "unknown error"})` });
  }
  try {
    const key = createPrivateKey(pem);
    if (key.asymmetricKeyType === "ed25519") return ok(key);
  } catch {
    // Falls through to the same answer.
  }
  return err({ message: `${path} does not hold an Ed25519 private key` });
}

async function createKey(directory: string): Promise<KeyObject> {
  const { privateKey } = generateKeyPairSync("ed25519");
  await writePrivately(directory, KEY_FILE, toPem(privateKey));
  return privateKey;
}

/** Writes a file that only its owner can read, whole or not at all. */
async function writePrivately(directory: string, name: string, text: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, name);
  const file = await open(`${path}.new`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await chmod(`${path}.new`, 0o600);
  await rename(`${path}.new`, path);
}

function parseJson<T>(schema: z.ZodType<T>, text: string): T | undefined {
  try {
    return schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
