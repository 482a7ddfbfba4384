/** Small pieces that every page uses. */
import { signal } from "@preact/signals";
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useId } from "preact/hooks";
import type { Problem } from "../api/client.ts";
import type { ApprovalStatus, Effect, Principal } from "../api/types.ts";
import { ago, grouped, span } from "../model/text.ts";

/** The time now, for what counts up or down; ticks while something shows it. */
export const clock = signal(Date.now());
let watchers = 0;
let ticking: ReturnType<typeof setInterval> | undefined;

export function useClock(): number {
  useEffect(() => {
    if (watchers++ === 0) ticking = setInterval(() => (clock.value = Date.now()), 1000);
    clock.value = Date.now();
    return () => {
      if (--watchers === 0) clearInterval(ticking);
    };
  }, []);
  return clock.value;
}

const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const SHORT = new Intl.DateTimeFormat(undefined, {
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
});
const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** A moment in the viewer's zone; the exact UTC on hover. */
export function Time({
  at,
  as = "short",
}: {
  readonly at: string;
  readonly as?: "short" | "full" | "clock" | "ago";
}): JSX.Element {
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return <span>{at}</span>;
  return (
    <time dateTime={at} title={`${moment.toISOString()} (UTC)`}>
      {as === "ago" ? (
        <Ago at={moment.getTime()} />
      ) : (
        { short: SHORT, full: FULL, clock: CLOCK }[as].format(moment)
      )}
    </time>
  );
}

function Ago({ at }: { readonly at: number }): JSX.Element {
  return <>{ago(useClock() - at)}</>;
}

/** How long since, or until, with seconds: what somebody waits for. */
export function Elapsed({ since, until }: { readonly since?: string; readonly until?: string }): JSX.Element {
  const now = useClock();
  const milliseconds = since === undefined ? Date.parse(until ?? "") - now : now - Date.parse(since);
  return <>{span(Math.max(0, Math.floor(milliseconds / 1000) * 1000))}</>;
}

const EFFECTS: Readonly<Record<Effect, string>> = { allow: "allowed", hold: "held", deny: "denied" };

export function EffectBadge({ effect }: { readonly effect: Effect }): JSX.Element {
  return <span class={`badge ${effect}`}>{EFFECTS[effect]}</span>;
}

const STATUS_TONE: Readonly<Record<ApprovalStatus, string>> = {
  pending: "hold",
  approved: "allow",
  used: "allow",
  denied: "deny",
  expired: "quiet",
  withdrawn: "quiet",
};

export function StatusBadge({ status }: { readonly status: ApprovalStatus }): JSX.Element {
  return <span class={`badge ${STATUS_TONE[status]}`}>{status === "used" ? "approved, used" : status}</span>;
}

/** What somebody is called, whether a person or a machine, and on hover who exactly. */
export function Who({ principal }: { readonly principal: Principal }): JSX.Element {
  const groups = principal.groups.length === 0 ? "no group" : principal.groups.join(", ");
  return (
    <span class="who" title={`${principal.subject} at ${principal.issuer} (${groups})`}>
      <span>{breakable(principal.name || principal.subject)}</span>
      {principal.type === "Workload" && <span class="tag">workload</span>}
    </span>
  );
}

/** A name that, where it has to be broken, is broken after its `@`. */
function breakable(name: string): ComponentChildren {
  const at = name.indexOf("@") + 1;
  if (at === 0) return name;
  return [name.slice(0, at), <wbr key="at" />, name.slice(at)];
}

/** A whole hash in groups, with a way to copy it. */
export function Hash({ value }: { readonly value: string }): JSX.Element {
  return (
    <code class="hash" aria-label={`hash ${value}`}>
      {grouped(value).map((group, index) => (
        <span key={index}>{group}</span>
      ))}
    </code>
  );
}

export function PageHead({
  title,
  children,
  back,
}: {
  readonly title: ComponentChildren;
  readonly children?: ComponentChildren;
  readonly back?: { readonly href: string; readonly text: string };
}): JSX.Element {
  return (
    <header class="page-head">
      <div>
        {back !== undefined && (
          <a class="back" href={back.href}>
            ← {back.text}
          </a>
        )}
        <h1 tabIndex={-1}>{title}</h1>
      </div>
      {children !== undefined && <div class="page-actions">{children}</div>}
    </header>
  );
}

export function Section({
  title,
  aside,
  children,
}: {
  readonly title: ComponentChildren;
  readonly aside?: ComponentChildren;
  readonly children: ComponentChildren;
}): JSX.Element {
  const id = useId();
  return (
    <section class="section" aria-labelledby={id}>
      <div class="section-head">
        <h2 id={id}>{title}</h2>
        {aside}
      </div>
      {children}
    </section>
  );
}

/** Nothing to show, said plainly, with what to do about it. */
export function Empty({
  title,
  children,
}: {
  readonly title: string;
  readonly children?: ComponentChildren;
}): JSX.Element {
  return (
    <div class="state">
      <p class="state-title">{title}</p>
      {children !== undefined && <p>{children}</p>}
    </div>
  );
}

export function Loading({ what }: { readonly what: string }): JSX.Element {
  return (
    <div class="state loading" role="status">
      <span class="bars" aria-hidden="true">
        <i />
        <i />
        <i />
      </span>
      <span class="visually-hidden">loading {what}</span>
    </div>
  );
}

export function Failed({
  problem,
  retry,
}: {
  readonly problem: Problem;
  readonly retry?: () => void;
}): JSX.Element {
  return (
    <div class={`state ${problem.status === 0 ? "offline" : "failed"}`} role="alert">
      <p class="state-title">{sentence(problem.message)}</p>
      {problem.hint !== undefined && <p>{sentence(problem.hint)}</p>}
      {retry !== undefined && (
        <button type="button" onClick={retry}>
          Try again
        </button>
      )}
    </div>
  );
}

/** The gateway's messages begin in lower case; on a page they stand alone. */
export function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function Facts({
  items,
}: {
  readonly items: readonly (readonly [string, ComponentChildren] | undefined)[];
}): JSX.Element {
  return (
    <dl class="facts">
      {items.map(
        (item) =>
          item !== undefined && (
            <div key={item[0]}>
              <dt>{item[0]}</dt>
              <dd>{item[1]}</dd>
            </div>
          ),
      )}
    </dl>
  );
}
