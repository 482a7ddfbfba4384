/**
 * One HTTP exchange on a channel of the connector's tunnel.
 *
 *   gateway                                      connector
 *   OPEN   HttpOpen (the request's head)  ──►
 *                                         ◄──    OPENED {}          at once: the body may flow
 *   DATA … END (the request's body)       ──►
 *                                         ◄──    SIGNAL HttpHead    the answer's head, before its first byte
 *                                         ◄──    DATA … END         the answer's body
 *                                         ◄──    CLOSE done         or a refusal's code when it failed
 *
 * After the head of a WebSocket (status 101) both directions carry messages (web-socket-frame.ts).
 */
import { z } from "zod";
import { LIMITS } from "../limits.ts";

const fields = z
  .array(z.tuple([z.string().max(256), z.string().max(LIMITS.http.head)]))
  .max(LIMITS.http.headers + 16);

/** Methods that the gateway passes on. */
export const HTTP_METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] as const;
export type HttpMethod = (typeof HTTP_METHODS)[number];

const name = z.string().max(LIMITS.http.identityName);

/** A principal as the gateway has verified it, the session it acts in, and who acts for it. */
export const HttpPrincipal = z.object({
  issuer: name,
  subject: name,
  /** For people to read; never an identity. */
  name,
  groups: z.array(name).max(LIMITS.http.groups),
  session: z.string().max(64),
  /** Who acts for the principal now, as `issuer#subject`. */
  actor: z
    .string()
    .max(2 * LIMITS.http.identityName + 1)
    .optional(),
});
export type HttpPrincipal = z.infer<typeof HttpPrincipal>;

/** Payload of OPEN. */
export const HttpOpen = z.object({
  protocol: z.enum(["http", "kubernetes"]),
  resource: z.string().max(128),
  method: z.enum(HTTP_METHODS),
  /** Canonical path and query, relative to the resource's address. */
  target: z.string().max(LIMITS.http.target * 3),
  headers: fields,
  /** Length of the body, null for one that ends when it ends; absent without a body. */
  body: z.union([z.number().int().nonnegative(), z.null()]).optional(),
  /** Who asks, where the connector may tell the service so in its own words (Kubernetes impersonation). */
  principal: HttpPrincipal.optional(),
  /** Subprotocols of a WebSocket; absent for a plain request. */
  webSocket: z.array(z.string().max(256)).max(32).optional(),
});
export type HttpOpen = z.infer<typeof HttpOpen>;

/** The answer's head, as a SIGNAL. */
export const HttpHead = z.object({
  type: z.literal("head"),
  status: z.number().int().min(101).max(599),
  headers: fields,
  /**
   * Where a redirect leads: a path of the same service, or somewhere else altogether. The `location` field is
   * not among the headers.
   */
  location: z.object({ same: z.boolean(), target: z.string().max(LIMITS.http.head) }).optional(),
  /** Subprotocol that the service chose for a WebSocket. */
  subprotocol: z.string().max(256).optional(),
});
export type HttpHead = z.infer<typeof HttpHead>;
