import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RecordedEvent } from "../../../connectors/cli/answers.ts";
import { type StandIn, startStandIn } from "./stand-in-gateway.ts";
import { run } from "./support.ts";

const SESSION = "ses_1";
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** A recording as docs/api.md defines it, computed here apart from the code under test. */
function recording(count: number, session = SESSION): RecordedEvent[] {
  const events: RecordedEvent[] = [];
  let previous = sha256(session);
  for (let seq = 1; seq <= count; seq++) {
    const at = new Date(Date.UTC(2026, 10, 22, 8, 0, seq)).toISOString();
    const body = { type: "query", sql: `select ${seq} -- größer` };
    const json = JSON.stringify({ seq, at, body });
    const hash = sha256(`${previous}\n${json}`);
    events.push({ seq, at, previous, hash, json, body });
    previous = hash;
  }
  return events;
}

let gateway: StandIn;
let environment: Record<string, string>;
let stored: RecordedEvent[];
let head: { seq: number; hash: string } | undefined;

beforeAll(async () => {
  gateway = await startStandIn({});
  const token = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from('{"sub":"engineer"}').toString("base64url")}.`;
  environment = { SALLY_GATEWAY: gateway.url, SALLY_TOKEN: token };
  gateway.answers.set(`GET /v1/sessions/${SESSION}/events`, ({ url }) => {
    const query = new URL(url, "http://x").searchParams;
    const after = Number(query.get("after"));
    // Pages of 7, whatever is asked for.
    const events = stored.filter(({ seq }) => seq > after).slice(0, 7);
    const more = events.length > 0 && events.at(-1) !== stored.at(-1);
    return { status: 200, body: { events, head, more } };
  });
});
afterAll(() => gateway.stop());

function store(events: RecordedEvent[], claimed = events.at(-1)): void {
  stored = events;
  head = claimed === undefined ? undefined : { seq: claimed.seq, hash: claimed.hash };
}

const verify = () => run(["sessions", "verify", SESSION], environment);

describe("sally sessions verify", () => {
  it("says ok with count and head for a recording of several pages", async () => {
    store(recording(20));
    expect(await verify()).toEqual({ code: 0, out: `ok: 20 events, head ${head?.hash}\n`, err: "" });
    const json = await run(["sessions", "verify", SESSION, "--json"], environment);
    expect(JSON.parse(json.out)).toEqual({ session: SESSION, ok: true, events: 20, head });
  });

  const broken = (seq: number, why: string) => ({
    code: 1,
    out: "",
    err: `sally: the recording of ${SESSION} is broken at event ${seq}: ${why}\n`,
  });
  const CONTENT = "its content does not have the hash that is recorded for it";
  const FOLLOWS = "it does not follow from the event before it";

  it("finds a changed event, even if its own hash was computed anew", async () => {
    const events = recording(20);
    const changed = {
      ...events[9],
      json: events[9]?.json.replace("select 10", "select 99"),
    } as RecordedEvent;
    store(events.with(9, changed));
    expect(await verify()).toEqual(broken(10, CONTENT));
    store(events.with(9, { ...changed, hash: sha256(`${changed.previous}\n${changed.json}`) }));
    expect(await verify()).toEqual(broken(11, FOLLOWS));
  });

  it("finds an event removed from the middle, the beginning or the end", async () => {
    const events = recording(20);
    store(events.toSpliced(9, 1));
    expect(await verify()).toEqual(broken(10, "event 11 stands where event 10 should"));
    store(events.slice(1));
    expect(await verify()).toEqual(broken(1, "event 2 stands where event 1 should"));
    store(events.slice(0, 15), events.at(-1));
    expect(await verify()).toEqual(broken(16, "the recording ends at event 15, but its head is event 20"));
  });

  it("finds events that were swapped, also with their numbers exchanged", async () => {
    const [first, second, third, ...rest] = recording(20) as [RecordedEvent, RecordedEvent, RecordedEvent];
    store([first, third, second, ...rest]);
    expect(await verify()).toEqual(broken(2, "event 3 stands where event 2 should"));
    store([first, { ...third, seq: 2 }, { ...second, seq: 3 }, ...rest]);
    expect(await verify()).toEqual(broken(2, FOLLOWS));
  });

  it("finds an added event and one sent twice", async () => {
    const events = recording(20);
    const copy = { ...events[4], seq: 6 } as RecordedEvent;
    store(events.toSpliced(5, 0, copy));
    expect(await verify()).toEqual(broken(6, FOLLOWS));
    store(events.toSpliced(5, 0, events[4] as RecordedEvent));
    expect(await verify()).toEqual(broken(6, "event 5 stands where event 6 should"));
  });

  it("finds the recording of another session in its place, and none at all", async () => {
    store(recording(20, "ses_2"));
    expect(await verify()).toEqual(broken(1, FOLLOWS));
    store([]);
    expect(await verify()).toEqual(broken(1, "it is missing"));
  });

  it("finds a number or time that is not the hashed one", async () => {
    const events = recording(20);
    store(events.with(3, { ...events[3], at: "2026-11-22T00:00:00.000Z" } as RecordedEvent));
    expect(await verify()).toEqual(broken(4, "its hashed text says another number or time"));
  });

  it("does not wait for ever for a gateway that has more but gives nothing", async () => {
    store(recording(3));
    gateway.answers.set("GET /v1/sessions/ses_endless/events", {
      status: 200,
      body: { events: [], head, more: true },
    });
    const ran = await run(["sessions", "verify", "ses_endless"], environment);
    expect(ran).toMatchObject({
      code: 1,
      err: "sally: the recording of ses_endless is broken at event 1: it is missing\n",
    });
  });
});

describe("sally sessions export and play", () => {
  it("writes each event as it is stored, one a line", async () => {
    store(recording(9));
    const { code, out } = await run(["sessions", "export", SESSION], environment);
    expect(code).toBe(0);
    expect(
      out
        .trimEnd()
        .split("\n")
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual(stored);
  });

  it("stop with a failure where the chain breaks", async () => {
    const events = recording(9);
    store(events.toSpliced(5, 1));
    const { code, out, err } = await run(["sessions", "export", SESSION], environment);
    expect({ code, lines: out.trimEnd().split("\n").length }).toEqual({ code: 1, lines: 5 });
    expect(err).toContain("broken at event 6");
  });

  it("show what was hashed, not what is claimed beside it", async () => {
    const events = recording(1);
    store([{ ...events[0], body: { type: "query", sql: "something else" } } as RecordedEvent]);
    const { out } = await run(["sessions", "play", SESSION], environment);
    expect(out).toContain("select 1 -- größer");
    expect(out).not.toContain("something else");
  });
});
