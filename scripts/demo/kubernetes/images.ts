/** What the images of the demo do when nothing tells them what to run: lines of a log and what listens on ports. */

export type Image = {
  /** A program to run; without it the image is played. */
  readonly command?: readonly string[];
  /** What a connection to one of its ports meets. */
  readonly listens: "http" | "echo";
  readonly startLines: readonly string[];
  /** The nth line of its log. */
  readonly line: (n: number) => string;
  readonly everyMs: number;
  /** In the container, by path. */
  readonly files: Readonly<Record<string, string>>;
};

const EMAILS = ["amelia.hart@example.com", "jonas.berg@example.org", "mina@example.net"];

const QUIET: Image = {
  listens: "http",
  startLines: ["started"],
  line: () => "still here",
  everyMs: 30_000,
  files: {},
};

const IMAGES: Readonly<Record<string, Partial<Image>>> = {
  "orders-api": {
    startLines: ["orders-api 4.2.1 listening on :8080", "connected to shop-db.internal:5432 as orders_rw"],
    line: (n) =>
      n % 5 === 0
        ? `level=warn msg="slow query" ms=${180 + (n % 40)} customer=${EMAILS[n % EMAILS.length]}`
        : `level=info method=GET path=/orders/${1 + (n % 6)} status=200 ms=${3 + (n % 9)}`,
    everyMs: 2000,
    files: { "app/config.yaml": "database: shop-db.internal:5432\nlogLevel: info\n" },
  },
  storefront: {
    startLines: ["storefront ready on :3000"],
    line: (n) => `GET /products/${1 + (n % 20)} 200 ${5 + (n % 12)} ms`,
    everyMs: 3000,
    files: { "app/package.json": '{ "name": "storefront", "version": "2.0.3" }\n' },
  },
  "payments-api": {
    startLines: ["payments-api listening on :8443"],
    line: (n) =>
      n % 4 === 0
        ? `charge declined card=4556737586899855 order=${1 + (n % 6)}`
        : `charge ok order=${1 + (n % 6)} amount=${1250 * (1 + (n % 6))}`,
    everyMs: 4000,
    files: { "app/config.yaml": "provider: acquirer.internal\n" },
  },
  worker: {
    startLines: ["worker polling queue payments"],
    line: (n) => `settled batch ${n}`,
    everyMs: 10_000,
  },
  echo: { listens: "echo", startLines: ["echo listening"] },
  // Like the images of those names: a shell, which ends when nothing is typed into it.
  busybox: { command: ["sh"] },
  alpine: { command: ["sh"] },
  debian: { command: ["bash"] },
};

/** By the last part of a reference: `registry.example/shop/orders-api:4.2.1` is `orders-api`. */
export function imageNamed(reference: string): Image {
  const name = reference.replace(/@.*$/, "").split("/").at(-1)?.replace(/:.*$/, "") ?? "";
  return { ...QUIET, ...(Object.hasOwn(IMAGES, name) ? IMAGES[name] : {}) };
}
