import { commonTables, joins, setOperations, subqueries } from "./joins.ts";
import { naming } from "./naming.ts";
import { failures, orders, predicates, shapes } from "./oracles.ts";
import { rows, system, types, views } from "./rows.ts";
import { copies, cursors, explains, shadows } from "./sessions.ts";
import type { Family } from "./types.ts";
import { definitions, returning, writes } from "./writes.ts";

export const FAMILIES: readonly Family[] = [
  ...[
    naming,
    joins,
    subqueries,
    commonTables,
    setOperations,
    predicates,
    failures,
    shapes,
    orders,
    rows,
    types,
    views,
  ],
  ...[system, cursors, shadows, copies, explains, writes, returning, definitions],
];
