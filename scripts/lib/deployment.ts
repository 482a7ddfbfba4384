/** What workerd has to be told beside the bundle. A test holds it equal to wrangler.toml. */

export const COMPATIBILITY = {
  date: "2026-11-01",
  flags: ["nodejs_compat", "enable_request_signal", "request_signal_passthrough"],
} as const;

/** How the console's files are served (wrangler.toml, `[assets]`). */
export const ASSETS = { binding: "ASSETS", htmlHandling: "none" } as const;

/** Bindings of the Durable Objects and their classes; all keep their state in SQLite. */
export const DURABLE_OBJECTS = {
  SESSION: "SessionObject",
  CONNECTOR: "ConnectorObject",
  CONTROL: "ControlObject",
} as const;
