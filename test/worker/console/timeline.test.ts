import { describe, expect, it } from "vitest";
import { Timeline, type TimelineEvent, shows } from "../../../worker/console/model/timeline.ts";

function timeline(...bodies: readonly TimelineEvent["body"][]): Timeline {
  const made = new Timeline();
  // One at a time, as a live session's events arrive.
  bodies.forEach((body, index) => made.add([{ seq: index + 1, at: "2026-11-22T09:00:00.000Z", body }]));
  return made;
}

const ALLOWED = { effect: "allow", policies: [{ id: "read" }] };

describe("a session's timeline", () => {
  it("gathers a statement, its rows and its result into one entry", () => {
    const { entries } = timeline(
      { type: "session" },
      { type: "statement", operation: 1, text: "select *", actions: ["postgres:select"], decision: ALLOWED },
      { type: "rows", operation: 1, rows: [["1", null]] },
      {
        type: "result",
        operation: 1,
        tag: "SELECT 2",
        columns: [{ name: "id" }, { name: "name" }],
        rowCount: 2,
        bytes: 40,
        rows: [["2", { base64: "AA==" }]],
        milliseconds: 7,
      },
    );
    expect(entries).toHaveLength(2);
    expect(entries[1]).toMatchObject({
      kind: "operation",
      effect: "allow",
      milliseconds: 7,
      results: [
        {
          tag: "SELECT 2",
          columns: ["id", "name"],
          values: [
            ["1", null],
            ["2", { base64: "AA==" }],
          ],
        },
      ],
    });
  });

  it("gathers a request, its answer and how it ended into one entry", () => {
    const { entries } = timeline(
      { type: "operation", operation: 1, kind: "request", text: "POST /orders", decision: ALLOWED },
      { type: "request_body", operation: 1, text: '{"a":' },
      { type: "request_body", operation: 1, base64: btoa("1}") },
      { type: "response", operation: 1, status: 201, headers: [] },
      { type: "response_body", operation: 1, base64: btoa("caf\u00c3") },
      { type: "response_body", operation: 1, base64: btoa("\u00a9") },
      { type: "completed", operation: 1, status: 201, response: { bytes: 5000, truncated: true } },
    );
    expect(entries).toHaveLength(1);
    expect(entries[0]).toMatchObject({
      exit: "201",
      error: undefined,
      exchange: { sent: '{"a":1}', received: "café", truncated: true },
    });
  });

  it("says of a request what broke it off, or kept it from being sent", () => {
    const { entries } = timeline(
      { type: "operation", operation: 1, kind: "request", text: "GET /a", decision: ALLOWED },
      { type: "completed", operation: 1, status: 0, code: "connector_lost", reason: "gone" },
      { type: "operation", operation: 2, kind: "request", text: "GET /b", decision: ALLOWED },
      { type: "open_failed", operation: 2, text: "GET /b", code: "upstream_unreachable", reason: "no" },
    );
    expect(entries).toMatchObject([
      { error: { code: "connector_lost", message: "gone" } },
      { error: { code: "upstream_unreachable", message: "no" } },
    ]);
  });

  it("keeps the results of several statements of one operation apart", () => {
    const { entries } = timeline(
      { type: "statement", operation: 1, text: "select 1; select 2", decision: ALLOWED },
      { type: "result", operation: 1, tag: "SELECT 1", rows: [["1"]], rowCount: 1 },
      { type: "result", operation: 1, tag: "SELECT 1", rows: [["2"]], rowCount: 1 },
    );
    expect(entries[0]).toMatchObject({ results: [{ values: [["1"]] }, { values: [["2"]] }] });
  });

  it("shows a held statement as held, before and after its approval", () => {
    const hold = {
      type: "hold",
      operation: 1,
      text: "delete",
      hash: "h",
      requirements: [{ policy: "p", group: "dba", quorum: 1 }],
    };
    expect(timeline(hold).entries[0]).toMatchObject({ effect: "hold", decided: undefined });
    const after = timeline(
      hold,
      { type: "approval", operation: 1, approval: "apr_1", outcome: "approved", by: ["a"], waited: 1200 },
      { type: "statement", operation: 1, text: "delete", decision: ALLOWED, approval: "apr_1" },
      { type: "result", operation: 1, tag: "DELETE 1", rowCount: 0 },
    );
    expect(after.entries).toHaveLength(1);
    expect(after.entries[0]).toMatchObject({
      effect: "hold",
      waitedMs: 1200,
      decided: { outcome: "approved", by: ["a"] },
      results: [{ tag: "DELETE 1" }],
    });
  });

  it("says why a statement was refused, and when a held one was denied or withdrawn", () => {
    const refused = timeline({
      type: "refusal",
      operation: 1,
      text: "drop",
      decision: { effect: "deny", policies: [{ id: "no" }] },
      code: "denied_by_policy",
      reason: "no",
    });
    expect(refused.entries[0]).toMatchObject({ effect: "deny", refusal: { code: "denied_by_policy" } });
    const denied = timeline(
      { type: "hold", operation: 1, text: "delete" },
      { type: "approval", operation: 1, outcome: "denied", by: ["a"], comment: "why?" },
      {
        type: "refusal",
        operation: 1,
        decision: { effect: "hold" },
        code: "approval_denied",
        reason: "denied",
      },
    );
    expect(denied.entries[0]).toMatchObject({
      effect: "hold",
      decided: { outcome: "denied", comment: "why?" },
    });
    const gone = timeline(
      { type: "hold", operation: 1, text: "delete" },
      { type: "withdrawn", operation: 1, reason: "client_gone" },
    );
    expect(gone.entries[0]).toMatchObject({ withdrawn: "client_gone" });
  });

  it("makes a new entry of one that has changed, and leaves the others as they are", () => {
    const made = timeline(
      { type: "statement", operation: 1, text: "select 1", decision: ALLOWED },
      { type: "statement", operation: 2, text: "select 2", decision: ALLOWED },
    );
    const [first, second] = made.entries;
    made.add([{ seq: 3, at: "", body: { type: "result", operation: 2, tag: "SELECT 1", rows: [["2"]] } }]);
    expect(made.entries[0]).toBe(first);
    expect(made.entries[1]).not.toBe(second);
    expect(made.entries[1]).toMatchObject({ results: [{ values: [["2"]] }] });
  });

  it("gives an Execute the text and values of what it executes", () => {
    const { entries } = timeline(
      { type: "statement", operation: 1, text: "select $1", parameters: ["x"], decision: ALLOWED },
      { type: "execute", operation: 2, of: 1, decision: { effect: "allow" } },
    );
    expect(entries[1]).toMatchObject({ text: "select $1", parameters: ["x"] });
  });

  it("leaves terminal output to the player", () => {
    const made = timeline(
      {
        type: "operation",
        operation: 1,
        channel: 3,
        text: "shell",
        terminal: { columns: 90, rows: 30, term: "xterm" },
      },
      // One character, cut in two.
      { type: "output", channel: 3, stream: 0, base64: btoa("\u00c3") },
      { type: "input", channel: 3, text: "x" },
      { type: "output", channel: 3, stream: 0, base64: btoa("\u00a9") },
      { type: "resize", channel: 3, columns: 100, rows: 40 },
    );
    expect(made.entries).toHaveLength(1);
    const lines = made.terminals[0]?.cast().trim().split("\n") ?? [];
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual([
      expect.objectContaining({ version: 2, width: 90, height: 30 }),
      [0, "o", "é"],
      [0, "r", "100x40"],
    ]);
  });

  it("keeps what a command printed, where it has no terminal, with its command", () => {
    const made = timeline(
      { type: "operation", operation: 1, channel: 1, text: "uptime", terminal: false },
      { type: "output", channel: 1, stream: 0, text: "up\n" },
      { type: "output", channel: 1, stream: 1, text: "oh\n" },
      { type: "output", channel: 9, stream: 1, text: "of nothing" },
      { type: "channel", channel: 1, exit: { status: 3 } },
    );
    expect(made.terminals).toEqual([]);
    expect(made.entries).toHaveLength(1);
    expect(made.entries[0]).toMatchObject({ output: { stdout: "up\n", stderr: "oh\n" }, exit: "exit 3" });
  });

  it("survives events whose fields are not what they should be", () => {
    const { entries } = timeline(
      { type: "statement", operation: "1", text: 7, actions: "x", decision: null },
      { type: "result", operation: 99, rows: 3 },
      { type: "error", message: null },
      { type: "approval", outcome: 1 },
    );
    expect(entries).toHaveLength(1);
  });

  it("finds entries by decision, error and words", () => {
    const { entries } = timeline(
      { type: "statement", operation: 1, text: "SELECT Secret", decision: ALLOWED },
      { type: "error", operation: 1, sqlstate: "42P01", message: "no such relation" },
      { type: "end", reason: "done" },
    );
    const [statement, end] = entries;
    if (statement === undefined || end === undefined) throw new Error("entries are missing");
    expect(shows(statement, "all", "secret")).toBe(true);
    expect(shows(statement, "errors", "relation")).toBe(true);
    expect(shows(statement, "deny", "")).toBe(false);
    expect(shows(end, "allow", "")).toBe(false);
  });
});
