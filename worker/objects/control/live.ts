/**
 * The live stream (docs/api.md): what happens, to every page and program that looks. The sockets hibernate with
 * the object. Who looks is looked up again for every frame, a browser's owner at their identity provider too,
 * and a frame goes only to whom policy lets see it at that moment. When somebody's groups or the policies
 * change, they get the whole picture anew, so that nothing stays on the page that they may not see any more.
 */
import { type Refusal, refusal } from "../../../wire/refusals.ts";
import { type Result, err, ok } from "../../../wire/result.ts";
import type { Approval } from "../../policy/approval.ts";
import type { VerifiedToken } from "../../policy/grant.ts";
import type { Principal } from "../../policy/types.ts";
import { identifier } from "../identifiers.ts";
import type { ConsoleSessions } from "./console-sessions.ts";
import type { Identity } from "./identity.ts";
import { showApproval } from "./shown-approval.ts";
import { showSession } from "./shown-session.ts";
import type { SessionRow } from "./types.ts";

/** Who opened a stream: a browser by its session, or whoever holds this token. */
export type Viewer = { readonly token: VerifiedToken; readonly console?: string };

/** Header in which the Worker names the viewer to the Control object; never taken from outside. */
export const VIEWER_HEADER = "sally-viewer";

export type LiveHost = {
  readonly sockets: () => readonly WebSocket[];
  /** The viewer's token as it counts now. */
  readonly admit: (viewer: Viewer) => Promise<Result<VerifiedToken, Refusal>>;
  readonly pending: (principal: Principal) => readonly Approval[];
  readonly live: (principal: Principal) => readonly SessionRow[];
  /** The approval as this viewer sees it; undefined when they may not. */
  readonly approval: (principal: Principal, approval: Approval) => Approval | undefined;
  readonly maySeeSession: (principal: Principal, session: SessionRow) => boolean;
  readonly maySeeResource: (principal: Principal, resource: string) => boolean;
};

type Happened =
  | { readonly kind: "approval"; readonly approval: Approval }
  | { readonly kind: "session"; readonly session: SessionRow }
  | { readonly kind: "config"; readonly version: number }
  | { readonly kind: "connector"; readonly name: string; readonly online: readonly string[] }
  /** Somebody's access is another now: whoever looks is looked up again. */
  | { readonly kind: "people" }
  | { readonly kind: "ping" }
  | { readonly kind: "opened" };

const LOGGED_OUT = 4401;
const MOST_STREAMS = 2_000;

export class LiveStreams {
  readonly #sql: SqlStorage;
  readonly #host: LiveHost;
  /** Frames of one socket leave in order, though who they are for is looked up in between. */
  readonly #last = new WeakMap<WebSocket, Promise<void>>();

  constructor(sql: SqlStorage, host: LiveHost) {
    this.#sql = sql;
    this.#host = host;
    sql.exec(
      "CREATE TABLE IF NOT EXISTS viewers (id TEXT PRIMARY KEY, body TEXT NOT NULL, groups TEXT NOT NULL)",
    );
  }

  get full(): boolean {
    return this.#host.sockets().length >= MOST_STREAMS;
  }

  /** The socket has been accepted for this viewer. */
  opened(socket: WebSocket, viewer: Viewer): void {
    const id = identifier("liv");
    this.#sql.exec("INSERT INTO viewers VALUES (?, ?, '')", id, JSON.stringify(viewer));
    // An attachment has 16 KiB, and somebody's groups may need more.
    socket.serializeAttachment(id);
    this.#enqueue(socket, { kind: "opened" });
  }

  message(socket: WebSocket, message: string | ArrayBuffer): void {
    if (message === "ping") this.#enqueue(socket, { kind: "ping" });
    else socket.close(1008, "only ping is understood");
  }

  gone(socket: WebSocket): void {
    this.#sql.exec("DELETE FROM viewers WHERE id = ?", String(socket.deserializeAttachment()));
  }

  tell(happened: Happened): void {
    for (const socket of this.#host.sockets()) this.#enqueue(socket, happened);
  }

  #enqueue(socket: WebSocket, happened: Happened): void {
    const before = this.#last.get(socket) ?? Promise.resolve();
    const work = before
      .then(() => this.#handle(socket, happened))
      .catch((error: unknown) => {
        console.error(`live stream failed: ${error instanceof Error ? error.message : "unknown"}`);
        socket.close(1011, "internal");
      });
    this.#last.set(socket, work);
  }

  async #handle(socket: WebSocket, happened: Happened): Promise<void> {
    const id = String(socket.deserializeAttachment());
    const row = this.#sql
      .exec<{ body: string; groups: string }>("SELECT body, groups FROM viewers WHERE id = ?", id)
      .toArray()[0];
    if (row === undefined) return socket.close(LOGGED_OUT, "token_missing");
    const token = await this.#host.admit(JSON.parse(row.body) as Viewer);
    if (!token.ok) return socket.close(LOGGED_OUT, token.error.code);
    const { principal } = token.value;
    const groups = JSON.stringify(principal.groups.toSorted());
    if (groups !== row.groups) this.#sql.exec("UPDATE viewers SET groups = ? WHERE id = ?", groups, id);
    if (groups !== row.groups || happened.kind === "config") {
      if (happened.kind === "config") send(socket, { type: "config", version: happened.version });
      send(socket, {
        type: "hello",
        groups: principal.groups,
        approvals: this.#host.pending(principal).map(showApproval),
        sessions: this.#host.live(principal).map(showSession),
      });
    }
    const frame = this.#frame(principal, happened);
    if (frame !== undefined) send(socket, frame);
  }

  #frame(principal: Principal, happened: Happened): object | "pong" | undefined {
    switch (happened.kind) {
      case "approval": {
        const shown = this.#host.approval(principal, happened.approval);
        return shown === undefined ? undefined : { type: "approval", approval: showApproval(shown) };
      }
      case "session":
        return this.#host.maySeeSession(principal, happened.session)
          ? { type: "session", session: showSession(happened.session) }
          : undefined;
      case "connector": {
        const online = happened.online.filter((name) => this.#host.maySeeResource(principal, name));
        return { type: "connector", name: happened.name, online };
      }
      case "ping":
        return "pong";
      case "config":
      case "people":
      case "opened":
        return undefined;
    }
  }
}

/** The token of who looks, as it counts now: a browser's owner is asked for at their identity provider too. */
export async function admitViewer(
  { token, console: browser }: Viewer,
  browsers: Pick<ConsoleSessions, "admitById">,
  identity: Pick<Identity, "stillGood">,
  now: number,
): Promise<Result<VerifiedToken, Refusal>> {
  if (browser !== undefined) {
    const admitted = await browsers.admitById(browser, false, now);
    return admitted.ok ? ok(admitted.value.token) : admitted;
  }
  if (token.expiresAt <= now) return err(refusal("token_expired", "the session token has expired"));
  return identity.stillGood(token, now);
}

function send(socket: WebSocket, frame: object | "pong"): void {
  try {
    socket.send(frame === "pong" ? frame : JSON.stringify(frame));
  } catch {
    // The socket is closing.
  }
}
