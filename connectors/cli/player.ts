/**
 * A recording as a person reads it. Every event is shown: one of a type that this version does not know is
 * shown as its JSON, so that nothing in a recording is silently left out.
 */
import type { Hashed } from "./chain.ts";
import { toJson, visible } from "./terminal.ts";

export type Player = { readonly text: (event: Hashed) => string };

export function newPlayer(): Player {
  return { text: (event) => `${event.at}  ${event.body.type}  ${visible(toJson(event.body))}\n` };
}
