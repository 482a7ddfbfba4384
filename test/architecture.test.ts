/**
 * The direction of imports (DESIGN section 3) and the purity of the core. Each rule carries its reason, which is
 * what a failing build says; each rule is also shown to fail on a source that breaks it.
 */
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { type Scan, scanSource } from "./support/source-scan.ts";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "..");
const FOLDERS = ["wire", "worker", "connectors", "scripts", "test"];

/** A file, its scan, and its imports as paths from the root (`wire/result.ts`) or bare names (`node:fs`, `hono`). */
type Module = { readonly path: string; readonly scan: Scan; readonly imports: readonly string[] };

type Rule = {
  readonly name: string;
  readonly reason: string;
  /** What is wrong with this module, or nothing. */
  readonly broken: (module: Module) => readonly string[];
  /** A source at a path that breaks the rule, and one that keeps it. */
  readonly bad: readonly (readonly [path: string, source: string])[];
  readonly good: readonly (readonly [path: string, source: string])[];
};

const within = (path: string, ...folders: string[]): boolean =>
  folders.some((folder) => path.startsWith(`${folder}/`));
const isOurs = (path: string): boolean => within(path, ...FOLDERS);
const isPure = (path: string): boolean => within(path, "wire", "worker/policy");

function importsOutside(folder: string, allowed: (imported: string) => boolean): Rule["broken"] {
  return ({ path, imports }) => {
    if (!path.startsWith(folder)) return [];
    return imports
      .filter((imported) => isOurs(imported) && !allowed(imported))
      .map((imported) => `imports ${imported}`);
  };
}

/** Files of `wire` that know bytes only, and those that know the conversation. */
const CODEC =
  /\/(messages|reader|framer|encoder|decoder|[a-z-]+-decoder|startup|sftp|bytes|tunnel|base64|output-frame)\.ts$/;
const MACHINE = /\/(machine|channel|[a-z]+-machine|state|server-side|client-side)(?!-types)(-[a-z-]+)?\.ts$/;

const IMPURE_GLOBALS = new Set([
  "console",
  "process",
  "performance",
  "crypto",
  "fetch",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "globalThis",
  "Date.now",
  "Date()",
  "new Date()",
  "Math.random",
]);

const RULES: readonly Rule[] = [
  {
    name: "wire imports nothing of ours but wire",
    reason: "codecs and machines are shared by the gateway and the connectors, so they can know neither",
    broken: importsOutside("wire/", (imported) => within(imported, "wire")),
    bad: [
      ["wire/ssh/packet.ts", 'import type { Grant } from "../../worker/policy/types.ts";'],
      ["wire/a.ts", 'export * from "../connectors/lib/a.ts";'],
    ],
    good: [["wire/ssh/packet.ts", 'import { err } from "../result.ts"; import { z } from "zod";']],
  },
  {
    name: "worker/policy imports only wire and itself",
    reason: "policy is a pure function of facts; whoever decides must not reach what executes",
    broken: importsOutside("worker/policy/", (imported) => within(imported, "wire", "worker/policy")),
    bad: [["worker/policy/decide.ts", 'const x = await import("../objects/session/object.ts");']],
    good: [["worker/policy/decide.ts", 'import { ok } from "../../wire/result.ts"; import "./types.ts";']],
  },
  {
    name: "worker/identity imports only wire, itself and the nouns of policy",
    reason: "who somebody is must not depend on what is stored or routed",
    broken: importsOutside(
      "worker/identity/",
      (imported) =>
        within(imported, "wire", "worker/identity") || /^worker\/policy\/[a-z-]+\.ts$/.test(imported),
    ),
    bad: [["worker/identity/login.ts", 'import { controlOf } from "../env.ts";']],
    good: [["worker/identity/login.ts", 'import type { Principal } from "../policy/types.ts";']],
  },
  {
    name: "worker/config imports only wire, policy, identity and itself",
    reason: "a configuration is checked the same way before it is stored, in a dry run and in a test",
    broken: importsOutside("worker/config/", (imported) =>
      within(imported, "wire", "worker/policy", "worker/identity", "worker/config"),
    ),
    bad: [["worker/config/parse.ts", 'import "../objects/control/object.ts";']],
    good: [["worker/config/parse.ts", 'import type { Issuer } from "../identity/issuer.ts";']],
  },
  {
    name: "worker/objects and worker/store do not import routes or the entry",
    reason: "imports run one way: routes call objects",
    broken: ({ path, imports }) =>
      within(path, "worker/objects", "worker/store")
        ? imports
            .filter(
              (imported) =>
                within(imported, "worker/routes", "connectors", "scripts") || imported === "worker/index.ts",
            )
            .map((imported) => `imports ${imported}`)
        : [],
    bad: [["worker/objects/session/object.ts", 'import { answer } from "../../routes/errors.ts";']],
    good: [["worker/objects/session/object.ts", 'import { sessionOf } from "../../env.ts";']],
  },
  {
    name: "nothing imports worker/index.ts",
    reason:
      "the entry holds the default fetch and the exports of the objects, nothing that others could need",
    broken: ({ imports }) => (imports.includes("worker/index.ts") ? ["imports worker/index.ts"] : []),
    bad: [["worker/routes/api.ts", 'import app from "../index.ts";']],
    good: [["worker/routes/api.ts", 'import app from "./index.ts";']],
  },
  {
    name: "the worker does not import connectors or scripts",
    reason: "what runs at the edge must not depend on what runs beside a database",
    broken: ({ path, imports }) =>
      within(path, "worker")
        ? imports
            .filter((imported) => within(imported, "connectors", "scripts"))
            .map((imported) => `imports ${imported}`)
        : [],
    bad: [["worker/routes/api.ts", 'import { dial } from "../../connectors/lib/dial.ts";']],
    good: [["worker/routes/api.ts", 'import { PATHS } from "../../wire/control.ts";']],
  },
  {
    name: "connectors import only wire and connectors",
    reason: "a connector or a client on somebody's machine carries none of the gateway's code",
    broken: importsOutside("connectors/", (imported) => within(imported, "wire", "connectors")),
    bad: [["connectors/agent/main.ts", 'import type { Grant } from "../../worker/policy/types.ts";']],
    good: [
      [
        "connectors/agent/main.ts",
        'import { PATHS } from "../../wire/control.ts"; import "../lib/credentials.ts";',
      ],
    ],
  },
  {
    name: "agent and cli never import each other",
    reason: "the command is in the client's hands, the connector holds the credentials",
    broken: ({ path, imports }) => {
      const other = within(path, "connectors/agent")
        ? "connectors/cli"
        : within(path, "connectors/cli")
          ? "connectors/agent"
          : undefined;
      return other === undefined
        ? []
        : imports.filter((imported) => within(imported, other)).map((imported) => `imports ${imported}`);
    },
    bad: [
      ["connectors/cli/psql.ts", 'import { scram } from "../agent/postgres/scram.ts";'],
      ["connectors/agent/main.ts", 'import type { Context } from "../cli/context.ts";'],
    ],
    good: [["connectors/cli/psql.ts", 'import { openWebSocket } from "../lib/web-socket.ts";']],
  },
  {
    name: "connectors/lib imports neither agent nor cli",
    reason: "a library that knows its users joins them through the back door",
    broken: ({ path, imports }) =>
      within(path, "connectors/lib")
        ? imports
            .filter((imported) => within(imported, "connectors/agent", "connectors/cli"))
            .map((imported) => `imports ${imported}`)
        : [],
    bad: [["connectors/lib/a.ts", 'import "../cli/main.ts";']],
    good: [["connectors/lib/a.ts", 'import "./web-socket.ts";']],
  },
  {
    name: "wire and worker/policy are free of the platform",
    reason: "the same code runs in workerd and in Node, and is tested without either",
    broken: ({ path, imports }) =>
      isPure(path)
        ? imports
            .filter((imported) => /^(node:|cloudflare:|hono(\/|$))/.test(imported))
            .map((imported) => `imports ${imported}`)
        : [],
    bad: [
      ["wire/a.ts", 'import { Buffer } from "node:buffer";'],
      ["worker/policy/a.ts", 'type T = import("cloudflare:workers").WorkerEntrypoint;'],
      ["worker/policy/b.ts", 'export { Hono } from "hono/tiny";'],
    ],
    good: [["worker/index.ts", 'import { Hono } from "hono";']],
  },
  {
    name: "wire and worker/policy use no clock, randomness, network or console",
    reason: "machines are pure: time and randomness are arguments, and a log line could hold a frame",
    broken: ({ path, scan }) =>
      isPure(path)
        ? scan.globals.filter((name) => IMPURE_GLOBALS.has(name)).map((name) => `uses ${name}`)
        : [],
    bad: [
      ["wire/a.ts", "const now = Date.now();"],
      ["wire/b.ts", "export const f = () => new Date();"],
      ["wire/c.ts", "const r = Math.random();"],
      ["worker/policy/d.ts", 'console.log("x");'],
      ["worker/policy/e.ts", 'const r = Math["random"]();'],
      ["worker/policy/f.ts", "const k = crypto.getRandomValues(new Uint8Array(1));"],
      ["wire/g.ts", "globalThis.setTimeout(() => {}, 1);"],
    ],
    good: [
      ["wire/a.ts", "export const f = (now: number) => new Date(now).toISOString();"],
      ["wire/b.ts", "export type E = { console: string; process: string }; const e = { fetch: 1 };"],
      ["worker/log.ts", 'console.log("x");'],
    ],
  },
  {
    name: "a codec does not import a state machine",
    reason: "bytes can be read without knowing the conversation, and are tested so",
    broken: ({ path, imports }) => {
      if (!within(path, "wire") || !CODEC.test(path)) return [];
      return imports
        .filter((imported) => within(imported, "wire") && MACHINE.test(imported))
        .map((imported) => `imports ${imported}`);
    },
    bad: [
      ["wire/postgres/backend-decoder.ts", 'import { step } from "./machine.ts";'],
      ["wire/ssh/messages.ts", 'import { openChannel } from "./channel-requests.ts";'],
    ],
    good: [
      ["wire/postgres/server-side.ts", 'import { step } from "./machine.ts"; import "./backend-decoder.ts";'],
      ["wire/ssh/messages.ts", 'import { Reader } from "./reader.ts";'],
    ],
  },
  {
    name: "the worker does not read process",
    reason: "worker/env.ts is the only reader of what the deployment gives us",
    broken: ({ path, scan }) =>
      within(path, "worker") && scan.globals.includes("process") ? ["uses process"] : [],
    bad: [["worker/routes/a.ts", 'const x = process.env["SECRET"];']],
    good: [["worker/routes/a.ts", "const x = { process: 1 }.process;"]],
  },
  {
    name: "only tests import test",
    reason: "what ships must not depend on what checks it",
    broken: ({ path, imports }) =>
      within(path, "test")
        ? []
        : imports.filter((imported) => within(imported, "test")).map((imported) => `imports ${imported}`),
    bad: [["scripts/bench/main.ts", 'import { startStack } from "../../test/support/stack.ts";']],
    good: [["test/a.test.ts", 'import { startStack } from "./support/stack.ts";']],
  },
  {
    name: "nothing loads a module whose name it computes",
    reason: "an import that cannot be read here could be any of the above",
    broken: ({ path, scan }) =>
      scan.opaque > 0 && within(path, "wire", "worker", "connectors") ? ["imports something computed"] : [],
    bad: [["connectors/agent/main.ts", "const x = await import(process.argv[2]);"]],
    good: [["connectors/agent/main.ts", 'const x = await import("./postgres/connect.ts");']],
  },
];

function toModule(path: string, source: string): Module {
  const scan = scanSource(source);
  const imports = scan.imports.map((specifier) =>
    specifier.startsWith(".") ? posix.normalize(posix.join(posix.dirname(path), specifier)) : specifier,
  );
  return { path, scan, imports };
}

function modulesOfTheTree(): Module[] {
  return FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.name.endsWith(".d.ts"))
      .map((entry) => join(entry.parentPath, entry.name))
      .filter((file) => !file.includes("node_modules"))
      .map((file) => toModule(relative(ROOT, file), readFileSync(file, "utf8"))),
  );
}

describe("the architecture", () => {
  const modules = modulesOfTheTree();

  it("reads the whole tree", () => {
    expect(modules.length).toBeGreaterThan(50);
    expect(modules.some(({ path }) => path === "wire/result.ts")).toBe(true);
  });

  for (const rule of RULES) {
    it(rule.name, () => {
      const findings = modules.flatMap((module) =>
        rule.broken(module).map((what) => `${module.path} ${what}`),
      );
      expect(findings, `${rule.name}: ${rule.reason}`).toEqual([]);
    });
  }
});

describe("each rule of the architecture", () => {
  for (const rule of RULES) {
    for (const [path, source] of rule.bad) {
      it(`"${rule.name}" fails on ${path}: ${source}`, () => {
        expect(rule.broken(toModule(path, source))).not.toEqual([]);
      });
    }
    for (const [path, source] of rule.good) {
      it(`"${rule.name}" holds for ${path}: ${source}`, () => {
        expect(rule.broken(toModule(path, source))).toEqual([]);
      });
    }
  }
});
