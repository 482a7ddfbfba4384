/**
 * PostgreSQL resources: `postgres` channels are native sessions, `postgres-catalogue` channels read the catalogue,
 * `postgres-explain` channels plan a statement that somebody has to approve.
 */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { PostgresOpen } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { TunnelChannel } from "../../lib/tunnel-socket.ts";
import type { Log } from "../log.ts";
import type { Protocol } from "../upstream.ts";
import { CatalogueReader } from "./catalogue-reader.ts";
import { PostgresConfig } from "./config.ts";
import { type Connection, type Target, connect, reset } from "./connect.ts";
import { Credential } from "./credential.ts";
import { serveExplain } from "./explain.ts";
import { type OpenFailure, closeReason, failureFields } from "./failure.ts";
import { type LoggedIn, login, parameterProblem } from "./login.ts";
import { relay } from "./session.ts";

/**
 * The server looks for its client while it runs a statement, so that a connector that was killed, and can cancel
 * nothing any more, leaves nothing running (PostgreSQL 14 and newer, on systems that can tell).
 */
const CHECK_CONNECTION = "client_connection_check_interval";
const CHECK_EVERY = "5s";

/** A resource and how to log in to it. */
export type Server = {
  readonly resource: string;
  readonly target: Target;
  readonly user: string;
  readonly database: string;
  readonly credential: Credential;
};

/** No object of the database may stand in for one that the catalogue's queries name. */
const CATALOGUE_PARAMETERS = { search_path: "", application_name: "sallyport catalogue" };

export const postgres: Protocol<PostgresConfig> = {
  name: "postgres",
  config: PostgresConfig,
  create: async (resource, config) => {
    const ca = config.ca === undefined ? ok(undefined) : await readAuthorities(config.ca);
    if (!ca.ok) return err({ path: ["ca"], message: ca.error });
    const server: Server = {
      resource,
      target: { address: config.address, tls: config.tls, ca: ca.value },
      user: config.user,
      database: config.database,
      credential: new Credential(config.password),
    };
    const catalogue = new CatalogueReader(resource, (signal) =>
      openServer(server, CATALOGUE_PARAMETERS, signal),
    );
    return ok({
      channels: {
        postgres: (channel, payload, log) => serveSession(server, channel, payload, log),
        "postgres-catalogue": (channel, payload, log) => catalogue.serve(channel, payload, log),
        "postgres-explain": (channel, payload, log) =>
          serveExplain(
            resource,
            (parameters, signal) => openServer(server, parameters, signal),
            channel,
            payload,
            log,
          ),
      },
      close: () => catalogue.close(),
    });
  },
};

/** PEM certificates, each of which has to be one: TLS itself would ignore what it cannot read. */
async function readAuthorities(path: string): Promise<Result<string, string>> {
  let pem: string;
  try {
    pem = await readFile(path, "utf8");
  } catch (error) {
    return err(`${path} cannot be used (${(error as NodeJS.ErrnoException).code ?? "not readable"})`);
  }
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0) return err(`${path} holds no PEM certificate`);
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch {
    return err(`${path} holds a certificate that cannot be read`);
  }
  return ok(pem);
}

type Opened = { readonly connection: Connection; readonly login: LoggedIn };

/** Connects and logs in. `signal` gives up; the whole takes at most LIMITS.time.upstreamOpen. */
export async function openServer(
  server: Server,
  parameters: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Result<Opened, OpenFailure>> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(LIMITS.time.upstreamOpen)]);
  const opened = await attempt(server, { ...parameters, [CHECK_CONNECTION]: CHECK_EVERY }, bounded);
  // A system that cannot tell refuses the setting, and so does a pooler that does not know it.
  if (opened.ok || opened.error.step !== "login" || !opened.error.detail.includes(CHECK_CONNECTION))
    return opened;
  return attempt(server, parameters, bounded);
}

async function attempt(
  server: Server,
  parameters: Readonly<Record<string, string>>,
  bounded: AbortSignal,
): Promise<Result<Opened, OpenFailure>> {
  const password = await server.credential.password(performance.now());
  if (!password.ok) return err({ step: "credential", detail: password.error });
  const connection = await connect(server.target, bounded);
  if (!connection.ok) return connection;
  const { user, database, credential } = server;
  const derive = credential.derive.bind(credential);
  const loggedIn = await login(
    connection.value,
    { user, database, password: password.value, parameters, derive },
    bounded,
  );
  if (!loggedIn.ok) {
    reset(connection.value);
    if (loggedIn.error.kind !== "network") credential.forget();
    return err({ step: "login", ...loggedIn.error });
  }
  return ok({ connection: connection.value, login: loggedIn.value });
}

async function serveSession(
  server: Server,
  channel: TunnelChannel,
  payload: unknown,
  log: Log,
): Promise<void> {
  const open = PostgresOpen.safeParse(payload);
  if (!open.success)
    return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
  const problem = parameterProblem(open.data.parameters);
  if (problem !== undefined) return channel.close({ code: "setting_not_allowed", message: problem });
  const gone = new AbortController();
  channel.listen({ onRemoteClose: () => gone.abort() });
  const started = performance.now();
  const opened = await openServer(server, open.data.parameters, gone.signal);
  if (gone.signal.aborted) {
    if (opened.ok) reset(opened.value.connection);
    log.info("given up while opening");
    return;
  }
  if (!opened.ok) {
    log.error("upstream not opened", failureFields(opened.error));
    return channel.close(closeReason(server.resource, opened.error));
  }
  log.info("upstream opened", {
    milliseconds: Math.round(performance.now() - started),
    tls: server.target.tls,
  });
  await relay(channel, { target: server.target, database: server.database, ...opened.value }, log);
}
