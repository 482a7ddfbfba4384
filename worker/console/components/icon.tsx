/** Line icons, drawn here so that nothing is fetched. Decoration only: their meaning is always in words too. */
import type { JSX } from "preact";

const PATHS = {
  now: "M3 12h4l3-8 4 16 3-8h4",
  sessions: "M4 5h16M4 12h16M4 19h10",
  resources:
    "M4 6c0-1.700 3.600-3 8-3s8 1.300 8 3-3.600 3-8 3-8-1.300-8-3zm0 0v12c0 1.700 3.600 3 8 3s8-1.300 8-3V6M4 12c0 1.700 3.600 3 8 3s8-1.300 8-3",
  policies: "M12 3l8 3v6c0 4.500-3.200 7.800-8 9-4.800-1.200-8-4.500-8-9V6zM9 12l2 2 4-4",
  overview: "M4 20V10M10 20V4M16 20v-8M22 20H2",
  mark: "M5 21V11a7 7 0 0 1 14 0v10h-4V11a3 3 0 0 0-6 0v10zM12 16v.010",
  logout: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  system: "M3 5h18v11H3zM9 20h6M12 16v4",
  light:
    "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M2 12h2M20 12h2M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400",
  dark: "M20 14.500A8 8 0 0 1 9.500 4a8 8 0 1 0 10.500 10.500z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { readonly name: IconName }): JSX.Element {
  return (
    <svg class="icon-line" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
