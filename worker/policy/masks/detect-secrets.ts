/** Mail addresses, keys of well-known services by the form that those give them, and private keys. */
import type { Span } from "./detect-numbers.ts";

const isLocal = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) ||
  (code >= 0x41 && code <= 0x5a) ||
  (code >= 0x61 && code <= 0x7a) ||
  (code !== 0x40 && "._%+-".includes(String.fromCharCode(code)));
const isHost = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) ||
  (code >= 0x41 && code <= 0x5a) ||
  (code >= 0x61 && code <= 0x7a) ||
  code === 0x2d ||
  code === 0x2e;
const TOP_LEVEL = /\.[A-Za-z]{2,24}$/;

/** RFC 5321: at most 64 characters before the @, 255 after it. */
export function findEmails(text: string): Span[] {
  const found: Span[] = [];
  for (let at = text.indexOf("@"); at !== -1; at = text.indexOf("@", at + 1)) {
    let start = at;
    while (start > 0 && at - start < 64 && isLocal(text.charCodeAt(start - 1))) start--;
    let end = at + 1;
    while (end < text.length && end - at < 255 && isHost(text.charCodeAt(end))) end++;
    while (end > at + 1 && (text.charAt(end - 1) === "." || text.charAt(end - 1) === "-")) end--;
    if (start < at && TOP_LEVEL.test(text.slice(at + 1, end))) found.push({ start, end });
  }
  return found;
}

/** Every form begins with letters that hardly stand elsewhere, and every repetition is bounded. */
const KEYS: readonly RegExp[] = [
  /(?<![A-Za-z0-9])(?:AKIA|ASIA|AGPA|AROA|AIDA)[A-Z2-7]{16}(?![A-Za-z0-9])/g, // AWS
  /(?<![A-Za-z0-9])gh[pousr]_[A-Za-z0-9]{36,255}/g, // GitHub
  /(?<![A-Za-z0-9])github_pat_[A-Za-z0-9_]{22,255}/g,
  /(?<![A-Za-z0-9])glpat-[A-Za-z0-9_-]{20,64}/g, // GitLab
  /(?<![A-Za-z0-9])(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,247}/g, // Stripe
  /(?<![A-Za-z0-9])sk-(?:ant-|proj-|svcacct-)?[A-Za-z0-9_-]{32,255}/g, // model providers
  /(?<![A-Za-z0-9])xox[abeoprs]-[A-Za-z0-9-]{10,250}/g, // Slack
  /(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{35}/g, // Google
  /(?<![A-Za-z0-9])ya29\.[A-Za-z0-9_-]{20,250}/g,
  /(?<![A-Za-z0-9])npm_[A-Za-z0-9]{36}/g,
  /(?<![A-Za-z0-9])pypi-[A-Za-z0-9_-]{50,250}/g,
  /(?<![A-Za-z0-9])SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64}/g, // SendGrid
  /(?<![A-Za-z0-9])hf_[A-Za-z0-9]{30,64}/g,
  /(?<![A-Za-z0-9])dop_v1_[a-f0-9]{64}/g,
  /(?<![A-Za-z0-9])hvs\.[A-Za-z0-9_-]{24,250}/g, // Vault
  /(?<![A-Za-z0-9])AGE-SECRET-KEY-1[A-Z0-9]{58}/g,
  /(?<![A-Za-z0-9])eyJ[A-Za-z0-9_-]{10,200}\.eyJ[A-Za-z0-9_-]{10,250}\.[A-Za-z0-9_-]{10,250}/g, // JWT
];
/** What at least one of them needs, so that most text is looked at once. */
const KEY_HINT =
  /A[KSGRI][IPO]A|gh[pousr]_|github_pat_|glpat-|[srp]k[_-]|xox|AIza|ya29|npm_|pypi-|SG\.|hf_|dop_|hvs\.|AGE-|eyJ/;

export function findKeys(text: string): Span[] {
  if (!KEY_HINT.test(text)) return [];
  const found: Span[] = [];
  for (const pattern of KEYS) {
    for (const match of text.matchAll(pattern))
      found.push({ start: match.index, end: match.index + match[0].length });
  }
  return found;
}

export const PRIVATE_KEY_BEGIN = /-----BEGIN (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----/;
export const PRIVATE_KEY_END = /-----END (?:[A-Z0-9]{2,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----/;

/** From after BEGIN to before END, or to the end of the text. */
export function findPrivateKeys(text: string): Span[] {
  const found: Span[] = [];
  let from = 0;
  for (;;) {
    const begin = PRIVATE_KEY_BEGIN.exec(text.slice(from));
    if (begin === null) return found;
    const start = from + begin.index + begin[0].length;
    const end = PRIVATE_KEY_END.exec(text.slice(start));
    const stop = end === null ? text.length : start + end.index;
    found.push({ start, end: stop });
    from = stop;
  }
}
