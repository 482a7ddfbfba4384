/** Numbers for the overview: what was decided when, where and of whom, and how long people waited for an answer. */
import type { Approval } from "../../policy/approval.ts";
import type { Operations } from "./operations.ts";

export type StatisticsQuestion = { readonly from: number; readonly to: number };

const TOP = 10;
/** Points of a plot, about. */
const POINTS = 48;
const STEPS = [5, 15, 60, 180, 360, 1440].map((minutes) => minutes * 60_000);

/** Of these resources only. Times in milliseconds since the epoch; waiting in seconds. */
export function statistics(
  operations: Operations,
  approvals: readonly Approval[],
  resources: readonly string[],
  { from, to }: StatisticsQuestion,
): object {
  const step = STEPS.find((each) => (to - from) / each <= POINTS) ?? STEPS.at(-1) ?? 0;
  const counted = new Map(
    operations
      .tallies("time", resources, from, to, step)
      .map(({ key, a, b, c }) => [Number(key), { allow: a, hold: b, deny: c }]),
  );
  const buckets = [];
  for (let at = Math.floor(from / step) * step; at <= to; at += step) {
    buckets.push({ at: new Date(at).toISOString(), ...(counted.get(at) ?? { allow: 0, hold: 0, deny: 0 }) });
  }
  const waits = approvals.flatMap(({ status, decisions, createdAt }) => {
    const last = decisions.at(-1);
    return last === undefined || status === "pending" ? [] : [(last.at - createdAt) / 1000];
  });
  const count = (...statuses: Approval["status"][]): number =>
    approvals.filter(({ status }) => statuses.includes(status)).length;
  return {
    from: new Date(from).toISOString(),
    to: new Date(to).toISOString(),
    bucketSeconds: step / 1000,
    buckets,
    resources: operations.tallies("resource", resources, from, to).map(({ key, a, b, c }) => ({
      resource: key,
      operations: a + b + c,
      held: b,
      denied: c,
    })),
    waiting: { count: waits.length, median: quantile(waits, 0.5), p95: quantile(waits, 0.95) },
    approvals: {
      approved: count("approved", "used"),
      denied: count("denied"),
      expired: count("expired"),
      withdrawn: count("withdrawn"),
      pending: count("pending"),
    },
    people: operations
      .tallies("person", resources, from, to)
      .slice(0, TOP)
      .map(({ key, a, b, c }) => {
        const [issuer, subject, name] = JSON.parse(key) as [string, string, string];
        return { issuer, subject, name, operations: a, held: b, denied: c };
      }),
    relations: operations
      .tallies("relation", resources, from, to)
      .slice(0, TOP)
      .map(({ key, a, b }) => ({ relation: key, reads: a, writes: b })),
  };
}

/** The value below which that part of them lies (nearest rank); null of none. */
export function quantile(values: readonly number[], part: number): number | null {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? null;
}
