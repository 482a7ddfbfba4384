/**
 * Statements over the twins' schema, by a grammar: every expression can reach a masked column, and most of them
 * run. fast-check shrinks what fails to something short enough for the corpus.
 */
import fc from "fast-check";
import type { Case } from "./corpus/types.ts";

const sources = fc.constantFrom(
  "customers a",
  "public.customers AS a",
  "ONLY customers a",
  "everything a",
  "(SELECT * FROM customers) a",
  "(TABLE customers) a",
  "customers a JOIN orders o ON o.customer_id = a.id",
  "orders o RIGHT JOIN customers a ON o.customer_id = a.id AND a.ssn > '5'",
  "customers a, LATERAL (SELECT a.ssn AS x) l",
  "customers a CROSS JOIN (SELECT max(ssn) AS top FROM customers) m",
  "customers a NATURAL JOIN (SELECT id, ssn FROM customers) b",
  "customers a JOIN customers b USING (id, email)",
  "(VALUES (1, 'n', 'e@x', 'c', 's', '2000-01-01'::date, 1.5, 'Rome')) a (id, name, email, card_number, ssn, date_of_birth, balance, city)",
  "customers a LEFT JOIN vault v ON v.id = a.id",
  "customers a JOIN payments p ON p.id = a.id",
  "customers a LEFT JOIN people p ON p.id = a.id",
);

const nodes = fc.letrec<{ text: string; number: string; truth: string; query: string }>((tie) => ({
  text: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(
      "a.ssn",
      "a.card_number",
      "a.email",
      "a.name",
      "a.city",
      "a.date_of_birth::text",
      "a::text",
      "(a).ssn",
    ),
    fc.constantFrom("'9'", "'111-22-3333'", "'anna'", "'-'", "''", "NULL::text", "'%'", "'4111'"),
    fc
      .tuple(
        fc.constantFrom(
          "upper",
          "lower",
          "md5",
          "reverse",
          "trim",
          "quote_literal",
          "to_json",
          "ssn",
          "shout",
          "concat",
        ),
        tie("text"),
      )
      .map(([name, argument]) => (name === "ssn" ? "ssn(a)" : `${name}(${argument})::text`)),
    fc.tuple(tie("text"), tie("text")).map(([one, other]) => `(${one} || ${other})`),
    fc
      .tuple(fc.constantFrom("left", "right", "repeat"), tie("text"), tie("number"))
      .map(([f, t, n]) => `${f}(${t}, (${n}) % 9)`),
    fc
      .tuple(tie("text"), tie("number"), tie("number"))
      .map(([t, n, m]) => `substr(${t}, abs(${n}) % 9, abs(${m}) % 9)`),
    fc
      .tuple(tie("truth"), tie("text"), tie("text"))
      .map(([c, one, other]) => `CASE WHEN ${c} THEN ${one} ELSE ${other} END`),
    fc.tuple(tie("text"), tie("text")).map(([one, other]) => `COALESCE(${one}, ${other})`),
    fc.tuple(tie("text"), tie("text"), tie("text")).map(([t, from, to]) => `replace(${t}, ${from}, ${to})`),
    fc.constantFrom(
      "row_to_json(a)::text",
      "(to_jsonb(a) ->> 'ssn')",
      "(SELECT max(c.ssn) FROM customers c)",
      "(SELECT c.ssn FROM customers c WHERE c.id = a.id)",
    ),
    tie("query").map((query) => `(SELECT min(q::text) FROM (${query}) q)`),
    tie("number").map((number) => `(${number})::text`),
  ),
  number: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom("a.id", "1", "0", "7", "57"),
    fc.constantFrom("length(a.ssn)", "ascii(a.card_number)", "hashtext(a::text)", "length(a.email)"),
    fc.constantFrom("ascii(a.ssn)", "octet_length(a.card_number)", "position('-' IN a.ssn)", "a.id * 3"),
    fc
      .tuple(fc.constantFrom("length", "ascii", "octet_length", "hashtext", "bit_length"), tie("text"))
      .map(([f, t]) => `${f}(${t})`),
    fc
      .tuple(tie("number"), fc.constantFrom("+", "+", "-", "-", "*", "&", "#", "|", "/", "%"), tie("number"))
      .map(([n, op, m]) => `((${n})::bigint ${op} (${m})::bigint)::int`),
    { weight: 1, arbitrary: tie("text").map((text) => `(${text})::int`) },
    fc.tuple(tie("text"), tie("text")).map(([one, other]) => `position(${one} IN ${other})`),
    fc.constantFrom(
      "extract(doy FROM a.date_of_birth)::int",
      "(a.date_of_birth - '1950-01-01')",
      "(SELECT count(*)::int FROM customers c WHERE c.ssn < a.ssn)",
    ),
    fc.tuple(tie("truth"), tie("number")).map(([c, n]) => `CASE WHEN ${c} THEN 1 ELSE ${n} END`),
  ),
  truth: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc
      .tuple(
        tie("text"),
        fc.constantFrom("=", "<", ">", "<>", "=", "<", ">", "LIKE", "~", "IS DISTINCT FROM", "^@"),
        tie("text"),
      )
      .map(([one, op, other]) => `(${one}) ${op} (${other})`),
    fc
      .tuple(tie("number"), fc.constantFrom("=", "<", ">="), tie("number"))
      .map(([one, op, other]) => `(${one}) ${op} (${other})`),
    fc
      .tuple(tie("truth"), fc.constantFrom("AND", "OR"), tie("truth"))
      .map(([one, op, other]) => `(${one} ${op} ${other})`),
    tie("truth").map((one) => `NOT (${one})`),
    tie("text").map((text) => `(${text}) IS NULL`),
    fc.constantFrom(
      "EXISTS (SELECT FROM customers c WHERE c.ssn = a.ssn AND c.id <> a.id)",
      "a IS NOT NULL",
      "true",
      "a.email IS NULL",
      "a = a",
    ),
    tie("query").map((query) => `EXISTS (${query})`),
    fc
      .tuple(tie("text"), tie("text"))
      .map(([one, other]) => `(${one}) IN (${other}, (SELECT min(ssn) FROM customers))`),
  ),
  query: fc
    .tuple(tie("text"), sources, fc.option(tie("truth"), { nil: undefined, freq: 2 }))
    .map(
      ([text, from, where]) =>
        `SELECT ${text} FROM ${from}${where === undefined ? "" : ` WHERE ${where}`} LIMIT 5`,
    ),
}));

const select = fc
  .record({
    items: fc.array(
      fc.oneof(nodes.text, nodes.number, nodes.truth, fc.constantFrom("a.*", "a", "*", "count(*) OVER ()")),
      { minLength: 1, maxLength: 3 },
    ),
    from: sources,
    where: fc.option(nodes.truth, { nil: undefined }),
    order: fc.option(fc.oneof(nodes.text, nodes.number), { nil: undefined }),
    distinct: fc.boolean(),
    limit: fc.option(fc.integer({ min: 0, max: 9 }), { nil: undefined }),
  })
  .map(({ items, from, where, order, distinct, limit }) =>
    [
      `SELECT ${distinct && order === undefined ? "DISTINCT " : ""}${items.join(", ")} FROM ${from}`,
      where === undefined ? "" : `WHERE ${where}`,
      order === undefined ? "" : `ORDER BY ${order}, 1`,
      limit === undefined ? "" : `LIMIT ${limit}`,
    ]
      .filter((part) => part !== "")
      .join(" "),
  );

const grouped = fc
  .tuple(
    nodes.text,
    fc.constantFrom(
      "count(*)",
      "min(a.ssn)",
      "max(a.card_number)",
      "string_agg(a.ssn, ',' ORDER BY a.id)",
      "count(DISTINCT a.ssn)",
    ),
    sources,
    nodes.truth,
  )
  .map(
    ([key, aggregate, from, having]) =>
      `SELECT ${key}, ${aggregate} FROM ${from} GROUP BY ${key}, a.ssn HAVING bool_or(${having}) ORDER BY 1, 2`,
  );

const byKey = fc
  .tuple(nodes.text, nodes.truth)
  .map(
    ([item, having]) =>
      `SELECT a.id, ${item}, count(o.id) FROM customers a LEFT JOIN orders o ON o.customer_id = a.id GROUP BY a.id HAVING ${having} ORDER BY 1`,
  );

const combined = fc
  .tuple(nodes.query, fc.constantFrom("UNION", "UNION ALL", "EXCEPT", "INTERSECT"), nodes.query)
  .map(([one, op, other]) => `(${one}) ${op} (${other}) ORDER BY 1`);

const common = fc
  .tuple(nodes.query, nodes.truth, fc.constantFrom("w", "customers"))
  .map(
    ([query, where, name]) =>
      `WITH ${name} (ssn) AS (${query}) SELECT * FROM ${name} a WHERE a.ssn IS NOT NULL AND EXISTS (SELECT FROM public.customers a WHERE ${where}) ORDER BY 1`,
  );

const write = fc.oneof(
  fc
    .tuple(nodes.text, nodes.truth)
    .map(([value, where]) => `UPDATE customers a SET name = ${value} WHERE ${where} RETURNING a.id, a.name`),
  fc
    .tuple(nodes.number, nodes.text)
    .map(([id, item]) => `UPDATE customers a SET balance = 1 WHERE a.id = ${id} RETURNING ${item}`),
  nodes.text.map((item) => `UPDATE customers a SET balance = 1 WHERE a.id < 4 RETURNING ${item}, a.*`),
  nodes.truth.map(
    (where) =>
      `DELETE FROM orders o USING customers a WHERE a.id = o.customer_id AND ${where} RETURNING o.id`,
  ),
  nodes.truth.map((where) => `DELETE FROM customers a WHERE ${where} RETURNING a.id`),
  nodes.query.map((query) => `INSERT INTO audit (what) ${query} RETURNING what`),
  fc
    .tuple(nodes.text, nodes.truth)
    .map(
      ([value, where]) =>
        `UPDATE products SET name = COALESCE(${value}, 'x') FROM customers a WHERE a.id = products.id AND ${where} RETURNING products.*`,
    ),
  nodes.text.map((value) => `UPDATE customers a SET ssn = ${value} WHERE a.id = 2 RETURNING a.ssn`),
  fc
    .tuple(nodes.truth, nodes.text)
    .map(
      ([condition, value]) =>
        `MERGE INTO products t USING customers a ON t.id = a.id WHEN MATCHED AND ${condition} THEN UPDATE SET name = COALESCE(${value}, '')`,
    ),
  nodes.text.map(
    (value) =>
      `INSERT INTO customers AS a (id, name, ssn, city) VALUES (1, 'n', '5', 'c') ON CONFLICT (id) DO UPDATE SET name = ${value} RETURNING a.name`,
  ),
);

const statement = fc.oneof(
  { weight: 6, arbitrary: select },
  { weight: 2, arbitrary: grouped },
  byKey,
  combined,
  common,
  { weight: 3, arbitrary: write },
);

export const cases: fc.Arbitrary<Case> = fc.oneof(
  { weight: 8, arbitrary: statement },
  {
    weight: 1,
    arbitrary: select.map((query) => ({
      statements: [`DECLARE c CURSOR FOR ${query}`, "FETCH 2 FROM c", "FETCH ALL FROM c"],
    })),
  },
  {
    weight: 1,
    arbitrary: statement.map((query) => ({
      statements: [`PREPARE p AS ${query}`, "EXECUTE p", "EXECUTE p", "DEALLOCATE ALL"],
    })),
  },
  {
    weight: 1,
    arbitrary: select.map((query) => ({
      statements: [
        `CREATE TEMP TABLE t AS SELECT q::text AS row FROM (${query}) q`,
        "SELECT count(*) FROM t",
        "TABLE t",
      ],
    })),
  },
  { weight: 1, arbitrary: select.map((query) => `COPY (${query}) TO STDOUT`) },
  { weight: 1, arbitrary: statement.map((query) => `EXPLAIN ${query}`) },
);
