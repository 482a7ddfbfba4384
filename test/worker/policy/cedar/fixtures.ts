import type {
  Action,
  PostgresFacts,
  PostgresVerb,
  Principal,
  Resource,
} from "../../../../worker/policy/types.ts";

export const FACTS: PostgresFacts = { reads: [], writes: [], hasWhere: true, functions: [] };

export function statement(verb: PostgresVerb, facts: Partial<PostgresFacts> = {}): Action {
  return { action: `postgres:${verb}`, facts: { ...FACTS, ...facts } };
}

export function user(subject: string, ...groups: string[]): Principal {
  return { type: "User", issuer: "https://login.example", subject, name: `${subject}@example.com`, groups };
}

export function workload(subject: string, ...groups: string[]): Principal {
  return { ...user(subject, ...groups), type: "Workload" };
}

export const SHOP: Resource = {
  name: "shop-db",
  protocol: "postgres",
  connector: "demo",
  labels: { env: "production" },
  database: "shop",
  masks: [],
  rows: [],
  trustedFunctions: [],
  detectors: "off",
  recordResultBytes: 1 << 18,
  heldInTransaction: 300_000,
};
