/**
 * The budgets of the tasks that a session runs under. The Control object counts; nothing runs, and no row
 * leaves, before it has said yes.
 */
import type { Refusal } from "../../../wire/refusals.ts";
import type { Result } from "../../../wire/result.ts";
import type { TaskStep } from "../../policy/task.ts";
import type { Budget } from "../control/tasks.ts";

export type Spend = (task: string, what: Budget, amount: number) => Promise<Result<void, Refusal>>;

export class TaskBudget {
  readonly #spend: Spend;
  /** Rows that wait to be sent, and whether the Control object is being asked about others. */
  #unpaid = 0;
  #paying = false;

  constructor(spend: Spend) {
    this.#spend = spend;
  }

  /** Takes operations out of the budget; undefined where no task of the chain has one. */
  operations(tasks: readonly TaskStep[], amount: () => number): Promise<Result<void, Refusal>> | undefined {
    const task = tasks.at(-1);
    if (task === undefined || tasks.every(({ terms }) => terms.maxOperations === null)) return undefined;
    return this.#spend(task.id, "operations", amount());
  }

  /** Rows that are queued for the client. */
  rows(tasks: readonly TaskStep[], amount: number): void {
    if (tasks.some(({ terms }) => terms.maxRows !== null)) this.#unpaid += amount;
  }

  /**
   * True while rows wait to be paid for: nothing may be sent to the client. `then` is called with the outcome,
   * after which what was paid for may leave, or must never.
   */
  owing(tasks: readonly TaskStep[], then: (paid: Result<void, Refusal>) => void): boolean {
    if (this.#paying) return true;
    const task = tasks.at(-1);
    if (this.#unpaid === 0 || task === undefined) return false;
    const amount = this.#unpaid;
    this.#unpaid = 0;
    this.#paying = true;
    void this.#spend(task.id, "rows", amount).then((paid) => {
      this.#paying = false;
      // What came meanwhile shares the fate of what was refused.
      if (!paid.ok) this.#unpaid = 0;
      then(paid);
    });
    return true;
  }
}
