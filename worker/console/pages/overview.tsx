/** How it has been going: decisions over time, where operations are held and denied, how long people wait. */
import type { JSX } from "preact";
import { useLoad } from "../api/load.ts";
import type { Statistics } from "../api/types.ts";
import { BarList, Columns } from "../components/chart.tsx";
import { Empty, Failed, Loading, PageHead, Section } from "../components/parts.tsx";
import { count, plural, span } from "../model/text.ts";
import { go, href, place } from "../router.ts";

const RANGES: readonly (readonly [string, string, number])[] = [
  ["hour", "Hour", 3_600_000],
  ["day", "Day", 86_400_000],
  ["week", "Week", 7 * 86_400_000],
  ["month", "Month", 30 * 86_400_000],
];

/** The end of the range is a whole minute, so that looking again does not ask anew. */
function requestPath(range: string): string {
  const length = RANGES.find(([name]) => name === range)?.[2] ?? 86_400_000;
  const to = Math.ceil(Date.now() / 60_000) * 60_000;
  const query = new URLSearchParams({
    from: new Date(to - length).toISOString(),
    to: new Date(to).toISOString(),
  });
  return `/v1/statistics?${query.toString()}`;
}

export function OverviewPage(): JSX.Element {
  const range = place.value.query.get("range") ?? "day";
  const { value, problem, loading, reload } = useLoad<Statistics>(requestPath(range));
  return (
    <>
      <PageHead title="Overview">
        <div class="segments" role="group" aria-label="time">
          {RANGES.map(([name, title]) => (
            <button
              key={name}
              type="button"
              aria-pressed={name === range}
              onClick={() => go(href("overview", { range: name }), true)}
            >
              {title}
            </button>
          ))}
        </div>
      </PageHead>
      {problem !== undefined && <Failed problem={problem} retry={reload} />}
      {value === undefined && problem === undefined && <Loading what="the numbers" />}
      {value !== undefined && <Numbers statistics={value} stale={loading} />}
    </>
  );
}

function Numbers({
  statistics,
  stale,
}: {
  readonly statistics: Statistics;
  readonly stale: boolean;
}): JSX.Element {
  const { buckets, resources, waiting, approvals, people, relations } = statistics;
  const sum = (pick: (bucket: (typeof buckets)[number]) => number): number =>
    buckets.reduce((total, bucket) => total + pick(bucket), 0);
  const total = {
    allow: sum(({ allow }) => allow),
    hold: sum(({ hold }) => hold),
    deny: sum(({ deny }) => deny),
  };
  const decided = approvals.approved + approvals.denied + approvals.expired + approvals.withdrawn;
  const seconds = (value: number | null): string =>
    value === null || waiting.count === 0 ? "–" : span(value * 1000);
  return (
    <div class={stale ? "stale" : undefined}>
      <dl class="numbers">
        <Number name="operations" value={count(total.allow + total.hold + total.deny)} />
        <Number name="held" value={count(total.hold)} tone="hold" />
        <Number name="denied" value={count(total.deny)} tone="deny" />
        <Number
          name="median wait"
          value={seconds(waiting.median)}
          note={plural(waiting.count, "decided approval")}
        />
        <Number name="95 % waited less than" value={seconds(waiting.p95)} />
      </dl>
      <Section title="Decisions over time">
        {total.allow + total.hold + total.deny === 0 ? (
          <Empty title="Nothing was decided in this time" />
        ) : (
          <Columns buckets={buckets} bucketSeconds={statistics.bucketSeconds} />
        )}
      </Section>
      <div class="columns even">
        <Section title="Held and denied by resource">
          {resources.every(({ held, denied }) => held + denied === 0) ? (
            <Empty title="Nothing was held or denied" />
          ) : (
            <BarList
              items={resources.map(({ resource, held, denied }) => ({
                name: resource,
                link: href("sessions", { resource }),
                parts: [
                  { tone: "hold", value: held, name: "held" },
                  { tone: "deny", value: denied, name: "denied" },
                ],
              }))}
            />
          )}
        </Section>
        <Section title="How approvals ended">
          {decided + approvals.pending === 0 ? (
            <Empty title="No approval was asked for" />
          ) : (
            <BarList
              items={(
                [
                  ["approved", "allow"],
                  ["denied", "deny"],
                  ["expired", "quiet"],
                  ["withdrawn", "quiet"],
                  ["pending", "hold"],
                ] as const
              ).map(([name, tone]) => ({ name, parts: [{ tone, value: approvals[name], name }] }))}
            />
          )}
        </Section>
        <Section title="Most active people and workloads">
          {people.length === 0 ? (
            <Empty title="Nobody did anything" />
          ) : (
            <BarList
              items={people.map(({ issuer, subject, name, operations, held, denied }) => ({
                name: name || subject,
                key: `${issuer} ${subject}`,
                link: href("sessions", { person: subject }),
                parts: [
                  { tone: "allow", value: Math.max(0, operations - held - denied), name: "allowed" },
                  { tone: "hold", value: held, name: "held" },
                  { tone: "deny", value: denied, name: "denied" },
                ],
              }))}
            />
          )}
        </Section>
        <Section title="Most used relations">
          {relations.length === 0 ? (
            <Empty title="No relation was used" />
          ) : (
            <BarList
              items={relations.map(({ relation, reads, writes }) => ({
                name: relation,
                link: href("sessions", { relation }),
                parts: [
                  { tone: "accent", value: reads, name: reads === 1 ? "read" : "reads" },
                  { tone: "hold", value: writes, name: writes === 1 ? "write" : "writes" },
                ],
              }))}
            />
          )}
        </Section>
      </div>
    </div>
  );
}

function Number({
  name,
  value,
  note,
  tone,
}: {
  readonly name: string;
  readonly value: string;
  readonly note?: string;
  readonly tone?: string;
}): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd class={tone}>{value}</dd>
      {note !== undefined && <dd class="small quiet note">{note}</dd>}
    </div>
  );
}
