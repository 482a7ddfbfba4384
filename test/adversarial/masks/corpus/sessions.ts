import type { Family } from "./types.ts";

export const cursors: Family = {
  name: "cursors, prepared statements, locks",
  cases: [
    {
      statements: [
        "DECLARE c CURSOR FOR SELECT * FROM customers",
        "FETCH 3 FROM c",
        "FETCH ALL FROM c",
        "CLOSE c",
      ],
    },
    {
      statements: [
        "DECLARE c SCROLL CURSOR FOR SELECT ssn FROM customers ORDER BY ssn",
        "FETCH LAST FROM c",
        "FETCH ABSOLUTE 5 FROM c",
        "FETCH BACKWARD 2 FROM c",
      ],
    },
    { statements: ["DECLARE c BINARY CURSOR FOR SELECT * FROM customers", "FETCH 2 FROM c"] },
    { statements: ["DECLARE c CURSOR WITH HOLD FOR TABLE customers", "FETCH 2 FROM c", "CLOSE ALL"] },
    { statements: ["DECLARE c CURSOR FOR SELECT * FROM customers WHERE ssn LIKE '9%'", "MOVE ALL FROM c"] },
    {
      statements: [
        "DECLARE c CURSOR FOR SELECT ssn FROM customers",
        "SELECT cursor_to_xml('c', 2, true, false, '')",
      ],
    },
    {
      statements: [
        "DECLARE c CURSOR FOR SELECT id FROM customers",
        "FETCH 1 FROM c",
        "UPDATE customers SET balance = 1 WHERE CURRENT OF c",
      ],
    },
    {
      statements: [
        "DECLARE c CURSOR FOR SELECT ssn FROM customers FOR UPDATE",
        "FETCH 1 FROM c",
        "DELETE FROM customers WHERE CURRENT OF c RETURNING ssn",
      ],
    },
    {
      statements: [
        "DECLARE c CURSOR FOR SELECT ssn FROM customers",
        "SELECT name, statement FROM pg_cursors",
      ],
    },
    {
      statements: [
        "PREPARE p AS SELECT ssn FROM customers WHERE id = $1",
        "EXECUTE p(1)",
        "EXECUTE p(2)",
        "DEALLOCATE p",
      ],
    },
    {
      statements: [
        "PREPARE p(text) AS SELECT id FROM customers WHERE ssn LIKE $1",
        "EXECUTE p('9%')",
        "EXECUTE p('1%')",
        "DEALLOCATE ALL",
      ],
    },
    {
      statements: [
        "PREPARE p AS TABLE customers",
        "CREATE TEMP TABLE x AS EXECUTE p",
        "SELECT * FROM x",
        "DEALLOCATE p",
      ],
    },
    {
      statements: [
        "PREPARE p AS SELECT ssn FROM customers",
        "EXPLAIN EXECUTE p",
        "SELECT statement FROM pg_prepared_statements",
        "DEALLOCATE p",
      ],
    },
    { statements: ["PREPARE p(int) AS SELECT leak($1)", "EXECUTE p(1)"] },
    {
      statements: [
        "PREPARE p(int) AS SELECT $1",
        "EXECUTE p((SELECT length(ssn) FROM customers WHERE id = 1))",
        "DEALLOCATE p",
      ],
    },
    {
      statements: [
        "PREPARE p AS UPDATE customers SET balance = $2 WHERE id = $1 RETURNING ssn",
        "EXECUTE p(1, 2)",
        "DEALLOCATE p",
      ],
    },
    "SELECT * FROM customers FOR UPDATE",
    "SELECT ssn FROM customers WHERE id = 3 FOR SHARE",
    "SELECT c.ssn FROM customers c JOIN orders o ON o.customer_id = c.id FOR UPDATE OF c",
    "SELECT ssn FROM customers FOR NO KEY UPDATE SKIP LOCKED",
    "SELECT ssn FROM customers FOR KEY SHARE NOWAIT",
    "SELECT ssn FROM customers FOR UPDATE OF customers",
    "SELECT ssn FROM public.customers FOR UPDATE OF customers",
    "LOCK TABLE customers IN SHARE MODE",
    "SELECT locktype, mode FROM pg_locks WHERE relation = 'customers'::regclass",
    "SELECT xmin = xmax, ssn FROM customers",
  ],
};

export const shadows: Family = {
  name: "temporary tables and search_path",
  cases: [
    { statements: ["CREATE TEMP TABLE customers (id int, ssn text)", "SELECT * FROM customers"] },
    { statements: ["CREATE TEMP TABLE t AS SELECT * FROM customers", "SELECT * FROM t"] },
    {
      statements: [
        "CREATE TEMP TABLE t AS SELECT ssn FROM customers WHERE ssn LIKE '9%'",
        "SELECT count(*) FROM t",
      ],
    },
    {
      statements: [
        "CREATE TABLE t (LIKE customers INCLUDING ALL)",
        "INSERT INTO t SELECT * FROM customers",
        "SELECT * FROM t",
      ],
    },
    {
      statements: [
        "CREATE TABLE t (LIKE customers)",
        "INSERT INTO t (id, ssn) SELECT id, ssn FROM customers",
        "SELECT id, ssn FROM t",
      ],
    },
    { statements: ["SELECT * INTO t FROM customers", "SELECT * FROM t"] },
    {
      statements: [
        "SELECT * INTO TEMP t FROM customers WHERE id IN (SELECT id FROM products)",
        "SELECT * FROM t",
      ],
    },
    {
      statements: [
        "SELECT ssn INTO TEMP t FROM customers UNION SELECT name FROM products",
        "SELECT count(*) FROM t",
      ],
    },
    { statements: ["CREATE TEMP VIEW v AS SELECT * FROM customers", "SELECT * FROM v"] },
    {
      statements: ["CREATE VIEW v AS SELECT id, name FROM customers", "SELECT * FROM v ORDER BY id LIMIT 3"],
    },
    { statements: ["CREATE VIEW v AS SELECT c FROM customers c", "SELECT * FROM v"] },
    { statements: ["CREATE MATERIALIZED VIEW v AS SELECT ssn FROM customers", "SELECT * FROM v"] },
    { statements: ["CREATE TABLE t () INHERITS (customers)", "SELECT * FROM t"] },
    {
      statements: [
        "CREATE TABLE t PARTITION OF payments FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
        "SELECT * FROM t",
      ],
    },
    {
      statements: [
        "CREATE TABLE t (a text REFERENCES customers (email))",
        "INSERT INTO t VALUES ('anna7919@example.com')",
      ],
    },
    {
      statements: [
        "CREATE TABLE t (a int REFERENCES customers)",
        "INSERT INTO t VALUES (1)",
        "SELECT * FROM t",
      ],
    },
    { statements: ["CREATE TEMP TABLE t (a int CHECK (leak(a) > '5'))", "INSERT INTO t VALUES (1)"] },
    {
      statements: [
        "CREATE TEMP TABLE t (a int, b text DEFAULT leak(1))",
        "INSERT INTO t (a) VALUES (1) RETURNING b",
      ],
    },
    {
      statements: [
        "CREATE TEMP TABLE t (a int, b text GENERATED ALWAYS AS (shout('x')) STORED)",
        "INSERT INTO t (a) VALUES (1) RETURNING b",
      ],
    },
    { statements: ["ALTER TABLE products RENAME TO customers2", "SELECT * FROM customers2"] },
    { statements: ["ALTER TABLE customers RENAME TO clients", "SELECT * FROM clients"] },
    { statements: ["ALTER TABLE customers RENAME ssn TO code", "SELECT code FROM customers"] },
    { statements: ["ALTER TABLE customers SET SCHEMA tenant", "SELECT * FROM tenant.customers"] },
    { statements: ["ALTER TABLE products RENAME TO customers", "SELECT * FROM customers LIMIT 1"] },
    { statements: ["SET search_path = tenant, public", "SELECT * FROM customers", "SELECT * FROM products"] },
    { statements: ["SET search_path = pg_temp, public, pg_catalog", "SELECT ssn FROM customers"] },
    { statements: ["SET search_path = ''", "SELECT * FROM customers"] },
    { statements: ["CREATE TABLE pg_stats (a int)", "SELECT * FROM pg_stats"] },
    { statements: ["CREATE TABLE public.pg_stats (a int)", "SELECT * FROM pg_stats"] },
    { statements: ["CREATE TEMP TABLE pg_class (relpages int)", "SELECT relpages FROM pg_class"] },
    { statements: ["CREATE SCHEMA s CREATE VIEW v AS SELECT * FROM public.customers", "SELECT * FROM s.v"] },
    { statements: ["CREATE SCHEMA s", "CREATE TABLE s.t AS SELECT ssn FROM customers", "SELECT * FROM s.t"] },
    { statements: ["CREATE TYPE pair AS (a int, b text)", "SELECT ROW(1, ssn)::pair FROM customers"] },
    { statements: ["CREATE DOMAIN d AS text CHECK (leak(1) IS NOT NULL)", "SELECT 'x'::d"] },
    { statements: ["CREATE SEQUENCE s", "SELECT nextval('s')", "SELECT last_value FROM s"] },
  ],
};

export const copies: Family = {
  name: "COPY",
  cases: [
    "COPY customers TO STDOUT",
    "COPY public.customers TO STDOUT",
    'COPY "customers" (ssn, "email") TO STDOUT',
    "COPY customers (id, ssn) TO STDOUT WITH (FORMAT csv, HEADER)",
    "COPY customers TO STDOUT WITH (FORMAT binary)",
    "COPY BINARY customers TO STDOUT",
    "COPY customers (id, name) TO STDOUT",
    "COPY customers TO STDOUT (FORMAT csv, FORCE_QUOTE (ssn))",
    "COPY (SELECT ssn FROM customers) TO STDOUT",
    "COPY (TABLE customers) TO STDOUT CSV",
    "COPY (SELECT id FROM customers WHERE ssn LIKE '9%') TO STDOUT",
    "COPY (WITH x AS (SELECT * FROM customers) SELECT ssn FROM x) TO STDOUT",
    "COPY (UPDATE customers SET balance = 0 WHERE id < 5 RETURNING ssn) TO STDOUT",
    "COPY payments TO STDOUT",
    "COPY payments_2025 TO STDOUT",
    "COPY everything TO STDOUT",
    "COPY people TO STDOUT",
    "COPY vault TO STDOUT (FORMAT binary)",
    "COPY vault TO STDOUT CSV HEADER",
    "COPY customer_cache TO STDOUT",
    "COPY pg_statistic TO STDOUT",
    "COPY pg_class (relname, relpages) TO STDOUT",
    "COPY customers TO PROGRAM 'cat'",
    "COPY orders (id, customer_email) TO STDOUT",
    { statements: ["COPY customers (name, ssn, city) FROM STDIN"], copyData: "x\t123\tRome\n" },
    { statements: ["COPY customers (id, name, ssn, city) FROM STDIN"], copyData: "1\tx\t123\tRome\n" },
    { statements: ["COPY customers (name, ssn, city) FROM STDIN WHERE ssn > '5'"], copyData: "x\t1\tRome\n" },
    { statements: ["COPY customers (name, ssn, city) FROM STDIN"], copyData: "x\t\\N\tRome\n" },
    { statements: ["COPY customers (id, name) FROM STDIN"], copyData: "not a number\tx\n" },
    {
      statements: ["CREATE TEMP TABLE t (a text)", "COPY t FROM STDIN", "SELECT * FROM t"],
      copyData: "a\nb\n",
    },
  ],
};

export const explains: Family = {
  name: "EXPLAIN",
  cases: [
    "EXPLAIN SELECT * FROM customers",
    "EXPLAIN SELECT * FROM customers WHERE ssn LIKE '9%'",
    "EXPLAIN SELECT * FROM customers WHERE ssn = '111-22-3333'",
    "EXPLAIN SELECT ssn FROM customers GROUP BY ssn",
    "EXPLAIN SELECT card_number, count(*) FROM customers GROUP BY card_number",
    "EXPLAIN SELECT * FROM customers WHERE card_number > '5'",
    "EXPLAIN VERBOSE SELECT * FROM customers",
    "EXPLAIN ANALYZE SELECT * FROM customers",
    "EXPLAIN ANALYZE VERBOSE SELECT ssn FROM customers",
    "EXPLAIN (ANALYZE, TIMING OFF, SUMMARY OFF) SELECT * FROM customers WHERE ssn > '5'",
    "EXPLAIN (COSTS ON) SELECT * FROM customers",
    "EXPLAIN (FORMAT json) SELECT * FROM customers WHERE email = 'x'",
    "EXPLAIN (FORMAT xml, VERBOSE) SELECT * FROM customers",
    "EXPLAIN (FORMAT yaml, SETTINGS) SELECT * FROM customers JOIN orders ON true",
    "EXPLAIN (GENERIC_PLAN) SELECT * FROM customers WHERE id = $1",
    "EXPLAIN (MEMORY) SELECT * FROM customers",
    "EXPLAIN (ANALYZE, WAL) UPDATE customers SET balance = 1",
    "EXPLAIN UPDATE customers SET balance = 1 WHERE id = 3",
    "EXPLAIN UPDATE customers SET balance = 1 WHERE ssn LIKE '9%'",
    "EXPLAIN DELETE FROM customers WHERE id = 5",
    "EXPLAIN SELECT id, name FROM customers WHERE id = 5",
    "EXPLAIN SELECT count(*) FROM customers",
    "EXPLAIN SELECT * FROM customers a JOIN customers b ON a.ssn = b.ssn",
    "EXPLAIN SELECT * FROM payments WHERE card = '4111'",
    "EXPLAIN SELECT * FROM customer_overview",
    "EXPLAIN SELECT * FROM prefixed",
    "EXPLAIN CREATE TEMP TABLE t AS SELECT * FROM customers",
    "EXPLAIN DECLARE c CURSOR FOR SELECT * FROM customers WHERE ssn > '5'",
    "EXPLAIN SELECT * FROM orders WHERE customer_email = 'x'",
    "EXPLAIN SELECT * FROM products",
    "EXPLAIN SELECT * FROM pg_statistic",
    "EXPLAIN SELECT leak(1)",
    "/* first */ EXPLAIN /* second */ SELECT ssn FROM customers",
  ],
};
