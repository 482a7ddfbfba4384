/** Plots of counts. Each says its numbers in a table too, for whoever cannot see it. */
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Statistics } from "../api/types.ts";
import { count } from "../model/text.ts";
import { Time } from "./parts.tsx";

/** Until it is known how wide the plot is on the screen; one unit of it is one pixel then. */
const USUAL_WIDTH = 900;
const HEIGHT = 200;
/** Room that a time below the plot takes. */
const TICK_WIDTH = 90;
const LEFT = 40;
const BOTTOM = 22;

/** A round number at or above `value`, to end an axis on. */
export function ceiling(value: number): number {
  if (value <= 4) return 4;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 5, 10].find((step) => step * power >= value) ?? 10) * power;
}

const SERIES = [
  ["allow", "allowed"],
  ["hold", "held"],
  ["deny", "denied"],
] as const;

/** Stacked columns: decisions in equal stretches of time. */
export function Columns({
  buckets,
  bucketSeconds,
}: {
  readonly buckets: Statistics["buckets"];
  readonly bucketSeconds: number;
}): JSX.Element {
  const figure = useRef<HTMLElement>(null);
  const [width, setWidth] = useState(USUAL_WIDTH);
  useEffect(() => {
    const plot = figure.current?.querySelector("svg");
    if (plot == null) return undefined;
    const observer = new ResizeObserver(() => setWidth(Math.max(200, Math.round(plot.clientWidth))));
    observer.observe(plot);
    return () => observer.disconnect();
  }, []);
  const most = ceiling(Math.max(...buckets.map(({ allow, hold, deny }) => allow + hold + deny)));
  const step = (width - LEFT) / Math.max(1, buckets.length);
  const y = (value: number): number => (value / most) * (HEIGHT - BOTTOM - 8);
  const format = new Intl.DateTimeFormat(
    undefined,
    bucketSeconds >= 6 * 3600 ? { month: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" },
  );
  const every = Math.ceil(buckets.length / Math.max(1, Math.min(6, Math.floor((width - LEFT) / TICK_WIDTH))));
  return (
    <figure class="chart" ref={figure}>
      <Legend series={SERIES} />
      <svg
        viewBox={`0 0 ${width} ${HEIGHT}`}
        role="img"
        aria-label="decisions over time; the numbers are in the table below"
      >
        {[0, 0.5, 1].map((part) => (
          <g key={part}>
            <line
              class="grid"
              x1={LEFT}
              x2={width}
              y1={HEIGHT - BOTTOM - y(most * part)}
              y2={HEIGHT - BOTTOM - y(most * part)}
            />
            <text class="tick" x={LEFT - 6} y={HEIGHT - BOTTOM - y(most * part) + 4} text-anchor="end">
              {count(most * part)}
            </text>
          </g>
        ))}
        {buckets.map((bucket, index) => {
          let base = HEIGHT - BOTTOM;
          return (
            <g key={bucket.at}>
              <title>{`${new Date(bucket.at).toLocaleString()}: ${bucket.allow} allowed, ${bucket.hold} held, ${bucket.deny} denied`}</title>
              {SERIES.map(([name]) => {
                const height = y(bucket[name]);
                base -= height;
                return (
                  <rect
                    key={name}
                    class={`fill-${name}`}
                    x={LEFT + index * step + step * 0.1}
                    width={Math.max(1, step * 0.8)}
                    y={base}
                    height={height}
                  />
                );
              })}
              {index % every === 0 && (
                <text class="tick" x={LEFT + index * step} y={HEIGHT - 6}>
                  {format.format(new Date(bucket.at))}
                </text>
              )}
            </g>
          );
        })}
      </svg>
      <details>
        <summary>The numbers</summary>
        <table class="list narrow">
          <thead>
            <tr>
              <th scope="col">From</th>
              {SERIES.map(([name, title]) => (
                <th key={name} scope="col" class="number">
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {buckets
              .filter(({ allow, hold, deny }) => allow + hold + deny > 0)
              .map((bucket) => (
                <tr key={bucket.at}>
                  <td data-label="From">
                    <Time at={bucket.at} />
                  </td>
                  {SERIES.map(([name, title]) => (
                    <td key={name} class="number" data-label={title}>
                      {count(bucket[name])}
                    </td>
                  ))}
                </tr>
              ))}
          </tbody>
        </table>
      </details>
    </figure>
  );
}

function Legend({ series }: { readonly series: readonly (readonly [string, string])[] }): JSX.Element {
  return (
    <figcaption class="legend small">
      {series.map(([tone, name]) => (
        <span key={tone}>
          <i class={`bg-${tone}`} aria-hidden="true" /> {name}
        </span>
      ))}
    </figcaption>
  );
}

export type Bar = {
  readonly name: string;
  readonly key?: string;
  readonly link?: string;
  readonly parts: readonly { readonly tone: string; readonly value: number; readonly name: string }[];
};

/** Horizontal bars, the longest across the whole width, each with its numbers in words. */
export function BarList({ items }: { readonly items: readonly Bar[] }): JSX.Element {
  const sum = (bar: Bar): number => bar.parts.reduce((total, { value }) => total + value, 0);
  const most = Math.max(1, ...items.map(sum));
  return (
    <ul class="bars-list">
      {items.map((bar) => (
        <li key={bar.key ?? bar.name}>
          <span class="bars-name clip">
            {bar.link === undefined ? bar.name : <a href={bar.link}>{bar.name}</a>}
          </span>
          <span class="bars-numbers small">
            {bar.parts.length === 1
              ? count(sum(bar))
              : bar.parts
                  .filter(({ value }) => value > 0)
                  .map(({ value, name }) => `${count(value)} ${name}`)
                  .join(", ") || "none"}
          </span>
          <span class="bars-track" aria-hidden="true">
            {bar.parts.map(({ tone, value, name }) => (
              <i key={name} class={`bg-${tone}`} style={{ width: `${(value / most) * 100}%` }} />
            ))}
          </span>
        </li>
      ))}
    </ul>
  );
}
