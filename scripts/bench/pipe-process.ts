/**
 * One end of the bare pipe, in a process of its own as the shim and the connector are:
 *
 *   node pipe-process.ts client <gateway> <port>     TCP on <port> → WebSocket
 *   node pipe-process.ts upstream <gateway> <port>   WebSocket → TCP to <port>, for sessions named on stdin
 *
 * The client end prints the name of each session, which the benchmark hands to the upstream end.
 */
import { randomUUID } from "node:crypto";
import { createServer, connect, type Socket } from "node:net";
import { createInterface } from "node:readline";
import WebSocket from "ws";

const [role, gateway = "", port = ""] = process.argv.slice(2);

function join(socket: Socket, session: string, side: string): void {
  socket.setNoDelay(true);
  socket.pause();
  const pipe = new WebSocket(`${gateway.replace("http", "ws")}/${session}/${side}`, {
    perMessageDeflate: false,
  });
  pipe.on("open", () => socket.resume());
  pipe.on("message", (data: Buffer) => socket.write(data));
  pipe.on("close", () => socket.destroy());
  pipe.on("error", () => socket.destroy());
  socket.on("data", (data) => pipe.send(data));
  socket.on("close", () => pipe.close());
  socket.on("error", () => pipe.close());
}

if (role === "client") {
  createServer((socket) => {
    const session = randomUUID();
    join(socket, session, "client");
    process.stdout.write(`${session}\n`);
  }).listen(Number(port), "127.0.0.1", () => process.stdout.write("ready\n"));
} else {
  createInterface(process.stdin).on("line", (session) =>
    join(connect(Number(port), "127.0.0.1"), session, "upstream"),
  );
}
