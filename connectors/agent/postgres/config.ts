/** A `postgres` resource in the connector's config. */
import { z } from "zod";
import { Secret } from "../config-values.ts";
import type { Address } from "./connect.ts";

const DEFAULT_PORT = 5432;

const AddressText = z.string().transform((text, context): Address => {
  const address = parseAddress(text);
  if (address !== undefined) return address;
  context.addIssue({
    code: "custom",
    message: "must be host:port, [IPv6]:port or the path of a local socket",
  });
  return z.NEVER;
});

/** `host`, `host:port`, `[::1]:port`, or a path such as /run/postgresql/.s.PGSQL.5432. */
export function parseAddress(text: string): Address | undefined {
  if (text.startsWith("/")) return { kind: "local", path: text };
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? DEFAULT_PORT : Number(match[3]);
  if (host === undefined || port < 1 || port > 65535) return undefined;
  return { kind: "tcp", host, port };
}

function isThisMachine(address: Address): boolean {
  if (address.kind === "local") return true;
  return (
    address.host === "localhost" ||
    address.host === "::1" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(address.host)
  );
}

const name = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[^\0]*$/, "must not contain NUL");

/** `true` and `on` ask for TLS and leave how to us: verify-full. */
const TlsText = z
  .union([z.enum(["off", "on", "require", "verify-ca", "verify-full"]), z.boolean()])
  .transform((value) => {
    if (value === true || value === "on") return "verify-full" as const;
    return value === false ? ("off" as const) : value;
  });

export const PostgresConfig = z
  .strictObject({
    protocol: z.literal("postgres"),
    address: AddressText,
    database: name,
    user: name,
    password: Secret.optional(),
    tls: TlsText.optional(),
    /** File of PEM certificates to trust in place of the system's. */
    ca: z.string().min(1).optional(),
  })
  .transform((config, context) => {
    const { tls, ca, address } = config;
    if (tls === undefined && ca === undefined && !isThisMachine(address)) {
      const message =
        "is not this machine: choose tls: verify-full (also verify-ca, require, or off if the way is safe)";
      context.addIssue({ code: "custom", message, path: ["address"] });
      return z.NEVER;
    }
    const mode = tls ?? (ca === undefined ? "off" : "verify-full");
    if (ca !== undefined && (mode === "off" || mode === "require")) {
      context.addIssue({
        code: "custom",
        message: `has no effect with tls: ${mode}; use verify-full or verify-ca`,
        path: ["ca"],
      });
      return z.NEVER;
    }
    if (address.kind === "local" && mode !== "off") {
      context.addIssue({ code: "custom", message: "is not possible on a local socket", path: ["tls"] });
      return z.NEVER;
    }
    return { ...config, tls: mode };
  });
export type PostgresConfig = z.infer<typeof PostgresConfig>;
