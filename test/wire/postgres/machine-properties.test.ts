import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../wire/limits.ts";
import type { Effect } from "../../../wire/postgres/machine-types.ts";
import { b, f, message, startup } from "./support/messages.ts";
import { KEY, SERVER_PARAMETERS, Scripted, forward, refuseWhen } from "./support/scripted.ts";

/** One exchange: what the client sends, and what the server answers to what it gets. */
type Exchange = { readonly client: Buffer[]; readonly server: Buffer[] };

const word = fc.string({ maxLength: 30 }).map((text) => text.replaceAll("\0", "").replaceAll("refuse", ""));
const column = fc.record({ name: word, table: fc.nat(9), attribute: fc.nat(9) });
const row = fc
  .array(fc.oneof(word, fc.uint8Array({ maxLength: 300 })), { maxLength: 4 })
  .map((values) => b.dataRow(...values));
const status = fc.constantFrom("I" as const, "T" as const, "E" as const);
const anytime = fc.oneof(
  word.map((text) => b.notice({ M: `m${text}` })),
  word.map((text) => b.notification("c", text)),
  fc.constant(b.status("TimeZone", "UTC")),
);

const rows = fc
  .tuple(fc.array(column, { maxLength: 4 }), fc.array(row, { maxLength: 6 }))
  .map(([columns, list]) => [b.rowDescription(...columns), ...list, b.complete("SELECT")]);
const statement = fc.oneof(
  rows,
  word.map((text) => [b.complete(`X${text}`)]),
  fc
    .array(word, { maxLength: 4 })
    .map((lines) => [b.copyOut, ...lines.map(b.copyData), b.copyDone, b.complete("COPY")]),
);

const query: fc.Arbitrary<Exchange> = fc
  .tuple(word, fc.array(statement, { minLength: 1, maxLength: 3 }), fc.boolean(), status, anytime)
  .map(([sql, statements, fails, end, extra]) => ({
    client: [f.query(sql)],
    server: [...statements.flat(), extra, ...(fails ? [b.error({ M: `m${sql}` })] : []), b.ready(end)],
  }));

const extended: fc.Arbitrary<Exchange> = fc
  .tuple(word, fc.array(fc.option(word), { maxLength: 3 }), rows, fc.constantFrom(0, 1, 2, 3), status)
  .map(([sql, values, [description, ...answer], failAt, end]) => {
    const steps = [b.parseComplete, b.bindComplete, description ?? b.noData, ...answer];
    return {
      client: [f.parse(sql), f.bind(values), f.describePortal(), f.execute(), f.sync],
      server: [...(failAt === 0 ? steps : [...steps.slice(0, failAt), b.error()]), b.ready(end)],
    };
  });

const refused: fc.Arbitrary<Exchange> = status.map((end) => ({
  client: [f.query("refuse")],
  server: [b.error(), b.ready(end)],
}));

const copyIn: fc.Arbitrary<Exchange[]> = fc.array(word, { maxLength: 5 }).map((lines) => [
  { client: [f.query("copy")], server: [b.copyIn] },
  { client: [...lines.map(f.copyData), f.copyDone], server: [b.complete("COPY"), b.ready()] },
]);

const conversation = fc
  .array(fc.oneof(query, extended, refused, copyIn), { minLength: 1, maxLength: 6 })
  .map((exchanges) => exchanges.flat());
const guard = fc.record({
  withheldAttributes: fc.constantFrom([], ["1:1", "2:2", "3:3"]),
  hideErrorDetail: fc.boolean(),
  inspectRows: fc.boolean(),
});

/** Cuts bytes at the given fractions. */
function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const points = [
    ...new Set([0, ...at.map((fraction) => Math.floor(fraction * bytes.length)), bytes.length]),
  ].sort((x, y) => x - y);
  return points.slice(1).map((point, index) => bytes.subarray(points[index], point));
}

/** Effects in a form that does not depend on where the bytes were cut: bytes of one kind joined. */
function canonical(effects: readonly Effect[]): unknown {
  const streams: Record<string, string> = {};
  const rowCounts: Record<number, number> = {};
  const rest: unknown[] = [];
  for (const effect of effects) {
    if (effect.kind === "toClient" || effect.kind === "toServer") {
      streams[effect.kind] = (streams[effect.kind] ?? "") + Buffer.from(effect.bytes).toString("hex");
    } else if (effect.kind === "delivered" || effect.kind === "copiedIn" || effect.kind === "rows") {
      const key = `${effect.kind} ${effect.id}`;
      streams[key] = (streams[key] ?? "") + Buffer.from(effect.bytes).toString("hex");
      if (effect.kind === "delivered") rowCounts[effect.id] = (rowCounts[effect.id] ?? 0) + effect.rows;
    } else {
      rest.push(effect);
    }
  }
  return { streams, rowCounts, rest };
}

describe("properties of the machine", () => {
  it("gives the same effects however the bytes of both sides are cut", () => {
    fc.assert(
      fc.property(
        conversation,
        guard,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 40 }),
        (exchanges, guards, cuts) => {
          const run = (cutting: readonly number[]) => {
            const session = new Scripted((ask) => {
              const refuse = refuseWhen("refuse")(ask);
              return refuse !== "park" && refuse.effect === "refuse" ? refuse : forward(guards)(ask);
            }).open();
            for (const exchange of exchanges) {
              for (const part of cut(Buffer.concat(exchange.client), cutting)) session.client(part);
              for (const part of cut(Buffer.concat(exchange.server), cutting)) session.server(part);
            }
            return canonical(session.effects);
          };
          expect(run(cuts)).toEqual(run([]));
        },
      ),
      { numRuns: 300 },
    );
  });

  it("gives the same when all of the client's messages come before all of the server's", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(query, extended, refused), { minLength: 1, maxLength: 6 }),
        (exchanges) => {
          const alternating = new Scripted(refuseWhen("refuse")).open();
          for (const exchange of exchanges) alternating.client(...exchange.client).server(...exchange.server);
          const pipelined = new Scripted(refuseWhen("refuse")).open();
          pipelined
            .client(...exchanges.flatMap(({ client }) => client))
            .server(...exchanges.flatMap(({ server }) => server));
          expect(pipelined.bytes("toClient")).toEqual(alternating.bytes("toClient"));
          expect(pipelined.of("end")).toEqual([]);
        },
      ),
      { numRuns: 200 },
    );
  });

  const typed = fc
    .tuple(fc.constantFrom(..."QPBDECSHFdcfXpTDZEGHn123stIANCWR\0z"), fc.uint8Array({ maxLength: 40 }))
    .map(([type, body]) => message(type, body));
  const garbage = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    typed,
    fc.tuple(fc.constantFrom(..."QPBDEdTSZ"), fc.nat(0xffffffff)).map(([type, length]) => {
      const bytes = Buffer.alloc(9);
      bytes.write(type, "latin1");
      bytes.writeUInt32BE(length, 1);
      return bytes;
    }),
    fc.constantFrom(
      f.query("x"),
      f.parse("x"),
      f.bind(),
      f.execute(),
      f.sync,
      f.describePortal(),
      f.closePortal(),
      b.ready(),
      b.parseComplete,
      b.bindComplete,
      b.error(),
      b.complete("X"),
      b.copyIn,
      b.copyOut,
    ),
  );

  it("never throws on garbage from either side, ends at most once, and keeps no more than it was given", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.boolean(), garbage), { maxLength: 30 }),
        fc.boolean(),
        (parts, opened) => {
          const session = new Scripted(refuseWhen("bind"));
          if (opened) session.open();
          let given = 0;
          for (const [fromClient, bytes] of parts) {
            given += bytes.length;
            if (fromClient) session.client(bytes);
            else session.server(bytes);
          }
          const { state } = session;
          expect(state.client.buffered + state.server.buffered).toBeLessThanOrEqual(given);
          const kept = [...state.client.chunks, ...state.server.chunks].reduce(
            (sum, chunk) => sum + chunk.buffer.byteLength,
            0,
          );
          expect(kept).toBeLessThanOrEqual(given + 2 * (LIMITS.postgres.startup + 16_384));
          expect(session.of("end").length).toBeLessThanOrEqual(1);
          const ended = session.effects.findIndex(({ kind }) => kind === "end");
          expect(ended === -1 || ended === session.effects.length - 1).toBe(true);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("never throws on garbage in place of a startup packet", () => {
    const packet = fc.oneof(
      fc.uint8Array({ maxLength: 100 }),
      fc.array(fc.tuple(word, word), { maxLength: 5 }).map((pairs) => startup([["user", "bob"], ...pairs])),
      word.map((options) =>
        startup([
          ["user", "bob"],
          ["options", options],
        ]),
      ),
    );
    fc.assert(
      fc.property(fc.array(packet, { maxLength: 4 }), (packets) => {
        const session = new Scripted();
        for (const bytes of packets) session.client(bytes);
        session.input({ kind: "opened", parameters: SERVER_PARAMETERS, processId: 1, secretKey: KEY });
        expect(session.of("open").length).toBeLessThanOrEqual(1);
      }),
      { numRuns: 500 },
    );
  });

  it("never forwards what was not asked about", () => {
    fc.assert(
      fc.property(fc.array(garbage, { maxLength: 20 }), (parts) => {
        const session = new Scripted(() => "park").open();
        for (const bytes of parts) session.client(bytes);
        const forwarded = session.bytes("toServer").toString("latin1");
        // Only what has no effect by itself goes through: Describe, Close, Sync, Flush, Terminate, and provocations.
        for (
          let at = 0;
          at < forwarded.length;
          at += 1 + Buffer.from(forwarded, "latin1").readUInt32BE(at + 1)
        ) {
          const type = forwarded.charAt(at);
          const provocation =
            "QP".includes(type) && forwarded.slice(at).includes("sallyport refused this statement");
          expect(provocation || "DCSHX".includes(type)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});
