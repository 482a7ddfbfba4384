/** How many requests of one session run at once; the rest wait in order, up to a number of them. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";

export class Slots {
  readonly #waiting: (() => void)[] = [];
  readonly #most: number;
  #free: number;

  constructor(atOnce: number, waiting: number) {
    this.#free = atOnce;
    this.#most = waiting;
  }

  /** Resolves with what gives the slot back; call it once. */
  async take(): Promise<Result<() => void, Refusal>> {
    if (this.#free > 0) this.#free--;
    else if (this.#waiting.length >= this.#most)
      return err(
        refusal("over_limit", "too many requests of yours are under way", { hint: "try again later" }),
      );
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    let given = false;
    return ok(() => {
      if (given) return;
      given = true;
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    });
  }
}
