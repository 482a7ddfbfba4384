/** What a client may know of an upstream that could not be opened: which step, and no address, user or secret. */
import type { CloseReason } from "../lib/tunnel-socket.ts";

/**
 * The steps that every protocol begins with: taking the credential, reaching the server.
 * @param server what it is to whoever reads it: `the database`, `the server`
 */
export function openFailure(step: "credential" | "network", resource: string, server: string): CloseReason {
  switch (step) {
    case "credential":
      return {
        code: "upstream_login_failed",
        message: `the connector has no usable credential for ${resource}`,
      };
    case "network":
      return {
        code: "upstream_unreachable",
        message: `the connector cannot reach ${server} of ${resource}`,
      };
  }
}
