/** `/v1/stream`: the WebSocket of what happens (worker/objects/control/live.ts). */
import { Hono } from "hono";
import { refusal } from "../../wire/refusals.ts";
import { controlOf } from "../env.ts";
import { VIEWER_HEADER, type Viewer } from "../objects/control/live.ts";
import { type Authenticated, authenticate } from "./authenticate.ts";
import { problem } from "./problem.ts";

export const stream = new Hono<Authenticated>();

stream.get("/v1/stream", authenticate, (context) => {
  if (context.req.header("upgrade")?.toLowerCase() !== "websocket") {
    return problem(context, refusal("request_invalid", "this address is for WebSockets"));
  }
  const { token, console: browser } = context.var;
  const viewer: Viewer = { token, ...(browser === undefined ? {} : { console: browser }) };
  // A new header list: nothing that a client sent reaches the object but the upgrade itself.
  const headers = new Headers({
    upgrade: "websocket",
    [VIEWER_HEADER]: encodeURIComponent(JSON.stringify(viewer)),
  });
  return controlOf(context.env).fetch(new Request(context.req.url, { headers }));
});
