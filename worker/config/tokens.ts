/** Shape of `tokens`: what the gateway demands of its own tokens. */
import { z } from "zod";
import { duration, object } from "./shapes.ts";

const DAY = 24 * 60 * 60_000;

export type TokenSettings = {
  /** Every token has to be bound to a key that is proven with each request (RFC 9449). */
  readonly requireProof: boolean;
  /** Age in milliseconds at which a signing key is followed by another. */
  readonly rotateKeys: number;
};

export const DEFAULT_TOKENS: TokenSettings = { requireProof: false, rotateKeys: 30 * DAY };

export const tokensShape = object({
  requireProof: z.boolean().default(DEFAULT_TOKENS.requireProof),
  rotateKeys: duration(60 * 60_000, 366 * DAY).default(DEFAULT_TOKENS.rotateKeys),
});
