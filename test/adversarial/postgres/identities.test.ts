/** Many principals in one isolate: whose statement ran, whose mask applied, whose recording has it. */
import { beforeAll, expect, it } from "vitest";
import { callApi } from "../../../scripts/lib/gateway-api.ts";
import { GatewayClient } from "../../support/gateway-client.ts";
import { type Stack, sharedStack } from "../../support/stack.ts";
import { f } from "../../wire/postgres/support/messages.ts";

const ROUNDS = 1000;

let stack: Stack;
beforeAll(() => {
  stack = sharedStack();
});

type RecordedEvent = {
  body: { type: string; text?: string; rows?: string[][]; decision?: { effect: string } };
};

async function recording(session: string, token: string): Promise<RecordedEvent[]> {
  const events: RecordedEvent[] = [];
  for (let after = 0; ; after = events.length) {
    const page = (await callApi(
      stack.gateway,
      "GET",
      `/v1/sessions/${session}/events?after=${after}&limit=1000`,
      { token },
    )) as { events: (RecordedEvent & { json: string })[]; more: boolean };
    events.push(...page.events.map(({ json }) => JSON.parse(json) as RecordedEvent));
    if (!page.more) return events;
  }
}

it(
  "keeps two principals' interleaved statements apart: policy, masks and recordings",
  { timeout: 240_000 },
  async () => {
    const users = ["engineer", "reviewer-a"] as const;
    const tokens = await Promise.all(users.map((user) => stack.sessionToken(user)));
    const clients = await Promise.all(
      tokens.map((token) => GatewayClient.open(stack.gateway, "shop-db", token)),
    );
    const [engineer, reviewer] = clients as [GatewayClient, GatewayClient];
    // The engineer prepares a text that means another thing for the reviewer, under the same name.
    const cards = "select card_number, $1::int as mark from customers where id = 7";
    for (const client of clients) await client.run(f.parse(cards, "cards"), f.sync);
    const direct = await stack.direct(
      (client) => client.query<{ card_number: string }>("select card_number from customers where id = 7"),
      stack.shopUrl,
    );
    const card = direct.rows[0]?.card_number ?? "";
    const masked = `****${card.slice(-4)}`;

    let wrong = 0;
    for (let round = 0; round < ROUNDS; round++) {
      // Everything of both goes out before anything of either is read; whose frame is first changes each round.
      const order = round % 2 === 0 ? [engineer, reviewer] : [reviewer, engineer];
      for (const client of order) {
        client.send(
          f.query(`select card_number, ${round} as mark from customers where id = 7`),
          f.bind([String(round)], "cards"),
          f.execute(),
          f.sync,
          f.query("select 1 from pg_stats where false"),
        );
      }
      const [ofEngineer, ofReviewer] = await Promise.all([engineer.words("Z", 3), reviewer.words("Z", 3)]);
      const rows = (words: string[]): string[] => words.filter((word) => word.startsWith("D"));
      const expectRow = (words: string[], shown: string): boolean =>
        rows(words).length === 2 &&
        rows(words).every((row) => row.includes(shown) && row.endsWith(String(round)));
      if (!expectRow(ofEngineer, masked) || rows(ofEngineer).join().includes(card)) wrong++;
      if (!expectRow(ofReviewer, card)) wrong++;
      if (!ofEngineer.some((word) => word.startsWith("E 42501"))) wrong++;
      if (ofReviewer.some((word) => word.startsWith("E"))) wrong++;
    }
    expect(wrong).toBe(0);
    for (const client of clients) client.close();

    const auditor = await stack.sessionToken("reviewer-b");
    for (const [index, user] of users.entries()) {
      const session = (clients[index] as GatewayClient).session;
      const row = (await callApi(stack.gateway, "GET", `/v1/sessions/${session}`, { token: auditor })) as {
        principal: { name: string };
      };
      expect(row.principal.name).toContain(user);
      const events = await recording(session, auditor);
      const rows = events.flatMap(({ body }) => body.rows ?? []).filter((values) => values.length === 2);
      expect(rows).toHaveLength(2 * ROUNDS);
      expect(new Set(rows.map(([value]) => value))).toEqual(new Set([user === "engineer" ? masked : card]));
      const marks = rows.map(([, mark]) => Number(mark));
      expect(marks).toEqual(Array.from({ length: 2 * ROUNDS }, (_, at) => at >> 1));
      const refusals = events.filter(({ body }) => body.type === "refusal");
      expect(refusals).toHaveLength(user === "engineer" ? ROUNDS : 0);
    }
  },
);
