/**
 * `postgres-catalogue` channels: what masking has to know of a database, read on a connection of its own that is
 * kept for a while, because the gateway asks anew after each change of the schema.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { PostgresCatalogueOpen } from "../../../wire/control.ts";
import { LIMITS } from "../../../wire/limits.ts";
import {
  CATALOGUE_AFTER,
  CATALOGUE_BEFORE,
  CATALOGUE_QUERIES,
  type Catalogue,
  type CatalogueQueryName,
  decodeCatalogue,
} from "../../../wire/postgres/catalogue.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { CloseReason, TunnelChannel } from "../../lib/tunnel-socket.ts";
import type { Log } from "../log.ts";
import { type Connection, reset } from "./connect.ts";
import { type OpenFailure, closeReason, failureFields } from "./failure.ts";
import type { LoggedIn } from "./login.ts";
import { terminate } from "./messages.ts";
import { type Row, SimpleQueries } from "./simple-query.ts";

/** How long an unused connection is kept, in milliseconds. */
const KEEP = 60_000;
/** The longest that one reading may take. */
const READ_TIMEOUT = 60_000;

type Open = (
  signal: AbortSignal,
) => Promise<Result<{ connection: Connection; login: LoggedIn }, OpenFailure>>;
type Kept = { readonly connection: Connection; readonly login: LoggedIn };

export class CatalogueReader {
  readonly #resource: string;
  readonly #open: Open;
  #kept: Kept | undefined;
  #closed = false;
  #expiry: NodeJS.Timeout | undefined;
  /** Readings run one after the other: they share the connection. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(resource: string, open: Open) {
    this.#resource = resource;
    this.#open = open;
  }

  async serve(channel: TunnelChannel, payload: unknown, log: Log): Promise<void> {
    const open = PostgresCatalogueOpen.safeParse(payload);
    if (!open.success)
      return channel.close({ code: "request_invalid", message: "the request to open is malformed" });
    const gone = new AbortController();
    channel.listen({ onRemoteClose: () => gone.abort() });
    const started = performance.now();
    const reading = this.#last.then(() => this.#read(open.data.version, gone.signal, log));
    this.#last = reading;
    const json = await reading;
    if (gone.signal.aborted) return;
    if (!json.ok) return channel.close(json.error);
    channel.accept({});
    log.info("catalogue read", {
      bytes: json.value.length,
      milliseconds: Math.round(performance.now() - started),
    });
    // The gateway sends nothing on this channel; reading is how its END or CLOSE is seen.
    channel.resume();
    await pipeline(chunks(json.value), channel).catch(() => undefined);
  }

  close(): void {
    this.#closed = true;
    this.#drop();
  }

  async #read(version: number, gone: AbortSignal, log: Log): Promise<Result<Buffer, CloseReason>> {
    if (gone.aborted) return err({ code: "upstream_lost", message: "given up" });
    const signal = AbortSignal.any([gone, AbortSignal.timeout(READ_TIMEOUT)]);
    // A kept connection may have died unseen: then one more try on a fresh one.
    for (const fresh of this.#kept === undefined ? [true] : [false, true]) {
      const connected = fresh ? await this.#connect(signal, log) : ok(this.#take());
      if (!connected.ok) return connected;
      if (connected.value === undefined) continue;
      const { connection, login } = connected.value;
      const rows = await readRows(new SimpleQueries(connection, login, signal, LIMITS.postgres.catalogue));
      if (rows.ok) {
        this.#keep(connected.value);
        return this.#encode(rows.value, version, log);
      }
      reset(connection);
      if (!fresh && rows.error.lost && !signal.aborted) continue;
      log.error("catalogue not read", { reason: rows.error.detail });
      return err({ code: "upstream_lost", message: `the catalogue of ${this.#resource} could not be read` });
    }
    return err({ code: "upstream_lost", message: `the catalogue of ${this.#resource} could not be read` });
  }

  async #connect(signal: AbortSignal, log: Log): Promise<Result<Kept, CloseReason>> {
    this.#drop();
    const opened = await this.#open(signal);
    if (opened.ok) return opened;
    log.error("upstream not opened", failureFields(opened.error));
    return err(closeReason(this.#resource, opened.error));
  }

  #encode(rows: Record<CatalogueQueryName, Row[]>, version: number, log: Log): Result<Buffer, CloseReason> {
    const catalogue: Result<Catalogue, { query: string; problem: string }> = decodeCatalogue(rows, version);
    if (!catalogue.ok) {
      log.error("catalogue not understood", catalogue.error);
      return err({ code: "internal", message: `the catalogue of ${this.#resource} is not understood` });
    }
    const json = Buffer.from(JSON.stringify(catalogue.value), "utf8");
    if (json.length <= LIMITS.postgres.catalogue) return ok(json);
    log.error("catalogue too large", { bytes: json.length });
    return err({ code: "over_limit", message: `the catalogue of ${this.#resource} is too large` });
  }

  #take(): Kept | undefined {
    const kept = this.#kept;
    clearTimeout(this.#expiry);
    this.#kept = undefined;
    return kept?.connection.stream.destroyed === true ? undefined : kept;
  }

  #keep(kept: Kept): void {
    if (this.#closed) return end(kept);
    // What arrived after the login has been consumed by the first reading.
    this.#kept = { connection: kept.connection, login: { ...kept.login, rest: Buffer.alloc(0) } };
    this.#expiry = setTimeout(() => this.#drop(), KEEP).unref();
  }

  #drop(): void {
    const kept = this.#take();
    if (kept !== undefined) end(kept);
  }
}

function end(kept: Kept): void {
  kept.connection.stream.end(terminate());
  kept.connection.stream.resume();
  setTimeout(() => reset(kept.connection), 1000).unref();
}

async function readRows(
  queries: SimpleQueries,
): Promise<Result<Record<CatalogueQueryName, Row[]>, { readonly detail: string; readonly lost: boolean }>> {
  const collected: Partial<Record<CatalogueQueryName, Row[]>> = {};
  const plain = (sql: string) => ({ name: undefined, sql });
  for (const { name, sql } of [
    ...CATALOGUE_BEFORE.map(plain),
    ...CATALOGUE_QUERIES,
    ...CATALOGUE_AFTER.map(plain),
  ]) {
    const rows = await queries.run(sql);
    if (!rows.ok) {
      return err({
        detail: `${name === undefined ? "" : `query "${name}": `}${rows.error.detail}`,
        lost: !rows.error.usable,
      });
    }
    if (name !== undefined) collected[name] = rows.value;
  }
  // Every name of CATALOGUE_QUERIES has been run above.
  return ok(collected as Record<CatalogueQueryName, Row[]>);
}

function chunks(bytes: Buffer): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; at += LIMITS.tunnel.chunk)
    pieces.push(bytes.subarray(at, at + LIMITS.tunnel.chunk));
  return Readable.from(pieces);
}
