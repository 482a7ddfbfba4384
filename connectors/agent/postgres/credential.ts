/** The password of one resource, resolved when a session opens so that a rotated one is taken up. */
import { type Result, ok } from "../../../wire/result.ts";
import { type SecretSource, resolveSecret } from "../../lib/credentials.ts";
import { saltedPassword } from "./scram.ts";

/** How long a command's answer is used again: running one for each session would make opens slow. */
const EXEC_REUSE = 60_000;

export class Credential {
  readonly #source: SecretSource | undefined;
  #running: Promise<Result<string, string>> | undefined;
  #until = 0;
  #derived:
    | { password: string; salt: Uint8Array; iterations: number; salted: Promise<Uint8Array> }
    | undefined;

  constructor(source: SecretSource | undefined) {
    this.#source = source;
  }

  /** `now` in milliseconds of a clock that does not go back. */
  async password(now: number): Promise<Result<string | undefined, string>> {
    const source = this.#source;
    if (source === undefined) return ok(undefined);
    if (source.kind !== "exec") return resolveSecret(source);
    if (this.#running === undefined || now >= this.#until) {
      this.#running = resolveSecret(source);
      this.#until = now + EXEC_REUSE;
    }
    const result = await this.#running;
    if (!result.ok) this.forget();
    return result;
  }

  /** The login was refused: the next session asks the source again. */
  forget(): void {
    this.#running = undefined;
    this.#derived = undefined;
  }

  /** SaltedPassword, remembered while the server's salt stays (RFC 5802 section 5.1 allows it). */
  derive(password: string, salt: Uint8Array, iterations: number): Promise<Uint8Array> {
    const last = this.#derived;
    if (
      last?.password === password &&
      last.iterations === iterations &&
      Buffer.compare(last.salt, salt) === 0
    )
      return last.salted;
    const salted = saltedPassword(password, salt, iterations);
    this.#derived = { password, salt, iterations, salted };
    return salted;
  }
}
