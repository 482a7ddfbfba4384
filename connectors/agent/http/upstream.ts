/**
 * HTTP resources: one exchange for each channel (wire/http/open.ts). Redirects are handed back, never followed;
 * the target goes out byte for byte as the gateway decided it; both bodies stream with the tunnel's credit.
 */
import { readFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { PassThrough } from "node:stream";
import { Pool } from "undici";
import type { HeaderField } from "../../../wire/http/headers.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { HttpOpen } from "../../../wire/http/open.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { CloseReason, TunnelChannel } from "../../lib/tunnel-socket.ts";
import { networkReason } from "../../lib/web-socket.ts";
import type { Log } from "../log.ts";
import type { ConfigComplaint, Protocol } from "../upstream.ts";
import { failed, rawFields, safeReason, sendAnswer } from "./answer.ts";
import { HttpConfig } from "./config.ts";
import { type OutgoingRequest, Secrets, needsWholeBody, withCredential } from "./credential.ts";
import { serveWebSocket } from "./web-socket.ts";

/** Connections to one resource; HTTP/2 has many requests on each. */
const CONNECTIONS = 128;
/** An upstream that does not begin to answer. Streams may be silent as long as they like. */
const HEADERS_TIMEOUT = 15 * 60_000;

export type TlsOptions = {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  readonly servername?: string;
};

/** What serves the channels of one resource. */
export type HttpTarget = {
  readonly address: URL;
  readonly pool: Pool;
  readonly tls: TlsOptions;
  readonly credential: TargetCredential;
};

export type TargetCredential = {
  /** It covers the body, which therefore has to be there as a whole. */
  readonly wholeBody: boolean;
  /**
   * The request with the resource's credential in it. The error is safe to log and says which source failed.
   *
   * @param body the whole body where `wholeBody` asked for it
   */
  readonly put: (
    request: OutgoingRequest,
    body: Uint8Array | undefined,
    open: HttpOpen,
  ) => Promise<Result<OutgoingRequest, string>>;
  /** The upstream did not take it: the next request asks its source again. */
  readonly forget: () => void;
};

export const http: Protocol<HttpConfig> = {
  name: "http",
  config: HttpConfig,
  create: async (resource, config) => {
    const tls = await readTls(config);
    if (!tls.ok) return tls;
    const secrets = new Secrets();
    const target = openTarget(config, tls.value, {
      wholeBody: needsWholeBody(config.credential),
      put: (request, body) => withCredential(request, config.credential, secrets, body, performance.now()),
      forget: () => secrets.forget(),
    });
    return ok({
      channels: { http: (channel, payload, log) => serveExchange(resource, target, channel, payload, log) },
      close: () => void target.pool.destroy(),
    });
  },
};

/** A pool of connections to one address. */
export function openTarget(
  { address, http2 }: Pick<HttpConfig, "address" | "http2">,
  tls: TlsOptions,
  credential: TargetCredential,
): HttpTarget {
  const pool = new Pool(address.origin, {
    connections: CONNECTIONS,
    pipelining: 1,
    allowH2: http2 && address.protocol === "https:",
    maxConcurrentStreams: LIMITS.http.concurrent,
    maxHeaderSize: 2 * LIMITS.http.head,
    headersTimeout: HEADERS_TIMEOUT,
    bodyTimeout: 0,
    connect: { timeout: LIMITS.time.upstreamOpen, ...tls },
  });
  return { address, pool, tls, credential };
}

/** Certificates and keys of a resource's config, read once. */
export async function readTls({
  ca,
  clientCertificate,
  serverName,
}: Pick<HttpConfig, "ca" | "clientCertificate" | "serverName">): Promise<
  Result<TlsOptions, ConfigComplaint>
> {
  const secrets = new Secrets();
  const options: Record<string, string> = {};
  if (ca !== undefined) {
    try {
      options["ca"] = await readFile(ca, "utf8");
    } catch {
      return err({ path: ["ca"], message: "cannot be read" });
    }
  }
  for (const [option, source] of [
    ["cert", clientCertificate?.certificate],
    ["key", clientCertificate?.key],
  ] as const) {
    if (source === undefined) continue;
    const value = await secrets.get(source, 0);
    if (!value.ok) return err({ path: ["clientCertificate"], message: value.error });
    options[option] = value.value;
  }
  if (serverName !== undefined) options["servername"] = serverName;
  return ok(options);
}

/** Serves one channel. */
export async function serveExchange(
  resource: string,
  target: HttpTarget,
  channel: TunnelChannel,
  payload: unknown,
  log: Log,
): Promise<void> {
  const parsed = HttpOpen.safeParse(payload);
  if (!parsed.success)
    return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
  const open = parsed.data;
  // Where nothing is to come from the gateway, it hears of the channel together with the answer.
  if (open.body !== undefined || open.webSocket !== undefined) channel.accept({});
  const started = performance.now();
  const abort = new AbortController();
  channel.listen({ onRemoteClose: () => abort.abort() });
  channel.once("close", () => abort.abort());
  const { address, credential } = target;
  const whole = open.body !== undefined && credential.wholeBody ? await readWhole(channel) : undefined;
  if (whole !== undefined && !whole.ok) return channel.close(whole.error);
  const request = await credential.put(
    {
      method: open.method,
      origin: address.origin,
      target: address.pathname.replace(/\/+$/, "") + open.target,
      headers: open.headers,
    },
    open.body === undefined ? new Uint8Array() : whole?.value,
    open,
  );
  if (!request.ok) {
    log.error("credential not resolved", { reason: request.error });
    return channel.close(failed(resource, "has no credential that can be used now", "upstream_login_failed"));
  }
  if (open.webSocket !== undefined)
    return serveWebSocket(resource, target, channel, open, request.value, abort.signal, log);
  try {
    const answer = await target.pool.request({
      method: open.method,
      path: request.value.target,
      headers: flatten(request.value.headers, open.body),
      body: whole?.value ?? (open.body === undefined ? null : channel.pipe(new PassThrough())),
      responseHeaders: "raw",
      signal: abort.signal,
    });
    if (answer.statusCode === 401) credential.forget();
    log.info("answered", {
      status: answer.statusCode,
      milliseconds: Math.round(performance.now() - started),
    });
    sendAnswer(channel, open, address, answer.statusCode, rawFields(answer.headers), answer.body);
  } catch (error) {
    if (abort.signal.aborted) return;
    log.warn("no answer", { reason: networkReason(error) });
    channel.close(failed(resource, `did not answer: ${safeReason(error)}`));
  }
}

function flatten(headers: readonly HeaderField[], body: number | null | undefined): string[] {
  const length = typeof body === "number" ? ["content-length", String(body)] : [];
  return [...headers.flat(), ...length];
}

/** A body that has to be signed is read whole, up to what a held one may have. */
async function readWhole(channel: TunnelChannel): Promise<Result<Uint8Array, CloseReason>> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of channel.iterator({ destroyOnReturn: false })) {
      length += (chunk as Buffer).length;
      if (length > LIMITS.http.heldBody)
        return err({ code: "over_limit", message: "the body is too large to be signed" });
      chunks.push(chunk as Buffer);
    }
  } catch {
    return err({ code: "upstream_lost", message: "the request broke off" });
  }
  return ok(Buffer.concat(chunks));
}
