/**
 * A whole Sallyport on one machine: PostgreSQL with the shop, an identity provider, the gateway and a connector.
 * The demo, the conformance tests and the benchmarks start the same thing; they differ in where its state lives.
 */
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { buildGateway } from "../build/gateway.ts";
import type { BuiltWorker } from "../build/worker.ts";
import { startKubernetes } from "../demo/kubernetes/server.ts";
import { SHOP_ROLE, createShop } from "../demo/shop.ts";
import { startConnector } from "./connector.ts";
import { type Gateway, type GatewayOptions, startGateway } from "./gateway.ts";
import { callApi, exchangeToken, listResources } from "./gateway-api.ts";
import { type Oidc, type OidcOptions, startOidc } from "./oidc.ts";
import { OIDC_USER_NAMES, type OidcUserName } from "./oidc-users.ts";
import { type Postgres, generatePassword, startPostgres } from "./postgres.ts";
import { type Exit, type Supervised, describe, tail } from "./processes.ts";
import { freePort } from "./ports.ts";
import { ROOT } from "./run.ts";
import { startOrdersApi } from "./orders-api.ts";
import { startSshTarget } from "./ssh-target.ts";
import type { SshTarget } from "./sshd.ts";

export const CONNECTOR_NAME = "demo";

export type SystemPorts = {
  readonly gateway: number;
  readonly oidc: number;
  readonly postgres: number;
  /** Of the SSH server behind `web-1`. */
  readonly ssh: number;
};

export type SystemOptions = {
  /** Everything that is kept is kept here; starting again in the same directory loses nothing. */
  readonly directory: string;
  /** Default: free ones. */
  readonly ports?: SystemPorts;
  /** A Worker that is built already; default: builds it. */
  readonly worker?: BuiltWorker;
  /** PostgreSQL that loses data in a power failure; for tests. */
  readonly unsafe?: boolean;
  /** Settings of PostgreSQL beside the usual ones. */
  readonly postgresSettings?: Readonly<Record<string, string>>;
  /** A server that runs already, in place of starting one; it has the shop and `SHOP_ROLE`. */
  readonly postgres?: { readonly server: Postgres; readonly shopPassword: string };
  /** Files of the gateway's first configuration by path; default: scripts/demo/config. */
  readonly configuration?: (values: { readonly issuer: string }) => Promise<Record<string, string>>;
  /** Resources that the connector serves beside the demo's own, as in its configuration file. */
  readonly resources?: (postgres: Postgres, passwordFile: string) => Record<string, unknown>;
  /** Databases to create beside `shop`, empty, owned by `SHOP_ROLE`. */
  readonly databases?: readonly string[];
  readonly gateway?: Pick<GatewayOptions, "bindings" | "recordings">;
  readonly oidc?: Pick<OidcOptions, "consoleSecret">;
  /** Said before each step. */
  readonly onProgress?: (step: string) => void;
};

export type System = {
  readonly directory: string;
  readonly postgres: Postgres;
  /** The server behind `web-1`. */
  readonly ssh: SshTarget;
  readonly oidc: Oidc;
  readonly connectorName: string;
  /** Address of the shop without the gateway, as the role that the connector uses. */
  readonly shopUrl: string;
  /** The current processes; they are replaced when they are started again. */
  gateway: Gateway;
  connector: Supervised;
  /** File with an ID token of that user. */
  tokenFile(user: OidcUserName): string;
  /** Writes all ID tokens anew. */
  writeTokens(): Promise<void>;
  /** A session token of the gateway's for that user. */
  sessionToken(user: OidcUserName): Promise<string>;
  /** Starts the gateway again on the same port and state; the connector reconnects by itself. */
  startGateway(): Promise<void>;
  /** Starts a connector process, in addition to any that runs, and makes it the current one. */
  startConnector(): Promise<void>;
  /** Waits until the gateway says that `resource` is online. */
  waitUntilOnline(resource: string, withinMs?: number): Promise<void>;
  stop(): Promise<void>;
};

/** A day's work and the night after it. `npm start` writes new ones long before. */
const ID_TOKEN_LIFETIME = 24 * 3600;

type Secrets = { readonly superuser: string; readonly shop: string; readonly bootstrap: string };

/** Starts all parts. When one does not start, those before it are stopped again and the error says why. */
export async function startSystem(options: SystemOptions): Promise<System> {
  const { directory } = options;
  const progress = options.onProgress ?? (() => undefined);
  const logs = join(directory, "logs");
  const tokens = join(directory, "tokens");
  await preparePrivately(directory, [logs, tokens, join(directory, "gateway")]);
  const log = (name: string): string => join(logs, `${name}.log`);
  const secrets = await loadSecrets(join(directory, "secrets.json"));
  const stops: (() => Promise<void>)[] = [];
  const stop = async (): Promise<void> => {
    for (const each of stops.splice(0).reverse()) await each();
  };

  try {
    progress("building the gateway");
    const worker = options.worker ?? (await buildGateway(directory));

    progress("starting PostgreSQL");
    const postgres =
      options.postgres?.server ??
      (await startPostgres({
        dataDirectory: join(directory, "postgres"),
        superuserPassword: secrets.superuser,
        port: options.ports?.postgres ?? (await freePort()),
        unsafe: options.unsafe ?? false,
        logFile: log("postgres"),
        settings: { max_connections: "300", ...options.postgresSettings },
      }));
    const shopPassword = options.postgres?.shopPassword ?? secrets.shop;
    if (options.postgres === undefined) {
      stops.push(() => postgres.stop());
      if ((await createShop(postgres, { password: shopPassword })).created)
        progress("filled the shop's database");
    }
    await createDatabases(postgres, options.databases ?? []);
    const passwordFile = join(directory, "shop-password");
    await writeFile(passwordFile, shopPassword, { mode: 0o600 });

    progress("starting the SSH server");
    const server = await startSshTarget({
      directory: join(directory, "ssh"),
      port: options.ports?.ssh ?? (await freePort()),
      logFile: log("ssh-server"),
    });
    stops.push(() => server.stop());

    const orders = await startOrdersApi(join(directory, "orders-api-key"));
    stops.push(() => orders.stop());

    progress("starting the Kubernetes API server");
    const kubernetes = await startKubernetes();
    stops.push(() => kubernetes.stop());
    const clusterAuthority = join(directory, "prod-ca.pem");
    const clusterToken = join(directory, "prod-token");
    await writeFile(clusterAuthority, kubernetes.ca);
    await writeFile(clusterToken, kubernetes.token, { mode: 0o600 });

    progress("starting the identity provider");
    const oidc = await startOidc({
      keyFile: join(directory, "oidc.json"),
      logFile: log("identity-provider"),
      ...(options.ports === undefined ? {} : { port: options.ports.oidc }),
      ...options.oidc,
    });
    stops.push(() => oidc.stop());

    progress("starting the gateway");
    const gatewayPort = options.ports?.gateway ?? (await freePort());
    const openGateway = (): Promise<Gateway> =>
      startGateway({
        directory: worker.directory,
        ...(worker.console === undefined ? {} : { console: worker.console }),
        port: gatewayPort,
        persist: join(directory, "gateway"),
        bootstrapToken: secrets.bootstrap,
        logFile: log("gateway"),
        ...options.gateway,
      });
    const tokenFile = (user: OidcUserName): string => join(tokens, `${user}.jwt`);
    const openConnector = async (joinToken?: string): Promise<Supervised> =>
      startConnector({
        name: CONNECTOR_NAME,
        gateway: system.gateway.url,
        directory: join(directory, "connector"),
        resources: {
          "shop-db": {
            protocol: "postgres",
            address: `127.0.0.1:${postgres.port}`,
            database: "shop",
            user: SHOP_ROLE,
            password: `file:${passwordFile}`,
          },
          "web-1": {
            protocol: "ssh",
            address: `127.0.0.1:${server.port}`,
            user: server.user,
            hostKey: server.hostKey,
            key: `file:${server.keyFile}`,
          },
          "orders-api": {
            protocol: "http",
            address: `http://127.0.0.1:${orders.port}`,
            credential: { header: { name: "x-api-key", value: `file:${orders.keyFile}` } },
          },
          prod: {
            protocol: "kubernetes",
            address: kubernetes.url,
            ca: clusterAuthority,
            token: `file:${clusterToken}`,
            impersonate: { user: "name" },
          },
          ...options.resources?.(postgres, passwordFile),
        },
        logFile: log("connector"),
        ...(joinToken === undefined ? {} : { joinToken }),
      });
    const gateway = await openGateway();
    const system: System = {
      directory,
      postgres,
      ssh: server,
      oidc,
      connectorName: CONNECTOR_NAME,
      shopUrl: postgres.url("shop", SHOP_ROLE, shopPassword),
      gateway,
      // Replaced a few lines below, before anybody sees it.
      connector: gateway.process,
      tokenFile,
      writeTokens: async () => {
        for (const user of OIDC_USER_NAMES) {
          await replaceFile(
            tokenFile(user),
            `${await oidc.issueIdToken(user, { ttl: ID_TOKEN_LIFETIME })}\n`,
          );
        }
      },
      sessionToken: async (user) =>
        (await exchangeToken(system.gateway.url, await oidc.issueIdToken(user, { ttl: 600 }))).token,
      startGateway: async () => {
        system.gateway = await openGateway();
      },
      startConnector: async () => {
        const started = await openConnector();
        system.connector = started;
        stops.push(() => started.stop("SIGINT"));
      },
      waitUntilOnline: (resource, withinMs) => waitUntilOnline(system, resource, withinMs ?? 30_000),
      stop,
    };
    stops.push(() => system.gateway.stop());
    await system.writeTokens();

    progress("applying the configuration");
    await applyFirstConfiguration(system, secrets.bootstrap, options.configuration ?? demoConfiguration);

    progress("starting the connector");
    const reviewer = await system.sessionToken("reviewer-a");
    const connector = await openConnector(await joinTokenIfNeeded(system, reviewer));
    system.connector = connector;
    // SIGINT ends its live sessions now; SIGTERM would let them finish.
    stops.push(() => connector.stop("SIGINT"));
    await system.waitUntilOnline("shop-db");
    return system;
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The demo's configuration with the identity provider's address in place. */
export async function demoConfiguration({
  issuer,
}: {
  readonly issuer: string;
}): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of ["sallyport.yaml", "policies.cedar"]) {
    const text = await readFile(join(ROOT, "scripts/demo/config", name), "utf8");
    files[name] = text.replaceAll("${ISSUER}", issuer);
  }
  return files;
}

/** Applies the configuration unless there is one already, which the user may have changed. */
async function applyFirstConfiguration(
  system: System,
  bootstrapToken: string,
  configuration: (values: { readonly issuer: string }) => Promise<Record<string, string>>,
): Promise<void> {
  const configured = await system.sessionToken("reviewer-a").then(
    () => true,
    () => false,
  );
  if (configured) return;
  const files = await configuration({ issuer: system.oidc.issuer });
  await callApi(system.gateway.url, "PUT", "/v1/config", { token: bootstrapToken, body: { files } });
}

/** A join token when the connector has no key yet, or has one that this gateway does not know. */
async function joinTokenIfNeeded(system: System, token: string): Promise<string | undefined> {
  const state = join(system.directory, "connector", "state");
  const gateway = system.gateway.url;
  const { connectors } = (await callApi(gateway, "GET", "/v1/connectors", { token })) as {
    connectors: readonly { readonly name: string; readonly revoked?: unknown }[];
  };
  const known = connectors.some(({ name, revoked }) => name === CONNECTOR_NAME && revoked !== true);
  const enrolment = await readFile(join(state, "enrolment.json"), "utf8").catch(() => "");
  if (known && enrolment.includes(JSON.stringify(gateway))) return undefined;
  // A key of another gateway, or of one whose state was thrown away, is of no use.
  await rm(state, { recursive: true, force: true });
  const made = (await callApi(gateway, "POST", `/v1/connectors/${CONNECTOR_NAME}/join-tokens`, {
    token,
  })) as {
    readonly token: string;
  };
  return made.token;
}

async function waitUntilOnline(system: System, resource: string, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  const token = await system.sessionToken("reviewer-a");
  const { connector } = system;
  let ended: Exit | undefined;
  void connector.exited.then((exit) => (ended = exit));
  for (;;) {
    const listed = await listResources(system.gateway.url, token);
    if (listed.some(({ name, online }) => name === resource && online)) return;
    if (ended !== undefined) {
      throw new Error(
        `the connector ended (${describe(ended)}) before ${resource} came online\n${tail(connector.logFile)}`,
      );
    }
    if (performance.now() > deadline) {
      throw new Error(
        `${resource} did not come online within ${withinMs / 1000} s\n${tail(connector.logFile)}`,
      );
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function createDatabases(postgres: Postgres, names: readonly string[]): Promise<void> {
  await postgres.withClient("postgres", async (client) => {
    for (const name of names) {
      const { rowCount } = await client.query("SELECT 1 FROM pg_database WHERE datname = $1", [name]);
      if (rowCount === 0) {
        await client.query(
          `CREATE DATABASE ${client.escapeIdentifier(name)} OWNER ${client.escapeIdentifier(SHOP_ROLE)}`,
        );
      }
    }
  });
}

/**
 * Recordings, keys and tokens are their owner's business. When root runs this, PostgreSQL's server is another
 * user, who has to pass through the directory to its own.
 */
async function preparePrivately(directory: string, below: readonly string[]): Promise<void> {
  await mkdir(directory, { recursive: true });
  await chmod(directory, process.getuid?.() === 0 ? 0o711 : 0o700);
  for (const path of below) await mkdir(path, { recursive: true, mode: 0o700 });
}

async function loadSecrets(file: string): Promise<Secrets> {
  if (existsSync(file)) return JSON.parse(await readFile(file, "utf8")) as Secrets;
  const secrets: Secrets = {
    superuser: generatePassword(),
    shop: generatePassword(),
    bootstrap: randomBytes(32).toString("base64url"),
  };
  await writeFile(file, `${JSON.stringify(secrets, null, 2)}\n`, { mode: 0o600 });
  return secrets;
}

/** A reader sees the old file or the new one, never half of one. */
async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}
