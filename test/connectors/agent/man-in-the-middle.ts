/** Ends the client's TLS with a certificate of his own and speaks TLS to the real server: reads all, changes nothing. */
import { once } from "node:events";
import { type AddressInfo, type Server, type Socket, connect, createServer } from "node:net";
import { TLSSocket, connect as connectTls, createSecureContext } from "node:tls";
import { sslRequest } from "../../../connectors/agent/postgres/messages.ts";
import { type CertificateKind, makeAuthority, makeCertificate } from "./certificates.ts";

export class ManInTheMiddle {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(server: Server) {
    this.#server = server;
    server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("error", () => undefined);
    });
  }

  static async start(directory: string, port: number, kind: CertificateKind): Promise<ManInTheMiddle> {
    await makeAuthority(directory, "middle", kind);
    const { key, certificate } = await makeCertificate(directory, "middle", "IP:127.0.0.1", kind);
    const secureContext = createSecureContext({ key, cert: certificate });
    const server = createServer((client) => {
      client.once("data", () => {
        client.pause();
        client.write("S");
        const inside = new TLSSocket(client, {
          isServer: true,
          secureContext,
          ALPNProtocols: ["postgresql"],
        });
        const onward = connect(port, "127.0.0.1");
        onward.write(sslRequest());
        onward.once("data", () => {
          const secure = connectTls({
            socket: onward,
            rejectUnauthorized: false,
            ALPNProtocols: ["postgresql"],
          });
          for (const each of [inside, secure]) each.on("error", () => each.destroy());
          inside.pipe(secure).pipe(inside);
        });
        onward.on("error", () => client.destroy());
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return new ManInTheMiddle(server);
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
