/**
 * What a protocol gives the connector: one folder each (`postgres/`, …), listed once in `registry.ts`.
 */
import type { z } from "zod";
import type { Result } from "../../wire/result.ts";
import type { TunnelChannel } from "../lib/tunnel-socket.ts";
import type { Log } from "./log.ts";

/**
 * Opens a channel to the gateway, which takes it only on a channel of its own that asks for such; undefined when
 * there are too many.
 */
export type OpenToGateway = (payload: unknown, onOpened: () => void) => TunnelChannel | undefined;

/**
 * Serves one channel that the gateway opened: answers it with `accept` or `close`, and sees it to its end.
 * `open` opens others on the same tunnel.
 */
export type ChannelServer = (
  channel: TunnelChannel,
  payload: unknown,
  log: Log,
  open: OpenToGateway,
) => Promise<void>;

/** One resource of the config, ready to be reached. */
export type Upstream = {
  /** By the `protocol` field of the OPEN payload; a resource may serve several kinds of channel. */
  readonly channels: Readonly<Record<string, ChannelServer>>;
  /** Ends what the upstream keeps open between sessions. */
  readonly close: () => void;
};

/** What is wrong with a resource's config beyond its form, at a path inside it. */
export type ConfigComplaint = { readonly path: readonly string[]; readonly message: string };

export type Protocol<Config extends { readonly protocol: string }> = {
  readonly name: Config["protocol"];
  /** What stands in the config under `resources`, a strict object with `protocol` as its discriminator. */
  readonly config: z.ZodType<Config>;
  readonly create: (name: string, config: Config) => Promise<Result<Upstream, ConfigComplaint>>;
};
