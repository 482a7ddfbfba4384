/** A machine between two scripts: what the client sends, what the server answers, what policy says. */
import {
  type Ask,
  type Effect,
  type Guard,
  type Input,
  OPEN_GUARD,
  type Verdict,
} from "../../../../wire/postgres/machine-types.ts";
import { type PostgresState, newPostgresState, step } from "../../../../wire/postgres/machine.ts";
import { refusal } from "../../../../wire/refusals.ts";
import { letters, startup } from "./messages.ts";

export type Answer = (ask: Ask) => Verdict | "park";

export const SERVER_PARAMETERS = [
  ["server_version", "18.4"],
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
] as const;

export const KEY = Uint8Array.from({ length: 32 }, (_, index) => index);

export const forward =
  (guard: Partial<Guard> = {}, sql?: string): Answer =>
  (ask) => ({
    id: ask.id,
    effect: "forward",
    guard: { ...OPEN_GUARD, ...guard },
    ...(sql === undefined ? {} : { sql }),
  });

export const REFUSED = refusal("denied_by_policy", "delete is not allowed for you", {
  hint: "ask a reviewer",
});

/** Refuses asks whose SQL (or kind) contains the word, forwards others. */
export const refuseWhen =
  (word: string): Answer =>
  (ask) =>
    ("sql" in ask && ask.sql.includes(word)) || ask.kind === word
      ? { id: ask.id, effect: "refuse", refusal: REFUSED }
      : { id: ask.id, effect: "forward", guard: OPEN_GUARD };

export class Scripted {
  state: PostgresState = newPostgresState();
  answer: Answer;
  /** Effects since the last look. */
  effects: Effect[] = [];

  constructor(answer: Answer = forward()) {
    this.answer = answer;
  }

  input(input: Input): this {
    const inputs = [input];
    for (let next = inputs.shift(); next !== undefined; next = inputs.shift()) {
      for (const effect of step(this.state, next)) {
        this.effects.push(effect);
        if (effect.kind !== "ask") continue;
        const verdict = this.answer(effect.ask);
        if (verdict !== "park") inputs.push({ kind: "verdict", verdict });
      }
    }
    return this;
  }

  client(...messages: Uint8Array[]): this {
    return this.input({ kind: "clientBytes", bytes: new Uint8Array(Buffer.concat(messages)) });
  }

  server(...messages: Uint8Array[]): this {
    return this.input({ kind: "serverBytes", bytes: new Uint8Array(Buffer.concat(messages)) });
  }

  /** Startup, opened, and what that said forgotten. */
  open(version?: number): this {
    this.client(startup([["user", "bob"]], version));
    this.input({ kind: "opened", parameters: SERVER_PARAMETERS, processId: 77, secretKey: KEY });
    this.effects = [];
    return this;
  }

  bytes(kind: "toClient" | "toServer"): Buffer {
    return Buffer.concat(this.of(kind).map(({ bytes }) => bytes));
  }

  /** Letters of whole messages that went to one side. */
  sent(kind: "toClient" | "toServer"): string {
    return letters(this.bytes(kind));
  }

  /** Kinds of all effects but bytes, as words. */
  reports(): string[] {
    return this.effects.flatMap((effect) => {
      switch (effect.kind) {
        case "toClient":
        case "toServer":
        case "delivered":
        case "copiedIn":
        case "rowDescription":
        case "rows":
        case "open":
        case "cancelRequest":
          return [];
        case "ask":
          return [`ask ${effect.ask.kind} ${effect.ask.id}`];
        case "completed":
          return [`completed ${effect.id} ${effect.tag}`];
        case "failed":
          return [`failed ${effect.id} ${effect.sqlstate}`];
        case "ready":
          return [`ready ${effect.status}`];
        case "statementClosed":
          return [`statementClosed ${effect.name}`];
        case "end":
          return [`end ${effect.refusal?.code ?? ""}`.trim()];
        case "parsed":
        case "refused":
        case "skipped":
          return [`${effect.kind} ${effect.id}`];
      }
    });
  }

  of<K extends Effect["kind"]>(kind: K): Extract<Effect, { kind: K }>[] {
    return this.effects.filter((effect): effect is Extract<Effect, { kind: K }> => effect.kind === kind);
  }

  forget(): this {
    this.effects = [];
    return this;
  }
}
