/** The only reader of the raw bindings (wrangler.toml): what is missing or malformed is said once, clearly. */
import { z } from "zod";
import type { ConnectorObject } from "./objects/connector.ts";
import type { ControlObject } from "./objects/control/object.ts";
import type { SessionObject } from "./objects/session/object.ts";

/** Bindings as the platform gives them. Objects reach each other through the namespaces only. */
export type Bindings = {
  readonly SESSION: DurableObjectNamespace<SessionObject>;
  readonly CONNECTOR: DurableObjectNamespace<ConnectorObject>;
  readonly CONTROL: DurableObjectNamespace<ControlObject>;
  /** The console's files; a deployment may go without. */
  readonly ASSETS?: Fetcher;
  readonly SALLY_PUBLIC_URL?: string;
  readonly SALLY_RESOURCES_URL?: string;
  readonly SALLY_BOOTSTRAP_TOKEN?: string;
};

const Settings = z.object({
  SALLY_PUBLIC_URL: z.url({ protocol: /^https?$/ }),
  SALLY_RESOURCES_URL: z.url({ protocol: /^https?$/ }).optional(),
  SALLY_BOOTSTRAP_TOKEN: z.string().min(16).optional(),
});

export type Settings = {
  /** The gateway's address without a trailing slash: issuer and audience of its tokens. */
  readonly publicUrl: string;
  /**
   * Origin below whose host each HTTP resource has an origin of its own for browsers (`https://apps.example` makes
   * `https://orders-api.apps.example`). Without a setting the gateway's own; undefined where that is an IP address.
   */
  readonly resourcesUrl: string | undefined;
  /** May apply the first configuration while there is none. */
  readonly bootstrapToken: string | undefined;
};

const READ = new WeakMap<Bindings, Settings>();

/** @throws when a variable is missing or malformed: the deployment is wrong, and every request says so. */
export function readSettings(bindings: Bindings): Settings {
  const known = READ.get(bindings);
  if (known !== undefined) return known;
  const parsed = Settings.safeParse(bindings);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw new Error(
      `the gateway's variable ${issue?.path.join(".") ?? "?"} is wrong: ${issue?.message ?? ""}`,
    );
  }
  const settings = {
    resourcesUrl: originBelow(parsed.data.SALLY_RESOURCES_URL ?? parsed.data.SALLY_PUBLIC_URL),
    publicUrl: parsed.data.SALLY_PUBLIC_URL.replace(/\/+$/, ""),
    bootstrapToken: parsed.data.SALLY_BOOTSTRAP_TOKEN,
  };
  READ.set(bindings, settings);
  return settings;
}

/** An IP address has no names below it; for the one of this machine `localhost` stands in. */
function originBelow(address: string): string | undefined {
  const { protocol, hostname, port, origin } = new URL(address);
  if (hostname === "127.0.0.1" || hostname === "[::1]")
    return `${protocol}//localhost${port === "" ? "" : `:${port}`}`;
  return hostname.startsWith("[") || /^[\d.]+$/.test(hostname) ? undefined : origin;
}

/** A secret that configuration may name (`NOTIFY_…`, `CONSOLE_…`); undefined when it is not set. */
export function readSecret(bindings: Bindings, name: string): string | undefined {
  const value = /^(NOTIFY|CONSOLE)_[A-Z0-9_]+$/.test(name)
    ? (bindings as unknown as Readonly<Record<string, unknown>>)[name]
    : undefined;
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** Where people look at an approval. */
export function approvalAddress(bindings: Bindings, approval: string): string {
  return `${readSettings(bindings).publicUrl}/console/approvals/${approval}`;
}

/** The one Control object of the deployment. */
export function controlOf(bindings: Bindings): DurableObjectStub<ControlObject> {
  return bindings.CONTROL.get(bindings.CONTROL.idFromName("control"));
}

export function sessionOf(bindings: Bindings, session: string): DurableObjectStub<SessionObject> {
  return bindings.SESSION.get(bindings.SESSION.idFromName(session));
}

export function connectorOf(bindings: Bindings, name: string): DurableObjectStub<ConnectorObject> {
  return bindings.CONNECTOR.get(bindings.CONNECTOR.idFromName(name));
}
