/** The console's live stream without a browser. */
import { expect } from "vitest";
import WebSocket from "ws";
import type { ConsoleBrowser } from "./console-browser.ts";

export type Frame = {
  readonly type: string;
  readonly approvals?: readonly { readonly id: string }[];
  readonly approval?: { readonly id: string; readonly status: string; readonly mayDecide?: boolean };
  readonly session?: { readonly id: string; readonly status: string; readonly operations: number };
  readonly online?: readonly string[];
};

export type Stream = {
  readonly frames: readonly Frame[];
  readonly socket: WebSocket;
  readonly closed: Promise<number>;
  waitFor(fits: (frame: Frame) => boolean): Promise<Frame>;
};

/** The live stream, as a page of that browser opens it. */
export function openStream(gateway: string, of: ConsoleBrowser): Stream {
  const socket = new WebSocket(`${gateway.replace("http", "ws")}/v1/stream`, {
    headers: { cookie: of.cookie, origin: gateway },
  });
  const frames: Frame[] = [];
  socket.on("message", (data: Buffer) => {
    const text = data.toString();
    frames.push(text === "pong" ? { type: "pong" } : (JSON.parse(text) as Frame));
  });
  const closed = new Promise<number>((resolve) => socket.on("close", (code) => resolve(code)));
  return {
    frames,
    socket,
    closed,
    waitFor: async (fits) => {
      await expect.poll(() => frames.find(fits), { timeout: 20_000, interval: 20 }).toBeDefined();
      return frames.find(fits) as Frame;
    },
  };
}
