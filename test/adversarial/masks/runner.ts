/**
 * What a client is given for a statement. The corpus runs against this interface, so that the same cases run
 * with the masker alone, as here, and through a whole gateway.
 */
import type { Refusal } from "../../../wire/refusals.ts";
import { type Guard, OPEN_GUARD } from "../../../wire/postgres/machine-types.ts";
import {
  afterStatement,
  NO_SESSION_NAMES,
  type SessionNames,
} from "../../../worker/policy/masks/session-names.ts";
import type { Masker, Reveals } from "../../../worker/policy/masks/types.ts";
import type { SqlParser } from "../../../worker/policy/sql/parser.ts";
import { errorFields, type Message, type Mode, type WireClient } from "./wire-client.ts";

export type Outcome = {
  /** Every message delivered, printable, in order; what the server chooses itself (positions) is left out. */
  readonly delivered: readonly string[];
  readonly refused: string | undefined;
  /** SQLSTATE of an error that the server gave. */
  readonly error: string | undefined;
  /** Rows delivered. */
  readonly rows: number;
};

export type Runner = {
  /** @param parameters values of $1, $2 …, for the extended protocol */
  run(sql: string, mode: Mode, copyData?: string, parameters?: readonly (string | null)[]): Promise<Outcome>;
  close(): void;
};

/** Rewrites with the masker and does with the answer what the Postgres machine does with a guard. */
export class MaskingRunner implements Runner {
  readonly #client: WireClient;
  readonly #parser: SqlParser;
  readonly #masker: Masker;
  readonly #reveals: Reveals;
  readonly #lastOid: number;
  #names: SessionNames = NO_SESSION_NAMES;

  /** @param lastOid identifiers above it were given to what the session made, and differ between databases */
  constructor(client: WireClient, parser: SqlParser, masker: Masker, reveals: Reveals, lastOid: number) {
    this.#lastOid = lastOid;
    this.#client = client;
    this.#parser = parser;
    this.#masker = masker;
    this.#reveals = reveals;
  }

  async run(
    sql: string,
    mode: Mode,
    copyData?: string,
    parameters: readonly (string | null)[] = [],
  ): Promise<Outcome> {
    const parsed = this.#parser.parse(sql);
    if (!parsed.ok) return refused(parsed.error);
    const [statement, ...more] = parsed.value;
    if (statement === undefined || more.length > 0) throw new Error(`one statement at a time: ${sql}`);
    const rewritten = this.#masker.rewrite(statement, this.#reveals, this.#names);
    if (!rewritten.ok) return refused(rewritten.error);
    const messages = await this.#client.run(rewritten.value.sql ?? sql, mode, copyData, parameters);
    const outcome = deliver(messages, rewritten.value.guard, this.#lastOid);
    if (outcome.error === undefined) this.#names = afterStatement(this.#names, statement.node);
    return outcome;
  }

  close(): void {
    this.#client.close();
  }
}

function refused(refusal: Refusal): Outcome {
  return {
    delivered: [`refused ${refusal.code}: ${refusal.message}`],
    refused: refusal.code,
    error: undefined,
    rows: 0,
  };
}

/** What a gateway delivered: everything, as it came. */
export class GatewayRunner implements Runner {
  readonly #client: WireClient;
  readonly #resource: string;
  readonly #lastOid: number;

  /** @param resource its name is in refusals, and the only thing that may differ between two resources */
  constructor(client: WireClient, resource: string, lastOid: number) {
    this.#client = client;
    this.#resource = resource;
    this.#lastOid = lastOid;
  }

  async run(
    sql: string,
    mode: Mode,
    copyData?: string,
    parameters: readonly (string | null)[] = [],
  ): Promise<Outcome> {
    // A few cases name the database, which is the resource's own here.
    const own = sql.replaceAll("twin0", this.#resource);
    const messages = await this.#client.run(own, mode, copyData, parameters);
    const outcome = deliver(messages, OPEN_GUARD, this.#lastOid);
    const delivered = outcome.delivered.map((message) => message.replaceAll(this.#resource, "RESOURCE"));
    return { ...outcome, delivered };
  }

  close(): void {
    this.#client.close();
  }
}

/** What the machine lets through: RowDescription checked, errors and notices as the guard says. */
function deliver(messages: readonly Message[], guard: Guard, lastOid: number): Outcome {
  const delivered: string[] = [];
  let error: string | undefined;
  let rows = 0;
  for (const { type, body } of messages) {
    if (type === "T" && withheld(body, guard.withheldAttributes)) {
      return { delivered: ["withheld"], refused: "mask_value_withheld", error: undefined, rows: 0 };
    }
    if (type === "T") hideOids(body, lastOid);
    if (type === "E" || type === "N") {
      const fields = errorFields(body);
      if (type === "E") error = fields.get("C");
      if (type === "N" && guard.hideErrorDetail) continue;
      const shown = guard.hideErrorDetail ? ["S", "C"] : ["S", "C", "M", "D", "H", "W", "s", "t", "c", "n"];
      delivered.push(`${type} ${shown.map((key) => `${key}=${fields.get(key) ?? ""}`).join(" ")}`);
      continue;
    }
    if (type === "D" || type === "d") rows++;
    if (type === "S" || type === "K") continue;
    delivered.push(`${type} ${body.toString("latin1")}`);
  }
  return { delivered, refused: undefined, error, rows };
}

/** Object identifiers that the server chose during the test become 0 in a RowDescription. */
function hideOids(body: Buffer, lastOid: number): void {
  let at = 2;
  for (let field = 0; field < body.readInt16BE(0); field++) {
    at = body.indexOf(0, at) + 1;
    for (const offset of [at, at + 6]) if (body.readUInt32BE(offset) > lastOid) body.writeUInt32BE(0, offset);
    at += 18;
  }
}

function withheld(body: Buffer, attributes: readonly string[]): boolean {
  const masked = new Set(attributes);
  let at = 2;
  for (let field = 0; field < body.readInt16BE(0); field++) {
    at = body.indexOf(0, at) + 1;
    if (masked.has(`${body.readUInt32BE(at)}:${body.readInt16BE(at + 4)}`)) return true;
    at += 18;
  }
  return false;
}
