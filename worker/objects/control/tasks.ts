/**
 * The tree of tasks and their budgets in the Control object's SQLite. Everything that counts is one
 * synchronous turn of the one Control object, so that no two sessions can spend the same operation.
 */
import { LIMITS } from "../../../wire/limits.ts";
import type { Refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import { principalKey } from "../../policy/approval.ts";
import { type TaskStep, budgetSpent, taskEnded } from "../../policy/task.ts";
import type { Principal } from "../../policy/types.ts";

/** Times in milliseconds since the epoch. */
export type Task = TaskStep & {
  readonly parent?: string;
  readonly createdAt: number;
  readonly usedOperations: number;
  readonly usedRows: number;
  readonly endedAt?: number;
  readonly endReason?: string;
};

type Row = {
  readonly id: string;
  readonly parent: string | null;
  readonly body: string;
  readonly created_at: number;
  readonly operations: number;
  readonly rows: number;
  readonly ended_at: number | null;
  readonly end_reason: string | null;
};

export type Budget = "operations" | "rows";

export class Tasks {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    sql.exec(`
      CREATE TABLE IF NOT EXISTS tasks (
        id TEXT PRIMARY KEY, parent TEXT, owner TEXT NOT NULL, body TEXT NOT NULL, created_at INTEGER NOT NULL,
        deadline INTEGER NOT NULL, operations INTEGER NOT NULL DEFAULT 0, rows INTEGER NOT NULL DEFAULT 0,
        ended_at INTEGER, end_reason TEXT);
      CREATE INDEX IF NOT EXISTS tasks_parent ON tasks (parent);
      CREATE INDEX IF NOT EXISTS tasks_open ON tasks (deadline) WHERE ended_at IS NULL;
      CREATE INDEX IF NOT EXISTS tasks_owner ON tasks (owner) WHERE ended_at IS NULL;
    `);
  }

  start(step: TaskStep, parent: string | undefined, now: number): void {
    const { id, name, terms, principal, actors } = step;
    this.#sql.exec(
      "INSERT INTO tasks (id, parent, owner, body, created_at, deadline) VALUES (?, ?, ?, ?, ?, ?)",
      id,
      parent ?? null,
      principalKey(principal),
      JSON.stringify({ id, name, terms, principal, actors } satisfies TaskStep),
      now,
      terms.deadline,
    );
  }

  get(id: string): Task | undefined {
    const row = this.#sql.exec<Row>("SELECT * FROM tasks WHERE id = ?", id).toArray()[0];
    return row === undefined ? undefined : toTask(row);
  }

  /** The task and those above it, the root first; empty when there is no such task. */
  chain(id: string): Task[] {
    const chain: Task[] = [];
    for (let next: string | undefined = id; next !== undefined && chain.length <= LIMITS.tasks.depth;) {
      const task = this.get(next);
      if (task === undefined) return [];
      chain.unshift(task);
      next = task.parent;
    }
    return chain;
  }

  /** The whole chain, while every task in it is still running. */
  running(id: string, now: number): Result<TaskStep[], Refusal> {
    const chain = this.chain(id);
    if (chain.length === 0) return err(taskEnded({ id, name: "" }, "it is not known"));
    for (const task of chain) {
      if (task.endedAt !== undefined) return err(taskEnded(task, task.endReason ?? "it was ended"));
      if (task.terms.deadline <= now) return err(taskEnded(task, "its deadline has passed"));
    }
    return ok(
      chain.map(({ id: step, name, terms, principal, actors }) => ({
        id: step,
        name,
        terms,
        principal,
        actors,
      })),
    );
  }

  /**
   * Takes `amount` out of the budget of the task and of every one above it: of all of them or of none.
   * Nothing is ever given back.
   */
  spend(id: string, what: Budget, amount: number, now: number): Result<void, Refusal> {
    const running = this.running(id, now);
    if (!running.ok) return running;
    const chain = this.chain(id);
    for (const task of chain) {
      const most = what === "operations" ? task.terms.maxOperations : task.terms.maxRows;
      const used = what === "operations" ? task.usedOperations : task.usedRows;
      if (most !== null && used + amount > most) return err(budgetSpent(task, what, most));
    }
    for (const { id: step } of chain) {
      this.#sql.exec(`UPDATE tasks SET ${what} = ${what} + ? WHERE id = ?`, amount, step);
    }
    return ok(undefined);
  }

  /** The tasks that have not ended among this one and everything below it. */
  openBelow(id: string): Task[] {
    return this.#sql
      .exec<Row>(
        `WITH RECURSIVE below (id) AS (SELECT ? UNION SELECT tasks.id FROM tasks JOIN below ON tasks.parent = below.id)
         SELECT tasks.* FROM tasks JOIN below USING (id) WHERE ended_at IS NULL`,
        id,
      )
      .toArray()
      .map(toTask);
  }

  end(id: string, reason: string, at: number): void {
    this.#sql.exec(
      "UPDATE tasks SET ended_at = ?, end_reason = ? WHERE id = ? AND ended_at IS NULL",
      at,
      reason,
      id,
    );
  }

  expired(now: number): Task[] {
    return this.#sql
      .exec<Row>("SELECT * FROM tasks WHERE ended_at IS NULL AND deadline <= ?", now)
      .toArray()
      .map(toTask);
  }

  /** When the next one runs out, in milliseconds since the epoch. */
  nextDeadline(): number | undefined {
    const row = this.#sql.exec<{ at: number | null }>(
      "SELECT min(deadline) AS at FROM tasks WHERE ended_at IS NULL",
    );
    return row.one().at ?? undefined;
  }

  openCount(owner: Principal): number {
    return this.#sql
      .exec<{ n: number }>(
        "SELECT count(*) AS n FROM tasks WHERE ended_at IS NULL AND owner = ?",
        principalKey(owner),
      )
      .one().n;
  }

  /** Those that have not ended in which this principal has a part. */
  openOf(principal: Principal): Task[] {
    return this.list(true, Number.MAX_SAFE_INTEGER).filter((task) => hasPart(task, principal));
  }

  /** Newest first. */
  list(openOnly: boolean, limit: number): Task[] {
    const where = openOnly ? "WHERE ended_at IS NULL" : "";
    return this.#sql
      .exec<Row>(`SELECT * FROM tasks ${where} ORDER BY created_at DESC, rowid DESC LIMIT ?`, limit)
      .toArray()
      .map(toTask);
  }
}

/** Whether a task runs for or through this principal. */
export function hasPart(step: TaskStep, principal: Principal): boolean {
  const key = principalKey(principal);
  return [step.principal, ...step.actors].some((party) => principalKey(party) === key);
}

function toTask(row: Row): Task {
  return {
    ...(JSON.parse(row.body) as TaskStep),
    ...(row.parent === null ? {} : { parent: row.parent }),
    createdAt: row.created_at,
    usedOperations: row.operations,
    usedRows: row.rows,
    ...(row.ended_at === null ? {} : { endedAt: row.ended_at }),
    ...(row.end_reason === null ? {} : { endReason: row.end_reason }),
  };
}
