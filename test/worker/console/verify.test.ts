import { beforeAll, describe, expect, it } from "vitest";
import { type ChainedText, startOfChain, verifyEvents } from "../../../worker/console/model/verify.ts";
import { chainEvent, chainStart } from "../../../worker/objects/recording/chain.ts";

const SESSION = "ses_1";
let events: ChainedText[];

beforeAll(() => {
  events = [];
  let head = chainStart(SESSION);
  for (const text of ["select 1", "select 'é \u2028'", "commit"]) {
    const event = chainEvent(head, new Date(Date.UTC(2026, 10, 22)), { type: "statement", text });
    head = event;
    events.push(event);
  }
});

const verify = async (given: readonly ChainedText[], session = SESSION) =>
  verifyEvents(await startOfChain(session), given);

/** The events with one of them changed. */
function changed(index: number, change: (event: ChainedText) => Partial<ChainedText>): ChainedText[] {
  return events.map((event, at) => (at === index ? { ...event, ...change(event) } : event));
}

describe("verifying a recording in the browser", () => {
  it("follows the chain that the gateway writes", async () => {
    expect(await verify(events)).toEqual({ progress: { seq: 3, hash: events[2]?.hash } });
  });

  it("goes on where it was, however the events arrive", async () => {
    const first = await verify(events.slice(0, 1));
    expect(await verifyEvents(first.progress, events.slice(1))).toEqual(await verify(events));
  });

  it.each([
    ["changed text", () => changed(1, ({ json }) => ({ json: json.replace("select", "SELECT") })), 2],
    ["a changed hash", () => changed(1, ({ hash }) => ({ hash: hash.replace(/^./, "x") })), 2],
    [
      "another time outside of what is hashed",
      () => changed(1, () => ({ at: "2026-11-23T00:00:00.000Z" })),
      2,
    ],
    ["another number outside of what is hashed", () => changed(2, () => ({ seq: 4 })), 4],
    ["a missing event", () => [events[0], events[2]] as ChainedText[], 3],
    ["a missing beginning", () => events.slice(1), 2],
    ["two events exchanged", () => [events[1], events[0], events[2]] as ChainedText[], 2],
    ["text that is no JSON", () => changed(0, () => ({ json: "{" })), 1],
  ])("breaks at %s", async (_, make, seq) => {
    expect(await verify(make())).toMatchObject({ broken: { seq } });
  });

  it("breaks at the first event of another session's recording", async () => {
    expect(await verify(events, "ses_2")).toMatchObject({ broken: { seq: 1 }, progress: { seq: 0 } });
  });
});
