/**
 * The grants that requests to a session bring along. The Worker has verified the token's signature and its end;
 * whether the token still counts is asked here, of the Control object, with the first request. After that the
 * Control object tells the session of what is revoked, ended or left, as it tells every live session, so that
 * asking each time would only cost time. It is asked again now and then for the day when a message is lost.
 */
import type { Refusal } from "../../../wire/refusals.ts";
import { type Result, ok } from "../../../wire/result.ts";
import { type Grant, type VerifiedToken, decodeGrant, mintGrant, tokenOf } from "../../policy/grant.ts";

/** Header in which the Worker says that nobody has asked yet whether the token counts; never taken from outside. */
export const UNADMITTED_HEADER = "sally-unadmitted";

/** Milliseconds after which a token is asked about again. */
const ASK_AGAIN_MS = 5_000;

export class Admission {
  readonly #ask: (token: VerifiedToken) => Promise<Result<VerifiedToken, Refusal>>;
  /** The last header and what it says: a client's requests bring the same one. */
  #last: { readonly header: string; readonly grant: Grant } | undefined;
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: Promise<Result<VerifiedToken, Refusal>> | undefined;

  constructor(ask: (token: VerifiedToken) => Promise<Result<VerifiedToken, Refusal>>) {
    this.#ask = ask;
  }

  /** The grant of a request; `known` is the session's, once it has one. `now` in milliseconds since the epoch. */
  async admit(
    header: string | null,
    unadmitted: boolean,
    known: Grant | undefined,
    now: number,
  ): Promise<Result<Grant, Refusal>> {
    const offered = this.#decode(header);
    if (!offered.ok || !unadmitted) return offered;
    // A session is one token's: its name is derived from it.
    if (known?.tokenId === offered.value.tokenId && now - this.#askedAt < ASK_AGAIN_MS) return offered;
    this.#asking ??= this.#askAbout(offered.value, now).finally(() => (this.#asking = undefined));
    const asked = await this.#asking;
    const { resource: name } = offered.value;
    return asked.ok ? mintGrant(asked.value, { name }, { ...offered.value, now }) : asked;
  }

  async #askAbout(offered: Grant, now: number): Promise<Result<VerifiedToken, Refusal>> {
    const admitted = await this.#ask(tokenOf(offered));
    if (admitted.ok) this.#askedAt = now;
    return admitted;
  }

  #decode(header: string | null): Result<Grant, Refusal> {
    if (header !== null && header === this.#last?.header) return ok(this.#last.grant);
    const decoded = decodeGrant(header);
    if (decoded.ok && header !== null) this.#last = { header, grant: decoded.value };
    return decoded;
  }
}
