/** The audit log: audit.k8s.io/v1 Events at the level Metadata, as the real server writes them. */
import { randomUUID } from "node:crypto";
import type { Authenticated } from "./authorization.ts";
import type { Target, User } from "./request.ts";

export type AuditEvent = {
  readonly kind: "Event";
  readonly apiVersion: "audit.k8s.io/v1";
  readonly level: "Metadata";
  readonly auditID: string;
  readonly stage: "ResponseStarted" | "ResponseComplete";
  readonly requestURI: string;
  readonly verb: string;
  readonly user: User;
  readonly impersonatedUser?: User;
  readonly userAgent?: string;
  readonly objectRef?: Readonly<Record<string, string>>;
  readonly responseStatus: { readonly code: number };
  readonly stageTimestamp: string;
};

/** Events that are kept. */
const KEPT = 10_000;

export class AuditLog {
  #events: AuditEvent[] = [];

  note(event: {
    readonly authenticated: Authenticated | undefined;
    readonly verb: string;
    readonly uri: string;
    readonly target: Target | undefined;
    readonly code: number;
    readonly started: boolean;
    readonly userAgent: string | undefined;
  }): void {
    const { authenticated, target } = event;
    const user = authenticated?.impersonator ?? authenticated?.user;
    this.#events.push({
      kind: "Event",
      apiVersion: "audit.k8s.io/v1",
      level: "Metadata",
      auditID: randomUUID(),
      stage: event.started ? "ResponseStarted" : "ResponseComplete",
      requestURI: event.uri,
      verb: event.verb,
      user: user ?? { username: "", groups: [] },
      ...(authenticated?.impersonator === undefined ? {} : { impersonatedUser: authenticated.user }),
      ...(event.userAgent === undefined ? {} : { userAgent: event.userAgent }),
      ...(target === undefined ? {} : { objectRef: referenceOf(target) }),
      responseStatus: { code: event.code },
      stageTimestamp: new Date().toISOString(),
    });
    if (this.#events.length > 2 * KEPT) this.#events = this.#events.slice(KEPT);
  }

  events(): readonly AuditEvent[] {
    return this.#events;
  }
}

function referenceOf({ kind, namespace, name, subresource }: Target): Record<string, string> {
  const { group, version } = kind;
  const all = { resource: kind.plural, namespace, name, apiGroup: group, apiVersion: version, subresource };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== ""));
}
