/** Puts the resource's credential into a request, and takes out whatever the request had in its place. */
import { AwsV4Signer } from "aws4fetch";
import type { HeaderField } from "../../../wire/http/headers.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { type SecretSource, resolveSecret } from "../../lib/credentials.ts";
import type { HttpCredential } from "./config.ts";

/** How long a command's answer is used again: running one for each request would make requests slow. */
const EXEC_REUSE = 60_000;

export type OutgoingRequest = {
  readonly method: string;
  readonly origin: string;
  /** Path and query. */
  readonly target: string;
  readonly headers: readonly HeaderField[];
};

/** Secrets of one resource, read when they are needed so that a rotated one is taken up. */
export class Secrets {
  readonly #running = new Map<SecretSource, { value: Promise<Result<string, string>>; until: number }>();

  /** `now` in milliseconds of a clock that does not go back. */
  async get(source: SecretSource, now: number): Promise<Result<string, string>> {
    if (source.kind !== "exec") return resolveSecret(source);
    const known = this.#running.get(source);
    if (known !== undefined && now < known.until) return known.value;
    const value = resolveSecret(source);
    this.#running.set(source, { value, until: now + EXEC_REUSE });
    const result = await value;
    if (!result.ok) this.#running.delete(source);
    return result;
  }

  /** The upstream did not take the credential: the next request asks the source again. */
  forget(): void {
    this.#running.clear();
  }
}

/**
 * The request with the credential in it. The error is safe to log and says which source failed.
 *
 * @param body the whole body where `needsWholeBody` asked for it
 */
export async function withCredential(
  request: OutgoingRequest,
  credential: HttpCredential | undefined,
  secrets: Secrets,
  body: Uint8Array | undefined,
  now: number,
): Promise<Result<OutgoingRequest, string>> {
  if (credential === undefined) return ok(request);
  if ("bearer" in credential) {
    const token = await secrets.get(credential.bearer, now);
    return token.ok ? withHeader(request, "authorization", `Bearer ${token.value}`) : token;
  }
  if ("basic" in credential) {
    const password = await secrets.get(credential.basic.password, now);
    if (!password.ok) return password;
    const pair = Buffer.from(`${credential.basic.user}:${password.value}`, "utf8").toString("base64");
    return withHeader(request, "authorization", `Basic ${pair}`);
  }
  if ("header" in credential) {
    const value = await secrets.get(credential.header.value, now);
    return value.ok ? withHeader(request, credential.header.name.toLowerCase(), value.value) : value;
  }
  if ("query" in credential) {
    const value = await secrets.get(credential.query.value, now);
    return value.ok
      ? ok({ ...request, target: withParameter(request.target, credential.query.name, value.value) })
      : value;
  }
  return signed(request, credential.aws, secrets, body, now);
}

/** AWS signatures cover the body's hash; only S3 takes one that leaves it out (over TLS). */
export function needsWholeBody(credential: HttpCredential | undefined): boolean {
  return credential !== undefined && "aws" in credential && credential.aws.service !== "s3";
}

/** The request with one more field, which replaces others of that name however they are written. */
export function withHeader(
  request: OutgoingRequest,
  name: string,
  value: string,
): Result<OutgoingRequest, string> {
  if (!/^[\t\x20-\x7e\x80-\xff]*$/.test(value)) return err("the credential cannot stand in a header");
  const read = (written: string): string => written.replaceAll("_", "-");
  const others = request.headers.filter(([other]) => read(other) !== read(name));
  return ok({ ...request, headers: [...others, [name, value]] });
}

/** A parameter of the client's with the credential's name is taken out, however it is encoded. */
function withParameter(target: string, name: string, value: string): string {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const parts = mark < 0 ? [] : target.slice(mark + 1).split("&");
  const others = parts.filter((part) => {
    const written = part.split("=", 1)[0] ?? "";
    return part !== "" && decodeURIComponent(written.replaceAll("+", "%20")) !== name;
  });
  return `${path}?${[...others, `${name}=${encodeURIComponent(value)}`].join("&")}`;
}

async function signed(
  request: OutgoingRequest,
  aws: Extract<HttpCredential, { aws: unknown }>["aws"],
  secrets: Secrets,
  body: Uint8Array | undefined,
  now: number,
): Promise<Result<OutgoingRequest, string>> {
  const accessKeyId = await secrets.get(aws.accessKeyId, now);
  if (!accessKeyId.ok) return accessKeyId;
  const secretAccessKey = await secrets.get(aws.secretAccessKey, now);
  if (!secretAccessKey.ok) return secretAccessKey;
  const sessionToken = aws.sessionToken === undefined ? undefined : await secrets.get(aws.sessionToken, now);
  if (sessionToken !== undefined && !sessionToken.ok) return sessionToken;
  const kept = request.headers.filter(([name]) => name !== "authorization" && !name.startsWith("x-amz-"));
  const headers = new Headers();
  for (const [name, value] of kept) headers.append(name, value);
  const signer = new AwsV4Signer({
    method: request.method,
    url: `${request.origin}${request.target}`,
    headers,
    region: aws.region,
    service: aws.service,
    accessKeyId: accessKeyId.value,
    secretAccessKey: secretAccessKey.value,
    ...(sessionToken === undefined ? {} : { sessionToken: sessionToken.value }),
    // A copy: a Buffer may be part of a larger buffer, and the signer hashes all of that.
    ...(body === undefined ? {} : { body: new Uint8Array(body).buffer }),
  });
  const result = await signer.sign();
  const target = result.url.pathname + result.url.search;
  return ok({ ...request, target, headers: [...result.headers].filter(([name]) => name !== "host") });
}
