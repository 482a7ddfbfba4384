/** Tasks as people and programs see and end them; with a task end everything beneath it and its live sessions. */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import { taskEnded } from "../../policy/task.ts";
import type { Principal } from "../../policy/types.ts";
import type { Authority } from "./authority.ts";
import type { Identity } from "./identity.ts";
import type { SessionDirectory } from "./session-directory.ts";
import { taskLink } from "./sessions.ts";
import { type Task, hasPart } from "./tasks.ts";

export type TaskHost = {
  readonly identity: Identity;
  readonly authority: Authority;
  readonly sessions: SessionDirectory;
};

export class TaskDesk {
  readonly #host: TaskHost;

  constructor(host: TaskHost) {
    this.#host = host;
  }

  /** Tasks that the token's owner has a part in, or all for whom may manage identities; newest first. */
  list(token: VerifiedToken, openOnly: boolean, limit: number): Task[] {
    return this.#host.identity.tasks.list(openOnly, limit).filter((task) => this.#maySee(token, task));
  }

  get(token: VerifiedToken, id: string): Result<Task, Refusal> {
    const task = this.#host.identity.tasks.get(id);
    return task !== undefined && this.#maySee(token, task)
      ? ok(task)
      : err(refusal("not_found", `there is no task ${id}`));
  }

  /** Ends a task and everything beneath it: tokens, tasks and live sessions. */
  async end(token: VerifiedToken, id: string, reason: string | undefined): Promise<Result<Task, Refusal>> {
    const found = this.get(token, id);
    if (!found.ok) return found;
    await this.remove(id, reason ?? `${token.principal.name} ended it`, token.principal);
    return this.get(token, id);
  }

  /** `end` for a caller whose authority is established; `by` undefined: nobody but time or a rule. */
  async remove(id: string, reason: string, by: Principal | undefined): Promise<void> {
    const ended = this.#host.identity.endTask(id, reason, by, Date.now());
    for (const task of ended) {
      await this.#host.sessions.revokeEach(taskLink(task.id), taskEnded(task, reason));
    }
  }

  #maySee(token: VerifiedToken, task: Task): boolean {
    const { identity, authority } = this.#host;
    const chain = identity.tasks.chain(task.id);
    // A token for a task sees that one and those below it, nothing beside or above.
    if (token.task !== undefined) return chain.some(({ id }) => id === token.task);
    return (
      chain.some((step) => hasPart(step, token.principal)) ||
      authority.authorize(token.principal, undefined, "identity:write").ok
    );
  }
}
