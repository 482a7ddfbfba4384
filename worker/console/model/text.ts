/** Numbers, spans of time and identifiers as people read them. */

const INTEGER = new Intl.NumberFormat("en-US");
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

export function count(value: number): string {
  return Math.abs(value) < 100_000 ? INTEGER.format(value) : COMPACT.format(value);
}

/** `1 row`, `2 rows`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** Milliseconds as `4 ms`, `1.2 s`, `3 min`, `2 h 5 min`, `3 d`. */
export function span(milliseconds: number): string {
  const value = Math.max(0, milliseconds);
  if (value < 1000) return `${Math.round(value)} ms`;
  if (value < 10_000) return `${value % 1000 === 0 ? value / 1000 : (value / 1000).toFixed(1)} s`;
  const seconds = Math.round(value / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60)
    return seconds % 60 === 0 || minutes >= 10 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 === 0 ? `${hours} h` : `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d`;
}

/** How long ago, without seconds, which would only flicker: `just now`, `3 min ago`. */
export function ago(milliseconds: number): string {
  if (milliseconds < 10_000) return "just now";
  if (milliseconds < 60_000) return `${Math.floor(milliseconds / 10_000) * 10} s ago`;
  return `${span(Math.floor(milliseconds / 60_000) * 60_000)} ago`;
}

/** A hash in groups of eight, so that two people can compare it aloud. */
export function grouped(hash: string): readonly string[] {
  return hash.match(/.{1,8}/g) ?? [];
}

/** Bytes as `912 B`, `14 KiB`, `3.1 MiB`. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  if (value < 1024 * 1024) return `${(value / 1024).toFixed(value < 10_240 ? 1 : 0)} KiB`;
  return `${(value / 1024 / 1024).toFixed(1)} MiB`;
}

/** One line of a statement, for lists. */
export function oneLine(text: string): string {
  return text.replace(/\s+/g, " ").trim();
}

/** JSON on several lines where that changes nothing but white space (a large number would lose digits); else as it is. */
export function laidOut(text: string): string {
  try {
    const value: unknown = JSON.parse(text);
    return JSON.stringify(value) === text.trim() ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}
