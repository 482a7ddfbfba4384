import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Detector,
  HOLD_BACK,
  createDetector,
  flush,
  push,
  pushThrough,
} from "../../../../worker/policy/masks/detectors.ts";

const bytesOf = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "latin1"));
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const fresh = (): Detector => createDetector(undefined, "output");

function run(chunks: readonly string[]): string {
  let detector = fresh();
  let out = "";
  for (const chunk of chunks) {
    const passed = push(detector, bytesOf(chunk));
    detector = passed.detector;
    expect(detector.held.length).toBeLessThanOrEqual(HOLD_BACK);
    out += textOf(passed.bytes);
  }
  return out + textOf(flush(detector).bytes);
}

const passes = (text: string): string => textOf(push(fresh(), bytesOf(text)).bytes);

describe("output of a program", () => {
  const text =
    "id card\r\n1  4111 1111 1111 1111 x\r\n\u001b[32mjane.doe@example.com\u001b[0m or +1 (415) 555-2671\r\n" +
    "SSN 219-09-9999, GB29 NWBK 6016 1331 9268 19\r\nAKIAIOSFODNN7EXAMPLE ssn: 219099999\r\n" +
    `-----BEGIN RSA PRIVATE KEY-----\n${"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n".repeat(30)}-----END RSA PRIVATE KEY-----\n` +
    "root@web:~# DE89370400440532013000 340000000000009\r\n";
  const masked = run([text]);

  it("is overwritten where something is found, and keeps its length", () => {
    expect(masked).toHaveLength(text.length);
    for (const secret of [
      "4111",
      "jane",
      "@example",
      "555-26",
      "219-09",
      "219099",
      "NWBK",
      "AKIA",
      "MIIE",
      "DE89",
      "3400",
    ])
      expect(masked).not.toContain(secret);
    for (const kept of [
      "id card\r\n1  ",
      " x\r\n",
      "\u001b[32m",
      "\u001b[0m or ",
      "-----END RSA PRIVATE KEY-----\nroot@web:~# ",
    ])
      expect(masked).toContain(kept);
  });

  it("is the same at every split and byte by byte", () => {
    for (let at = 1; at < text.length; at++)
      expect(run([text.slice(0, at), text.slice(at)]), `split at ${at}`).toBe(masked);
    expect(run(text.split(""))).toBe(masked);
  });

  it("is the same in any pieces", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(text.length), { maxLength: 12 }), (cuts) => {
        const points = [0, ...cuts.toSorted((one, other) => one - other), text.length];
        expect(run(points.slice(1).map((end, index) => text.slice(points[index], end)))).toBe(masked);
      }),
      { numRuns: 300 },
    );
  });

  it.each([
    "total 24\r\n",
    "user@host:~$ ",
    "[root@web-1 srv]# ",
    "\u001b]0;user@host: ~\u0007\u001b[01;32muser@host\u001b[00m:\u001b[01;34m~\u001b[00m$ ",
    "Password: ",
    "Do you want to continue? [Y/n] ",
    ">>> ",
    "shop=# ",
    " 45%[=====>     ]",
  ])("passes at once when nothing has begun in it: %j", (ordinary) => {
    expect(passes(ordinary)).toBe(ordinary);
  });

  it("waits only from where something may have begun", () => {
    expect(passes("done: 3 files\r\nto 4111 1111")).toBe("done: 3 files\r\nto ");
    expect(passes("mail jane.doe")).toBe("mail ");
    expect(passes("iban GB29 NWBK 60")).toBe("iban ");
    expect(passes("\n-----BEGIN RSA PRI")).toBe("\n");
  });

  it("that went ahead still gives away that a number is complete", () => {
    let detector = fresh();
    let shown = "";
    for (const digit of "4111111111111111") {
      const passed = pushThrough(detector, bytesOf(digit));
      detector = passed.detector;
      shown += textOf(passed.bytes);
    }
    expect(shown).toBe("411111111111111*");
  });

  it("goes on after a private key that breaks off, and is looked at from there", () => {
    const broken =
      "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN\nBgkqhkiG\nuser@web:~$ echo 4111111111111111\r\nok\r\n";
    for (const chunks of [[broken], broken.split("")]) {
      const shown = run(chunks);
      expect(shown).not.toContain("MIIE");
      expect(shown).not.toContain("Bgkq");
      expect(shown).not.toContain("4111");
      expect(shown).toContain("@web:~$ echo ****************\r\nok\r\n");
    }
  });

  it("that is binary keeps what looks like an address by chance", () => {
    const noise = "\u0001\u00ffa\u00907\u0081\u0002\u00c3\u0003\u00f5";
    const archive = `${noise}x@b.io${noise}`;
    expect(run([archive])).toBe(archive);
    expect(run(["caf\u00e9 x@b.io na\u00efve, and more words\n"])).not.toContain("x@b.io");
    expect(run(["name\u0000x@b.io\u0000next\u0000"])).not.toContain("x@b.io");
  });

  it("takes time in proportion to hostile output", () => {
    for (const piece of [
      "4111 ",
      "a@",
      "+1 ",
      "-----BEGIN ",
      "DE89 ",
      "AB12c",
      "-----BEGIN PRIVATE KEY-----$",
    ]) {
      const hostile = `${piece.repeat(60_000 / piece.length)}!`;
      const start = performance.now();
      run([hostile]);
      expect(performance.now() - start, piece).toBeLessThan(2_000);
    }
    const start = performance.now();
    run("AB12cdefgh!".repeat(2_000).split(""));
    expect(performance.now() - start).toBeLessThan(4_000);
  });
});
