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
import { LIMITS } from "../../wire/limits.ts";
import { type Result, err, ok } from "../../wire/result.ts";
import { networkReason } from "../lib/web-socket.ts";

export type Identity = { readonly name: string; readonly gateway: string; readonly key: KeyObject };

export type IdentityFailure = { readonly message: string; readonly hint?: string; readonly code?: string };

const KEY_FILE = "connector.key";
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
  let response: Response;
  let text: string;
  try {
    response = await fetch(`${where.gateway}/connector/enroll`, {
      method: "POST",
      headers: { "content-type": "application/json", accept: "application/json" },
      body: JSON.stringify({ token: joinToken, name: where.name, publicKey }),
      redirect: "error",
      signal: AbortSignal.timeout(LIMITS.time.upstreamOpen),
    });
    text = await response.text();
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error;
    return err({
      message: `cannot reach the gateway ${where.gateway}: ${networkReason(cause)}`,
      code: "unreachable",
    });
  }
  if (!response.ok) {
    const problem = parseJson(Problem, text);
    return err({
      message: `the gateway refused to enrol "${where.name}": ${problem?.title ?? `HTTP status ${response.status}`}`,
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

async function readEnrolment(directory: string): Promise<z.infer<typeof Enrolment> | undefined> {
  try {
    return parseJson(Enrolment, await readFile(join(directory, ENROLMENT_FILE), "utf8"));
  } catch {
    return undefined;
  }
}

async function readKey(directory: string): Promise<Result<KeyObject | undefined, IdentityFailure>> {
  const path = join(directory, KEY_FILE);
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
  await writePrivately(directory, KEY_FILE, privateKey.export({ type: "pkcs8", format: "pem" }).toString());
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
