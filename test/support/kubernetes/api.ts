/** The few requests that setting up a cluster takes. */
import { Agent, fetch } from "undici";

export type Api = {
  /** Whether it answers 200 at `path`. */
  isReady(path: string): Promise<boolean>;
  /** Fails when the server refuses. */
  create(path: string, object: unknown): Promise<void>;
  /** A merge patch. Fails when the server refuses. */
  patch(path: string, patch: unknown): Promise<void>;
  /** In the order of the calls, without waiting; what has gone away in the meantime does not matter. */
  send(method: "POST" | "PATCH" | "DELETE", path: string, body: unknown): void;
  /** Calls `listener` with every event from now on, those of what is there first, until told to stop. */
  watch(path: string, listener: (type: string, object: unknown) => void): () => void;
  close(): Promise<void>;
};

export function apiClient(url: string, ca: string, token: string): Api {
  const agent = new Agent({ connect: { ca }, bodyTimeout: 0, headersTimeout: 0 });
  const stopped = new AbortController();
  let queue: Promise<unknown> = Promise.resolve();
  const ask = (method: string, path: string, body?: unknown): ReturnType<typeof fetch> => {
    const type = method === "PATCH" ? "application/merge-patch+json" : "application/json";
    return fetch(`${url}${path}`, {
      method,
      dispatcher: agent,
      signal: stopped.signal,
      headers: { authorization: `Bearer ${token}`, "content-type": type },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  };
  const insist = async (method: string, path: string, body: unknown): Promise<void> => {
    const answer = await ask(method, path, body);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${text}`);
  };
  return {
    isReady: async (path) => (await ask("GET", path)).ok,
    create: (path, object) => insist("POST", path, object),
    patch: (path, patch) => insist("PATCH", path, patch),
    send: (method, path, body) => {
      queue = queue.then(() => insist(method, path, body)).catch(() => undefined);
    },
    watch: (path, listener) => {
      const watching = new AbortController();
      void readEvents(ask("GET", `${path}?watch=true`), watching.signal, listener).catch(() => undefined);
      return () => watching.abort();
    },
    close: async () => {
      stopped.abort();
      await queue;
      await agent.destroy();
    },
  };
}

async function readEvents(
  asked: ReturnType<typeof fetch>,
  signal: AbortSignal,
  listener: (type: string, object: unknown) => void,
): Promise<void> {
  const { body } = await asked;
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of body ?? []) {
    if (signal.aborted) return;
    const lines = (rest + decoder.decode(chunk as Uint8Array, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      if (line === "") continue;
      const { type, object } = JSON.parse(line) as { type: string; object: unknown };
      listener(type, object);
    }
  }
}
