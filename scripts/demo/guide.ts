/** What the demo prints when it is ready. */
import { spawnSync } from "node:child_process";

export type Guide = { readonly gateway: string; readonly directory: string };

/** Text for the terminal; every indented line can be copied as it stands. */
export function guide({ gateway, directory }: Guide): string {
  const as = (user: string): string => `--token-file ${directory}/tokens/${user}.jwt`;
  const psql = (user: string, sql: string): string => `bin/sally psql shop-db ${as(user)} -- -c "${sql}"`;
  const lines = [
    `Sallyport is running at ${gateway}`,
    `Ctrl-C stops it; what it knows stays in ${directory}/. In another terminal, in this directory:`,
    "",
    `  . ${directory}/env`,
    "",
    "An engineer works as usual and sees masks where the data is personal; a database administrator sees it all:",
    "",
    `  ${psql("engineer", "select id, name, email, card_number, ssn from customers order by id limit 3")}`,
    `  ${psql("reviewer-a", "select id, name, email, card_number, ssn from customers order by id limit 3")}`,
    "",
    "What policy forbids is an error that says why, and the session goes on:",
    "",
    `  ${psql("engineer", "drop table customers")}`,
    "",
    "A delete waits until somebody of the group dba has looked at it. It prints the approval's id:",
    "",
    `  ${psql("engineer", "delete from orders where id = 1")}`,
    `  bin/sally approvals ls ${as("reviewer-a")}`,
    `  bin/sally approvals approve ID ${as("reviewer-a")}`,
    "",
    "An AI agent does not wait: exit code 4 and the id; the same command passes once when it has been approved:",
    "",
    `  bin/sally psql shop-db --no-wait ${as("agent")} -- -c "update orders set status = 'shipped' where id = 2"`,
    "",
    "A server, the same way: looking around is free for engineers, the rest is held, and agents have three commands:",
    "",
    `  bin/sally ssh web-1 ${as("engineer")} -- uptime`,
    `  bin/sally ssh web-1 ${as("engineer")} -- touch /tmp/looked-at`,
    `  bin/sally ssh web-1 ${as("agent")} -- 'uptime; id'`,
    `  bin/sally ssh web-1 ${as("reviewer-a")}`,
    "",
    "An HTTP service: with a local port for any client, and in a browser, which logs in by itself:",
    "",
    `  bin/sally http orders-api ${as("engineer")} -- sh -c 'curl -s $ORDERS_API_URL/customers'`,
    `  http://orders-api.localhost:${new URL(gateway).port}/customers`,
    "",
    "A cluster: secrets are masked, a program in a pod is held, and agents may look at pods and logs only:",
    "",
    `  bin/sally kubectl prod ${as("engineer")} -- get secrets -n shop -o yaml`,
    `  bin/sally kubectl prod ${as("engineer")} -- exec -n shop deploy/orders-api -- id`,
    `  bin/sally kubectl prod ${as("agent")} -- get pods -A`,
    "",
    "Everything is on record, and the record can be checked. In a browser, as reviewer-a: what waits, what happened:",
    "",
    `  bin/sally sessions ls ${as("reviewer-a")}`,
    `  ${gateway}/console`,
    "",
    "Log in as one of the users yourself (opens a browser), or connect any client:",
    "",
    "  bin/sally login",
    "  bin/sally connect shop-db --port 5433",
  ];
  if (spawnSync("psql", ["--version"]).status !== 0) {
    lines.push(
      "",
      "psql is not installed here: use `sally connect` with a client of your choice, or install psql.",
    );
  }
  if (spawnSync("kubectl", ["version", "--client"]).status !== 0) {
    lines.push("", "kubectl is not installed here: install it for the lines about the cluster.");
  }
  return lines.join("\n");
}
