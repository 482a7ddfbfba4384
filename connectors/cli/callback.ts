/**
 * The browser's way back to `sally` (RFC 8252 section 7.3): a port of 127.0.0.1 that waits for the one redirect
 * that carries our state.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { type IncomingMessage, type ServerResponse, createServer } from "node:http";
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import { type Failure, fail } from "./failure.ts";

export type CallbackOptions = {
  readonly state: string;
  /** Who answers, where the answer says it (RFC 9207), and whether it has to. */
  readonly issuer: string;
  readonly mustNameIssuer: boolean;
  /** Milliseconds until the user must be done. */
  readonly patience: number;
};

type Callback = { readonly redirectUri: string; readonly code: Promise<Result<string, Failure>> };

/**
 * Listens on a free port of 127.0.0.1 for the one redirect that carries our state. Other requests (a favicon,
 * another program's guess) are answered and change nothing.
 */
export async function openCallback(options: CallbackOptions): Promise<Result<Callback, Failure>> {
  let settle: (result: Result<string, Failure>) => void = () => undefined;
  const code = new Promise<Result<string, Failure>>((resolve) => (settle = resolve));
  const server = createServer((incoming, response) => {
    const result = readCallback(incoming, options);
    if (result === undefined)
      return answerPage(response, 400, "This is not the sign-in that sally waits for.");
    answerPage(
      response,
      result.ok ? 200 : 400,
      result.ok
        ? "You are signed in. You can close this page and go back to your terminal."
        : "The sign-in failed. Your terminal says why.",
    );
    settle(result);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(0, "127.0.0.1", resolve);
    });
  } catch {
    return fail(EXIT.failed, "cannot listen on 127.0.0.1 for the browser's answer");
  }
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const timer = setTimeout(
    () =>
      settle(
        fail(EXIT.unauthenticated, "nobody signed in in time", { hint: "start again with: sally login" }),
      ),
    options.patience,
  );
  void code.then(() => {
    clearTimeout(timer);
    server.close();
    // The browser keeps its connection open; the page it asked for has been written by then.
    setTimeout(() => server.closeAllConnections(), 500).unref();
  });
  return ok({ redirectUri: `http://127.0.0.1:${port}/callback`, code });
}

/** The code or the error in the redirect; undefined when this is not the answer to our request. */
function readCallback(
  incoming: IncomingMessage,
  { state, issuer: expected, mustNameIssuer }: CallbackOptions,
): Result<string, Failure> | undefined {
  if (incoming.method !== "GET" || incoming.url === undefined) return undefined;
  if (!URL.canParse(incoming.url, "http://127.0.0.1")) return undefined;
  const url = new URL(incoming.url, "http://127.0.0.1");
  if (url.pathname !== "/callback" || !sameText(url.searchParams.get("state") ?? "", state)) return undefined;
  const issuer = url.searchParams.get("iss");
  if (issuer === null ? mustNameIssuer : issuer !== expected) {
    return fail(EXIT.unauthenticated, "the browser's answer came from another issuer than the one asked");
  }
  const error = url.searchParams.get("error");
  if (error !== null) {
    return fail(
      EXIT.unauthenticated,
      `the issuer refused: ${url.searchParams.get("error_description") ?? error}`,
    );
  }
  const code = url.searchParams.get("code");
  return code === null ? fail(EXIT.unauthenticated, "the issuer's answer has no code") : ok(code);
}

export function sameText(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function answerPage(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": "default-src 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    connection: "close",
  });
  response.end(
    `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sallyport</title><p>${text}</p></html>\n`,
  );
}
