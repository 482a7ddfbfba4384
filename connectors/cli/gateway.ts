/** Which gateway a command speaks to. */
import { EXIT } from "../../wire/refusals.ts";
import { type Result, ok } from "../../wire/result.ts";
import type { Context } from "./context.ts";
import { type Failure, fail, usage } from "./failure.ts";
import { readDefaultGateway } from "./store.ts";

/** `--gateway`, else SALLY_GATEWAY, else the stored default; as an origin without a slash at its end. */
export async function resolveGateway(context: Context): Promise<Result<string, Failure>> {
  const given =
    context.gateway ??
    context.environment["SALLY_GATEWAY"] ??
    (await readDefaultGateway(context.environment));
  if (given === undefined || given === "") {
    return fail(EXIT.usage, "no gateway is known", {
      hint: "name it once with: sally login --gateway https://… (or set SALLY_GATEWAY)",
    });
  }
  return normaliseGateway(given);
}

/**
 * Checks an address of a gateway. Identity tokens travel to it, so plain http is for this machine only.
 */
export function normaliseGateway(given: string): Result<string, Failure> {
  const url = URL.canParse(given) ? new URL(given) : undefined;
  if (url === undefined || (url.protocol !== "https:" && url.protocol !== "http:")) {
    return usage(`the gateway's address ${given} is not a URL`, "it looks like https://sally.example.com");
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return usage("the gateway's address must not hold a user name, a query or a fragment");
  }
  if (url.protocol === "http:" && !isLoopback(url.hostname)) {
    return usage(
      `the gateway's address ${given} is not https`,
      "plain http is for a gateway on this machine only",
    );
  }
  return ok(url.origin + url.pathname.replace(/\/+$/, ""));
}

export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || /^127(\.\d{1,3}){3}$/.test(hostname);
}
