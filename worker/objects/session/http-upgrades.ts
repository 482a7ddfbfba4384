/**
 * What clients were answered in place of a WebSocket. One that then tries again with an older protocol (kubectl goes
 * from WebSockets to SPDY) is told the same: its user reads the second answer only.
 */

/** How long, of how many targets, and how much of an answer is kept. */
const KEPT_MS = 30_000;
const KEPT_TARGETS = 16;
const KEPT_BYTES = 64 << 10;

type Answer = {
  readonly status: number;
  readonly headers: Headers;
  readonly body: Uint8Array;
  readonly at: number;
};

export class RefusedUpgrades {
  readonly #answers = new Map<string, Answer>();

  /** The answer, to be sent on, after a copy was kept. One whose length is not known, or large, passes as it is. */
  async keep(target: string, answer: Response, now: number): Promise<Response> {
    const length = Number(answer.headers.get("content-length") ?? "");
    if (answer.status < 400 || !Number.isInteger(length) || length > KEPT_BYTES) return answer;
    for (const oldest of this.#answers.keys()) {
      if (this.#answers.size < KEPT_TARGETS) break;
      this.#answers.delete(oldest);
    }
    const { status, headers } = answer;
    const body = new Uint8Array(await answer.arrayBuffer());
    this.#answers.set(target, { status, headers, body, at: now });
    return new Response(body, { status, headers });
  }

  again(target: string, now: number): Response | undefined {
    const known = this.#answers.get(target);
    if (known === undefined || now - known.at > KEPT_MS) return undefined;
    return new Response(known.body, { status: known.status, headers: known.headers });
  }
}
