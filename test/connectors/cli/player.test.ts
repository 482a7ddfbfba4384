import { describe, expect, it } from "vitest";
import { newPlayer } from "../../../connectors/cli/player.ts";

const play = (body: { type: string; [field: string]: unknown }): string =>
  newPlayer().text({ seq: 1, at: "2026-11-22T08:00:01.250Z", body });
const TIME = "2026-11-22 08:00:01.250  ";
const BELOW = " ".repeat(TIME.length);

describe("a recording as it is read", () => {
  it("shows a statement with its decision, parameters and what was sent instead", () => {
    const shown = play({
      type: "statement",
      operation: 3,
      text: "select *\nfrom customers where id = $1",
      parameters: ["1", null],
      rewritten: "SELECT …",
      notes: ["ssn is masked"],
      decision: { effect: "allow", policies: [{ id: "engineers-read" }] },
      actions: [],
    });
    expect(shown).toBe(
      `${TIME}[3] allow by engineers-read\n` +
        `${BELOW}select *\n${BELOW}from customers where id = $1\n${BELOW}$1 = "1"\n${BELOW}$2 = null\n` +
        `${BELOW}sent as: SELECT …\n${BELOW}note: ssn is masked\n`,
    );
  });

  it("shows that a held statement ran because it was approved", () => {
    const decision = { effect: "hold", policies: [{ id: "deletes-reviewed" }] };
    expect(play({ type: "statement", operation: 4, text: "delete", decision, approval: "apr_1" })).toBe(
      `${TIME}[4] approved (apr_1; hold by deletes-reviewed)\n${BELOW}delete\n`,
    );
  });

  it("shows a result as a table, with NULL and binary values told from text", () => {
    const shown = play({
      type: "result",
      operation: 3,
      tag: "SELECT 2",
      columns: [
        { name: "id", type: 23 },
        { name: "photo", type: 17 },
        { name: "ssn", type: 25 },
      ],
      rows: [
        ["1", { base64: "AAE=" }, "***"],
        ["200", null, "(null)"],
      ],
      rowCount: 2,
      bytes: 99,
      truncated: true,
      milliseconds: 4,
    });
    expect(shown).toBe(
      `${TIME}[3] SELECT 2 in 4 ms\n${BELOW}id  | photo       | ssn\n${BELOW}1   | base64:AAE= | ***\n${BELOW}200 | (null)      | (null)\n` +
        `${BELOW}(the recording keeps a part of these 2 rows, 99 bytes, and a digest of all)\n`,
    );
  });

  it.each([
    [
      {
        type: "session",
        session: "ses_1",
        resource: "shop-db",
        protocol: "postgres",
        principal: { type: "User", name: "Erin", groups: ["engineers"] },
        reason: "ticket 7",
      },
      `${TIME}session ses_1 on shop-db (postgres) by Erin (user, engineers)\n${BELOW}reason: ticket 7\n`,
    ],
    [
      { type: "hold", operation: 4, text: "delete from orders", requirements: [{ group: "dba", quorum: 1 }] },
      `${TIME}[4] held: needs 1 of dba\n${BELOW}delete from orders\n`,
    ],
    [
      {
        type: "approval",
        operation: 4,
        approval: "apr_1",
        outcome: "approved",
        by: ["Avery"],
        comment: "ok",
      },
      `${TIME}[4] approval apr_1 approved by Avery\n${BELOW}comment: ok\n`,
    ],
    [
      {
        type: "refusal",
        operation: 5,
        text: "drop table x",
        decision: { effect: "deny", policies: [] },
        code: "no_policy_permits",
        reason: "no policy permits this",
      },
      `${TIME}[5] refused: deny\n${BELOW}drop table x\n${BELOW}no_policy_permits: no policy permits this\n`,
    ],
    [
      { type: "error", operation: 6, sqlstate: "22012", message: "division by zero" },
      `${TIME}[6] error 22012: division by zero\n`,
    ],
    [
      { type: "result", operation: 7, tag: "COPY 2", rowCount: 2, copied: "1\ta\n2\tb\n" },
      `${TIME}[7] COPY 2\n${BELOW}1\ta\n${BELOW}2\tb\n`,
    ],
    [
      { type: "end", reason: "session_killed", message: "by Avery" },
      `${TIME}end: session_killed: by Avery\n`,
    ],
  ])("shows %j", (body, shown) => {
    expect(play(body)).toBe(shown);
  });

  it("shows an event that it does not know, or whose form has changed, as JSON", () => {
    expect(play({ type: "levitation", height: 3 })).toBe(
      `${TIME}levitation  {"type":"levitation","height":3}\n`,
    );
    expect(play({ type: "error", operation: "six" })).toBe(
      `${TIME}error  {"type":"error","operation":"six"}\n`,
    );
  });

  it("lets no recorded value near the terminal's controls", () => {
    const nasty = "\u001b[2J\u202e";
    const shown = [
      play({ type: "error", operation: 1, sqlstate: nasty, message: nasty }),
      play({
        type: "result",
        operation: 1,
        tag: nasty,
        rowCount: 1,
        columns: [{ name: nasty }],
        rows: [[nasty]],
        copied: nasty,
      }),
      play({
        type: "statement",
        operation: 1,
        text: nasty,
        parameters: [nasty, { x: nasty }],
        decision: { effect: nasty },
      }),
      play({ type: nasty, [nasty]: nasty }),
    ].join("");
    // oxlint-disable-next-line no-control-regex -- none may be left
    expect(shown).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202e]/);
  });

  it.each([
    [
      {
        type: "operation",
        operation: 2,
        kind: "request",
        text: "GET /orders/1",
        method: "GET",
        target: "/orders/1",
        headers: [],
        decision: { effect: "allow", policies: [{ id: "engineers-read" }] },
      },
      `${TIME}[2] allow by engineers-read\n${BELOW}GET /orders/1\n`,
    ],
    [{ type: "response", operation: 2, status: 200, headers: [] }, `${TIME}[2] answered 200\n`],
    [
      { type: "response_body", operation: 2, text: '{"id":1,\n"card":"****8191"}\n' },
      `${TIME}[2] received\n${BELOW}{"id":1,\n${BELOW}"card":"****8191"}\n`,
    ],
    [
      {
        type: "completed",
        operation: 2,
        status: 200,
        response: { bytes: 900, truncated: true, sha256: "00" },
        masked: { card: 2 },
      },
      `${TIME}[2] done, received 900 bytes (not all is kept)\n${BELOW}masked: card (2)\n`,
    ],
    [
      { type: "completed", operation: 3, status: 0, code: "connector_lost", reason: "the connector is gone" },
      `${TIME}[3] broken off: connector_lost: the connector is gone\n`,
    ],
    [
      { type: "forwarded", operation: 4, connections: 2, sent: 10, received: 20 },
      `${TIME}[4] forwarded 2 connections, sent 10 bytes, received 20 bytes\n`,
    ],
    [
      { type: "detected", channel: 5, stream: 0, kinds: ["card"], action: "mask" },
      `${TIME}channel 5: card in its output (mask)\n`,
    ],
  ])("shows requests and their answers: %j", (body, shown) => {
    expect(play(body)).toBe(shown);
  });
});
