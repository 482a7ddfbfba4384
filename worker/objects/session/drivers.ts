/** One driver for each protocol. A protocol without one cannot be connected to. */
import type { Protocol } from "../../policy/types.ts";
import type { RequestDriver, SessionDriver, SessionHost } from "./driver.ts";
import { HttpDriver } from "./http.ts";
import { HTTP_DIALECT, type HttpDialect } from "./http-dialect.ts";
import { KUBERNETES_DIALECT } from "./kubernetes-dialect.ts";
import { PostgresDriver } from "./postgres.ts";
import { SshDriver } from "./ssh.ts";

type DriverMaker = (host: SessionHost, frozen: string | undefined) => SessionDriver;

const DRIVERS: Readonly<Partial<Record<Protocol, DriverMaker>>> = {
  postgres: (host, frozen) => new PostgresDriver(host, frozen),
  ssh: (host) => new SshDriver(host),
};

/** Whether native clients can connect to resources of this protocol. */
export function hasDriver(protocol: Protocol): boolean {
  return Object.hasOwn(DRIVERS, protocol);
}

/** `frozen` is what the driver's `freeze` gave before hibernation. @throws for a protocol without a driver. */
export function createDriver(
  host: SessionHost,
  protocol: Protocol,
  frozen: string | undefined,
): SessionDriver {
  const make = DRIVERS[protocol];
  if (make === undefined) throw new Error(`there is no driver for ${protocol}`);
  return make(host, frozen);
}

const DIALECTS: Readonly<Partial<Record<Protocol, HttpDialect>>> = {
  http: HTTP_DIALECT,
  kubernetes: KUBERNETES_DIALECT,
};

/** How the protocol is spoken in requests; undefined for one that is not. */
export function dialectOf(protocol: Protocol): HttpDialect | undefined {
  return DIALECTS[protocol];
}

/** Undefined for a protocol that is not spoken in requests. */
export function createRequestDriver(host: SessionHost, protocol: Protocol): RequestDriver | undefined {
  const dialect = dialectOf(protocol);
  return dialect === undefined ? undefined : new HttpDriver(host, dialect);
}
