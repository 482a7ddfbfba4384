/** Name/value blocks of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, section 2.6.10): one zlib stream a direction. */
import { type Deflate, type Inflate, constants, createDeflate, createInflate } from "node:zlib";

export type Headers = Readonly<Record<string, string>>;

/** What both sides' zlib starts from (section 2.6.10.1); each word in the first list has its length before it. */
const WORDS =
  "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow " +
  "authorization cache-control connection content-base content-encoding content-language content-length " +
  "content-location content-md5 content-range content-type date etag expect expires from host if-match " +
  "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma " +
  "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade " +
  "user-agent vary via warning www-authenticate method get status";
const MORE_WORDS = ["200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"];
const TEXT =
  "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505" +
  "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized" +
  "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable" +
  "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT" +
  "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain," +
  "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

const DICTIONARY = Buffer.concat([
  ...[...WORDS.split(" "), ...MORE_WORDS].map(lengthAndText),
  Buffer.from(TEXT, "latin1"),
]);

/** What a block may come to when it is unpacked. */
const MAX_BLOCK = 64 << 10;

export class HeaderCodec {
  readonly #inflate: Inflate = createInflate({ dictionary: DICTIONARY });
  readonly #deflate: Deflate = createDeflate({ dictionary: DICTIONARY });

  constructor() {
    // Reported to whoever waits for the write.
    this.#inflate.on("error", () => undefined);
    this.#deflate.on("error", () => undefined);
  }

  /** Blocks have to be unpacked in the order in which they came, one after the other. */
  async unpack(block: Buffer): Promise<Headers> {
    await new Promise<void>((resolve, reject) => {
      this.#inflate.once("error", reject);
      this.#inflate.write(block, (error) => (error ? reject(error) : resolve()));
    });
    this.#inflate.removeAllListeners("error").on("error", () => undefined);
    return parse(drain(this.#inflate));
  }

  async pack(headers: Headers): Promise<Buffer> {
    const entries = Object.entries(headers);
    const parts = entries.flatMap(([name, value]) => [
      lengthAndText(name.toLowerCase()),
      lengthAndText(value),
    ]);
    this.#deflate.write(Buffer.concat([uint32(entries.length), ...parts]));
    await new Promise<void>((resolve) => this.#deflate.flush(constants.Z_SYNC_FLUSH, resolve));
    return drain(this.#deflate);
  }

  close(): void {
    this.#inflate.close();
    this.#deflate.close();
  }
}

function drain(stream: Inflate | Deflate): Buffer {
  const parts: Buffer[] = [];
  let length = 0;
  for (;;) {
    const part = stream.read() as Buffer | null;
    if (part === null) return Buffer.concat(parts);
    length += part.length;
    if (length > MAX_BLOCK) throw new Error("a header block is too long");
    parts.push(part);
  }
}

function parse(block: Buffer): Headers {
  const headers: Record<string, string> = {};
  let at = 4;
  const next = (): string => {
    const length = block.readUInt32BE(at);
    if (at + 4 + length > block.length) throw new Error("a header block ends too early");
    at += 4 + length;
    return block.toString("latin1", at - length, at);
  };
  for (let left = block.readUInt32BE(0); left > 0; left--) {
    const name = next();
    headers[name] = next();
  }
  return headers;
}

function lengthAndText(text: string): Buffer {
  return Buffer.concat([uint32(Buffer.byteLength(text, "latin1")), Buffer.from(text, "latin1")]);
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32BE(value);
  return buffer;
}
