/** What sessions did, as far as it is searched and counted: the index of operations, with who may see which. */
import type { Principal } from "../../policy/types.ts";
import type { Approvals } from "./approvals.ts";
import type { Authority } from "./authority.ts";
import { type OperationReport, Operations } from "./operations.ts";
import { type SearchAnswer, type SearchQuestion, searchSessions } from "./search.ts";
import type { SessionIndex } from "./sessions.ts";
import { type StatisticsQuestion, statistics } from "./statistics.ts";
import type { Configuration, SessionCounts, SessionRow } from "./types.ts";

/** Approvals that statistics are made of. */
const MOST_COUNTED = 20_000;

export type ActivityHost = {
  readonly sessions: SessionIndex;
  readonly approvals: Approvals;
  readonly authority: Authority;
  readonly config: () => Configuration | undefined;
  /** The session's counts are others now. */
  readonly changed: (session: SessionRow) => void;
};

export class Activity {
  readonly #operations: Operations;
  readonly #host: ActivityHost;

  constructor(sql: SqlStorage, host: ActivityHost) {
    this.#operations = new Operations(sql);
    this.#host = host;
  }

  /** What a live session did since it said so last. */
  add(id: string, counts: SessionCounts, report: OperationReport, now: number): void {
    const { sessions, changed } = this.#host;
    sessions.count(id, counts);
    const session = sessions.get(id);
    if (session === undefined) return;
    this.#operations.add(session, report, now);
    changed(session);
  }

  search(principal: Principal, question: SearchQuestion, limit: number): SearchAnswer {
    const { sessions, authority } = this.#host;
    return searchSessions(this.#operations, sessions, question, limit, (session) =>
      authority.maySee(principal, session),
    );
  }

  /** Over the resources whose sessions `principal` may replay, or the one of them that is named. */
  statistics(
    principal: Principal,
    resource: string | undefined,
    question: StatisticsQuestion,
    now: number,
  ): object {
    const { approvals, authority, config } = this.#host;
    const resources = (config()?.resources ?? [])
      .map(({ name }) => name)
      .filter((name) => resource === undefined || name === resource)
      .filter((name) => authority.authorize(principal, name, "session:replay").ok);
    const counted = approvals
      .since(question.from, question.to, MOST_COUNTED, now)
      .filter((approval) => resources.includes(approval.resource));
    return statistics(this.#operations, counted, resources, question);
  }
}
