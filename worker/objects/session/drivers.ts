/** One driver for each protocol. A protocol without one cannot be connected to. */
import type { Protocol } from "../../policy/types.ts";
import type { RequestDriver, SessionDriver, SessionHost } from "./driver.ts";
import { HttpDriver } from "./http.ts";
import { HTTP_DIALECT } from "./http-dialect.ts";
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

const REQUEST_DRIVERS: Readonly<Partial<Record<Protocol, (host: SessionHost) => RequestDriver>>> = {
  http: (host) => new HttpDriver(host, HTTP_DIALECT),
  kubernetes: (host) => new HttpDriver(host, KUBERNETES_DIALECT),
};

/** Undefined for a protocol that is not spoken in requests. */
export function createRequestDriver(host: SessionHost, protocol: Protocol): RequestDriver | undefined {
  return REQUEST_DRIVERS[protocol]?.(host);
}
