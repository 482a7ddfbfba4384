/** HTTP/1.1 as written: what a client library would never send. */
import { type Socket, connect } from "node:net";

export type RawAnswer = { readonly status: number; readonly text: string };

/** Sends these bytes and reads what comes until the gateway closes or is silent for `quietMs`. */
export function sendRaw(gateway: string, bytes: string | Buffer, quietMs = 1_500): Promise<RawAnswer[]> {
  const { hostname, port } = new URL(gateway);
  return new Promise((resolve) => {
    let text = "";
    let timer: NodeJS.Timeout | undefined;
    const socket: Socket = connect(Number(port), hostname);
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(parseAnswers(text));
    };
    const rearm = (): void => {
      clearTimeout(timer);
      timer = setTimeout(done, quietMs);
    };
    socket.on("connect", () => {
      socket.write(bytes);
      rearm();
    });
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      rearm();
      // One whole answer with a length is all that most cases want.
      if (/connection: close/i.test(text.split("\r\n\r\n")[0] ?? "")) return;
      const answer = parseAnswers(text)[0];
      if (answer !== undefined && isWhole(text) && quietMs > 200) {
        clearTimeout(timer);
        timer = setTimeout(done, 150);
      }
    });
    socket.on("close", done);
    socket.on("error", done);
  });
}

function isWhole(text: string): boolean {
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  if (length !== undefined) return rest.join("\r\n\r\n").length >= Number(length);
  return text.endsWith("\r\n0\r\n\r\n");
}

function parseAnswers(text: string): RawAnswer[] {
  const answers: RawAnswer[] = [];
  for (const match of text.matchAll(/HTTP\/1\.1 (\d{3})/g))
    answers.push({ status: Number(match[1]), text: text.slice(match.index) });
  return answers;
}
