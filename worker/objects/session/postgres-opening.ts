/** From a client's checked startup to a channel on which the connector opens the database. */
import type { PostgresOpen } from "../../../wire/control.ts";
import type { Effect } from "../../../wire/postgres/machine-types.ts";
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Resource } from "../../policy/types.ts";
import type { ChannelHandler, SessionHost } from "./driver.ts";
import type { MaskingSource } from "./postgres-masking.ts";

type Startup = Extract<Effect, { kind: "open" }>;

export type OpenedDatabase = {
  readonly channel: number;
  /** Startup parameters of the server's session. */
  readonly parameters: Readonly<Record<string, string>>;
};

/** Starts the session, has the connector dial back, and opens the channel. */
export async function openDatabase(
  host: SessionHost,
  masking: MaskingSource,
  { user, database, parameters }: Startup,
  handler: ChannelHandler,
): Promise<Result<OpenedDatabase, Refusal>> {
  const { resource } = host;
  const named = checkDatabase(resource, database);
  if (!named.ok) return named;
  const client = { user, database, ...parameters };
  const started = await host.start({ type: "session", protocol: "postgres", client });
  if (!started.ok) return started;
  const dialed = await host.dialBack();
  if (!dialed.ok) return dialed;
  const masks = await masking.startupParameters();
  if (!masks.ok) return masks;
  const payload: PostgresOpen = {
    protocol: "postgres",
    resource: resource.name,
    parameters: { ...parameters, ...masks.value },
  };
  // Assigned within the turn, which runs at once.
  let opened = err(refusal("upstream_lost", "the session has ended")) as Result<number, Refusal>;
  host.turn(() => {
    opened = host.openChannel(payload, handler);
  });
  return opened.ok ? ok({ channel: opened.value, parameters: payload.parameters }) : opened;
}

/** A client names the database, the resource, or nothing. */
function checkDatabase(resource: Resource, database: string): Result<void, Refusal> {
  const real = resource.database ?? resource.name;
  if (database === "" || database === real || database === resource.name) return ok(undefined);
  const message = `this session is for the resource ${resource.name}, not for the database ${database}`;
  const hint = `name the database ${real}, or connect to another resource`;
  return err(refusal("resource_unknown", message, { hint }));
}
