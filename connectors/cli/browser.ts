/** Opening the user's browser, where there is one. */
import { spawn } from "node:child_process";
import type { Environment } from "./context.ts";

/**
 * Tries xdg-open (or open, or rundll32) with an http(s) address and does not wait. Without a display nothing
 * is tried: a text browser in the terminal would be in the way.
 */
export function openBrowser(address: string, environment: Environment): void {
  if (!/^https?:\/\//.test(address)) return;
  const opener = openerFor(environment);
  if (opener === undefined) return;
  const [program, ...words] = opener;
  const child = spawn(program, [...words, address], { stdio: "ignore", detached: true });
  // The address is on the terminal in any case.
  child.once("error", () => undefined);
  child.unref();
}

function openerFor(environment: Environment): [string, ...string[]] | undefined {
  if (process.platform === "darwin") return ["open"];
  if (process.platform === "win32") return ["rundll32", "url.dll,FileProtocolHandler"];
  const display = environment["DISPLAY"] ?? environment["WAYLAND_DISPLAY"];
  return display === undefined || display === "" ? undefined : ["xdg-open"];
}
