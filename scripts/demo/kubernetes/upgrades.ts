/** Requests that become streams, checked as any other. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type Authenticated, authenticate } from "./authorization.ts";
import { authorize } from "./handler.ts";
import { kindNamed } from "./kinds.ts";
import { parseTarget } from "./request.ts";
import type { Cluster } from "./server.ts";
import { asStatusError, noSuchPath } from "./status.ts";
import { PodStreams, refuseUpgrade } from "./streams.ts";

const POD = kindNamed("Pod");

export type Upgrades = {
  handle(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  closeAll(): void;
};

export function acceptUpgrades(cluster: Cluster): Upgrades {
  const streams = new PodStreams();
  return {
    handle: (request, socket, head) => {
      socket.on("error", () => undefined);
      const url = new URL(request.url ?? "/", "https://cluster");
      const target = parseTarget(url.pathname);
      const verb = request.method === "POST" ? "create" : "get";
      let authenticated: Authenticated | undefined;
      const note = (code: number): void =>
        cluster.audit.note({
          authenticated,
          verb,
          uri: request.url ?? "",
          target,
          code,
          started: code === 101,
          userAgent: request.headers["user-agent"],
        });
      try {
        authenticated = authenticate(request, cluster.token, cluster.holder);
        if (target === undefined || target.kind !== POD) throw noSuchPath();
        authorize(cluster, authenticated.user, verb, target);
        streams.accept(cluster.pods, target, url.searchParams, { request, socket, head });
        note(101);
      } catch (error) {
        const refused = asStatusError(error);
        note(refused.status.code);
        refuseUpgrade(socket, refused);
      }
    },
    closeAll: () => streams.closeAll(),
  };
}
