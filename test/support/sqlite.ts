/** The storage interface that objects use, over Node's SQLite: for stores that are tested without an object. */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

type Cursor<T> = { toArray(): T[]; one(): T; readonly rowsWritten: number };

export type TestSql = { exec<T>(query: string, ...bindings: SQLInputValue[]): Cursor<T> };

export function openSqlite(): TestSql {
  const database = new DatabaseSync(":memory:");
  return {
    exec: <T>(query: string, ...bindings: SQLInputValue[]): Cursor<T> => {
      if (bindings.length === 0 && query.includes(";")) {
        database.exec(query);
        return { toArray: () => [], one: () => never(), rowsWritten: 0 };
      }
      const statement = database.prepare(query);
      if (!/^\s*(SELECT|WITH)/i.test(query)) {
        const { changes } = statement.run(...bindings);
        return { toArray: () => [], one: () => never(), rowsWritten: Number(changes) };
      }
      const rows = statement.all(...bindings) as T[];
      return { toArray: () => rows, one: () => rows[0] ?? never(), rowsWritten: 0 };
    },
  };
}

function never(): never {
  throw new Error("there is no row");
}
