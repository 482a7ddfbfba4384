/** Where the page is: the browser's own address, as a signal. */
import { signal } from "@preact/signals";

const BASE = "/console";

export type Place = {
  /** Parts of the path below `/console`, decoded: `["sessions", "ses_1"]`; empty for the start page. */
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
};

function read(): Place {
  const parts = location.pathname
    .slice(BASE.length)
    .split("/")
    .filter((part) => part !== "")
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return { parts, query: new URLSearchParams(location.search) };
}

export const place = signal<Place>(read());

/** The address of a page: `href("sessions", id)`; with parameters as the last argument. */
export function href(...parts: (string | Readonly<Record<string, string | undefined>>)[]): string {
  const path = parts.filter((part) => typeof part === "string").map(encodeURIComponent);
  const last = parts.at(-1);
  const query = new URLSearchParams();
  if (typeof last === "object") {
    for (const [name, value] of Object.entries(last)) {
      if (value !== undefined && value !== "") query.set(name, value);
    }
  }
  const text = query.toString();
  return `${BASE}/${path.join("/")}${text === "" ? "" : `?${text}`}`;
}

/** Goes to an address of ours. `replace` leaves no entry in the history (typing in a search field). */
export function go(address: string, replace = false): void {
  if (replace) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  const before = place.peek().parts.join("/");
  place.value = read();
  if (!replace && before !== place.peek().parts.join("/")) {
    scrollTo(0, 0);
    // A reader of the screen is told of the new page by its heading.
    requestAnimationFrame(() => document.querySelector<HTMLElement>("main h1")?.focus());
  }
}

addEventListener("popstate", () => {
  place.value = read();
});

/** Links to our pages change the address without loading anything; everything else stays the browser's. */
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0) return;
  if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target instanceof Element ? event.target.closest("a") : null;
  if (link === null || link.target !== "" || link.hasAttribute("download")) return;
  const url = new URL(link.href, location.href);
  if (url.origin !== location.origin || !url.pathname.startsWith(`${BASE}/`)) return;
  if (url.pathname === `${BASE}/login`) return;
  event.preventDefault();
  go(url.pathname + url.search);
});
