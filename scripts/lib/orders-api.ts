/**
 * A small HTTP service for the demo's `orders-api`: orders and customers in memory, with fields worth masking, a
 * refund, a dangerous DELETE and a stream of events. It insists on an API key, which only the connector has.
 */
import { randomBytes, timingSafeEqual } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import type { AddressInfo } from "node:net";

export type OrdersApi = {
  readonly port: number;
  /** File with the API key. */
  readonly keyFile: string;
  stop(): Promise<void>;
};

type Order = { id: number; status: string; total: number; customer: (typeof CUSTOMERS)[number] };

const CUSTOMERS = [
  {
    id: 1,
    name: "Amelia Hart",
    email: "amelia.hart@example.com",
    ssn: "943-25-8431",
    card_number: "4556737586899855",
  },
  {
    id: 2,
    name: "Jonas Berg",
    email: "jonas.berg@example.org",
    ssn: "912-65-0247",
    card_number: "5425233430109903",
  },
  {
    id: 3,
    name: "Mina Okafor",
    email: "mina@example.net",
    ssn: "978-33-1109",
    card_number: "2223000048410010",
  },
] as const;

/** What a visitor of the bare address is told. */
const PATHS = ["/orders", "/orders/{id}", "/orders/{id}/refund", "/customers", "/customers/{id}", "/events"];

/** The largest body that it takes. */
const MAX_BODY = 1 << 20;

/** Starts the service on a free port of the loopback interface and writes its API key to `keyFile`. */
export async function startOrdersApi(keyFile: string): Promise<OrdersApi> {
  const key = randomBytes(24).toString("base64url");
  await writeFile(keyFile, key, { mode: 0o600 });
  const orders = new Map<number, Order>();
  for (let id = 1; id <= 6; id++) {
    const customer = CUSTOMERS[id % CUSTOMERS.length] ?? CUSTOMERS[0];
    orders.set(id, { id, status: id % 2 === 0 ? "open" : "shipped", total: 1250 * id, customer });
  }
  const server = createServer((request, response) => {
    const given = Buffer.from(String(request.headers["x-api-key"] ?? ""));
    if (given.length !== key.length || !timingSafeEqual(given, Buffer.from(key)))
      return send(response, 401, { error: "the API key is missing or wrong" });
    void answer(request, response, orders);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    keyFile,
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  orders: Map<number, Order>,
): Promise<void> {
  const { pathname } = new URL(request.url ?? "/", "http://orders");
  const [, kind, number, what] = pathname.split("/");
  const { method } = request;
  const body = await readJson(request);
  if (body === undefined) return send(response, 400, { error: "the body is not JSON" });
  if (kind === "events" && method === "GET") return stream(response, orders);
  if (kind === "" && method === "GET") return send(response, 200, { paths: PATHS });
  if (kind === "customers" && method === "GET" && what === undefined) {
    if (number === undefined) return send(response, 200, CUSTOMERS);
    const customer = CUSTOMERS.find(({ id }) => id === Number(number));
    return customer === undefined
      ? send(response, 404, { error: `there is no customer ${Number(number)}` })
      : send(response, 200, customer);
  }
  if (kind !== "orders") return send(response, 404, { error: "there is nothing here" });
  if (number === undefined) {
    if (method === "GET") return send(response, 200, [...orders.values()]);
    if (method !== "POST") return send(response, 405, { error: "not here" });
    const id = Math.max(0, ...orders.keys()) + 1;
    orders.set(id, { id, status: "open", total: Number(body["total"] ?? 0), customer: CUSTOMERS[0] });
    return send(response, 201, orders.get(id), { location: `/orders/${id}` });
  }
  const order = orders.get(Number(number));
  if (order === undefined) return send(response, 404, { error: `there is no order ${Number(number)}` });
  if (what === "refund" && method === "POST") {
    order.status = "refunded";
    return send(response, 200, { refunded: Number(body["amount"] ?? order.total), order });
  }
  if (what !== undefined) return send(response, 404, { error: "there is nothing here" });
  if (method === "GET" || method === "HEAD") return send(response, 200, order, { etag: `"${order.status}"` });
  if (method === "PATCH") {
    if (typeof body["status"] === "string") order.status = body["status"];
    return send(response, 200, order);
  }
  if (method !== "DELETE") return send(response, 405, { error: "not here" });
  orders.delete(order.id);
  response.writeHead(204).end();
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown> | undefined> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    length += (chunk as Buffer).length;
    if (length > MAX_BODY) return undefined;
    chunks.push(chunk as Buffer);
  }
  try {
    const value: unknown = length === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString("utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** One event a second, each with an order. */
function stream(response: ServerResponse, orders: Map<number, Order>): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  let at = 0;
  const tick = (): void => {
    const all = [...orders.values()];
    response.write(`id: ${++at}\nevent: order\ndata: ${JSON.stringify(all[at % all.length])}\n\n`);
  };
  tick();
  const timer = setInterval(tick, 1000);
  response.on("close", () => clearInterval(timer));
}

function send(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers });
  response.end(`${JSON.stringify(body)}\n`);
}
