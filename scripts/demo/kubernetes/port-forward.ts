/**
 * Port forwarding into a pod: SPDY streams in a WebSocket (`SPDY/3.1+portforward.k8s.io`, kubectl 1.31 and newer),
 * plain SPDY, and the older `v4.channel.k8s.io`, where each port has two channels.
 */
import { type Server, type ServerResponse, createServer } from "node:http";
import { Duplex, duplexPair } from "node:stream";
import type { WebSocket } from "ws";
import type { Container } from "./containers.ts";
import { SpdyConnection, type SpdyStream } from "./spdy.ts";

export const TUNNEL = "SPDY/3.1+portforward.k8s.io";
export const CHANNELS = "v4.channel.k8s.io";

/** What opens a connection to a port inside the pod; undefined when nothing listens there. */
export type Dial = (port: number) => Duplex | undefined;

/** Of the containers of a pod: the ports that they declare, with what their images say answers there. */
export function dialer(pod: string, containers: readonly Container[]): Dial {
  return (port) => {
    const found = containers.find(
      ({ spec, exit }) =>
        exit === undefined && spec.ports?.some(({ containerPort }) => containerPort === port),
    );
    if (found === undefined) return undefined;
    const [near, far] = duplexPair();
    if (found.image.listens === "echo") far.pipe(far);
    else httpServer(pod, found.spec.image).emit("connection", far);
    far.on("error", () => undefined);
    near.on("error", () => undefined);
    return near;
  };
}

function httpServer(pod: string, image: string): Server {
  return createServer((request, response: ServerResponse) => {
    const { method, url: path, headers } = request;
    let bytes = 0;
    request.on("data", (chunk: Buffer) => (bytes += chunk.length));
    request.on("end", () => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(`${JSON.stringify({ pod, image, method, path, bytes, host: headers.host })}\n`);
    });
  });
}

/** A connection of bytes over the binary messages of a WebSocket. */
export function webSocketBytes(socket: WebSocket): Duplex {
  const stream = new Duplex({
    read: () => socket.resume(),
    write: (chunk: Buffer, _, done) => {
      if (socket.readyState !== socket.OPEN) return done();
      socket.send(chunk, { binary: true }, () => done());
    },
    final: (done) => {
      socket.close(1000);
      done();
    },
    destroy: (error, done) => {
      socket.terminate();
      done(error);
    },
  });
  socket.on("message", (data) => {
    if (!stream.push(data)) socket.pause();
  });
  socket.once("close", () => {
    stream.push(null);
    stream.destroy();
  });
  socket.on("error", () => undefined);
  return stream;
}

/** Serves `portforward` on a connection that speaks SPDY. */
export function forwardSpdy(connection: Duplex, pod: string, dial: Dial): void {
  const errors = new Map<string, SpdyStream>();
  new SpdyConnection(connection, (stream) => {
    const { streamtype, port = "", requestid = "" } = stream.headers;
    // The client opens the error stream first.
    if (streamtype === "error") return void errors.set(requestid, stream);
    const error = errors.get(requestid);
    errors.delete(requestid);
    const upstream = dial(Number(port));
    if (upstream === undefined) {
      error?.end(refused(pod, Number(port)));
      stream.destroy();
      return;
    }
    stream.pipe(upstream).pipe(stream);
    stream.once("close", () => upstream.destroy());
    upstream.once("close", () => {
      error?.end();
    });
  });
}

/** Serves the older form: channel 2n is the nth port's data, 2n + 1 its error; each begins with the port. */
export function forwardChannels(socket: WebSocket, pod: string, ports: readonly number[], dial: Dial): void {
  const upstreams = ports.map((port, at) => {
    const data = 2 * at;
    const send = (channel: number, bytes: Buffer, done?: () => void): void =>
      socket.readyState === socket.OPEN
        ? socket.send(Buffer.concat([Buffer.from([channel]), bytes]), { binary: true }, done)
        : done?.();
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    send(data, number);
    send(data + 1, number);
    const upstream = dial(port);
    if (upstream === undefined) send(data + 1, Buffer.from(refused(pod, port)));
    upstream?.on("data", (chunk: Buffer) => {
      upstream.pause();
      send(data, chunk, () => upstream.resume());
    });
    return upstream;
  });
  socket.on("message", (message) => {
    const [channel = 0] = message as Buffer;
    if (channel % 2 === 0) upstreams[channel / 2]?.write((message as Buffer).subarray(1));
  });
  socket.once("close", () => {
    for (const upstream of upstreams) upstream?.destroy();
  });
  socket.on("error", () => undefined);
}

function refused(pod: string, port: number): string {
  return `error forwarding port ${port} to pod ${pod}, uid : failed to connect to localhost:${port} inside namespace: dial tcp4 127.0.0.1:${port}: connect: connection refused`;
}
