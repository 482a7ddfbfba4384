/** fetch with what `sally` wants of every request: a deadline, a bounded answer, no redirects, values for errors. */
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, fail, reasonOf } from "./failure.ts";

const DEADLINE_MS = 30_000;
/** A page of a recording is the largest answer there is. */
const MAX_ANSWER_BYTES = 64 << 20;

export type Answer = { readonly status: number; readonly headers: Headers; readonly text: string };

/**
 * `what` names the other side in messages ("the gateway https://…"). Only failing to get an answer is a
 * failure; the status is the caller's to read. Redirects are not followed: a bearer token goes where it was meant to.
 */
export async function request(
  what: string,
  url: string,
  init: RequestInit = {},
): Promise<Result<Answer, Failure>> {
  try {
    const response = await fetch(url, {
      ...init,
      redirect: "manual",
      signal: AbortSignal.timeout(DEADLINE_MS),
    });
    const parts: Uint8Array[] = [];
    let length = 0;
    for await (const part of response.body ?? []) {
      length += part.length;
      if (length > MAX_ANSWER_BYTES) return fail(EXIT.failed, `${what} sent an answer that is too large`);
      parts.push(part);
    }
    return ok({
      status: response.status,
      headers: response.headers,
      text: Buffer.concat(parts).toString("utf8"),
    });
  } catch (error) {
    return fail(EXIT.unreachable, `${what} is not reachable: ${reasonOf(error)}`);
  }
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
