/** Numbers that can be told from others by their own rules: payment cards, bank accounts, phones, US social security. */

/** Offsets into a text of one character for each byte. */
export type Span = { readonly start: number; readonly end: number };

const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;
const isLetterOrDigit = (code: number): boolean =>
  isDigit(code) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);

/** Runs of digits in groups that single spaces or dashes part, with at least `least` digits. */
function* digitRuns(text: string, least: number): Generator<{ readonly groups: readonly Span[] }> {
  let at = 0;
  while (at < text.length) {
    if (!isDigit(text.charCodeAt(at))) {
      at++;
      continue;
    }
    const groups: Span[] = [];
    let digits = 0;
    for (;;) {
      const start = at;
      while (at < text.length && isDigit(text.charCodeAt(at))) at++;
      groups.push({ start, end: at });
      digits += at - start;
      const separator = text.charAt(at);
      if (
        (separator !== " " && separator !== "-") ||
        !isDigit(text.charCodeAt(at + 1)) ||
        groups.length >= 64
      )
        break;
      at++;
    }
    if (digits >= least) yield { groups };
  }
}

/** ISO/IEC 7812: length and first digits of the big schemes. */
function looksLikeCard(digits: string): boolean {
  const { length } = digits;
  const two = Number(digits.slice(0, 2));
  const four = Number(digits.slice(0, 4));
  if (digits.startsWith("4")) return length === 13 || length === 16 || length === 19;
  if ((two >= 51 && two <= 55) || (four >= 2221 && four <= 2720)) return length === 16;
  if (two === 34 || two === 37) return length === 15;
  if (two === 30 || two === 36 || two === 38 || two === 39) return length >= 14 && length <= 19;
  if (four >= 3528 && four <= 3589) return length >= 16 && length <= 19;
  return (two === 50 || (two >= 56 && two <= 69)) && length >= 13 && length <= 19;
}

/** Luhn's check (ISO/IEC 7812-1, annex B). */
export function luhn(digits: string): boolean {
  let sum = 0;
  for (let index = 0; index < digits.length; index++) {
    const digit = digits.charCodeAt(digits.length - 1 - index) - 0x30;
    sum += index % 2 === 0 ? digit : digit > 4 ? digit * 2 - 9 : digit * 2;
  }
  return sum % 10 === 0;
}

/** Is this run of digits a payment card? */
export function isCard(digits: string): boolean {
  return digits.length >= 13 && digits.length <= 19 && looksLikeCard(digits) && luhn(digits);
}

export function findCards(text: string): Span[] {
  const found: Span[] = [];
  for (const { groups } of digitRuns(text, 13)) {
    for (let first = 0; first < groups.length; first++) {
      let digits = "";
      for (let last = first; last < groups.length; last++) {
        const group = groups[last];
        const start = groups[first]?.start ?? 0;
        if (group === undefined) break;
        digits += text.slice(group.start, group.end);
        if (digits.length > 19) break;
        if (!isCard(digits)) continue;
        found.push({ start, end: group.end });
        first = last;
        break;
      }
    }
  }
  return found;
}

/** Length of an IBAN by country (SWIFT IBAN registry). */
const IBAN_LENGTHS: Readonly<Record<string, number>> = Object.fromEntries(
  (
    "NO15 BE16 DK18 FI18 FO18 GL18 NL18 SD18 MK19 SI19 AT20 BA20 EE20 KZ20 LT20 LU20 XK20 CH21 HR21 LI21 LV21 BG22 BH22 CR22 DE22 GB22 GE22 IE22 ME22 RS22 " +
    "VA22 AE23 GI23 IL23 IQ23 OM23 SO23 TL23 AD24 CZ24 ES24 MD24 PK24 RO24 SA24 SE24 SK24 TN24 VG24 LY25 PT25 ST25 IS26 TR26 BI27 DJ27 FR27 GR27 IT27 MC27 " +
    "MR27 SM27 AL28 AZ28 BY28 CY28 DO28 GT28 HU28 LB28 NI28 PL28 SV28 BR29 EG29 PS29 QA29 UA29 JO30 KW30 MU30 YE30 MT31 SC31 LC32 RU33"
  )
    .split(" ")
    .map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

/** ISO 13616: the remainder of the rearranged number by 97 is 1. */
function mod97(iban: string): boolean {
  let remainder = 0;
  for (const character of iban.slice(4) + iban.slice(0, 4)) {
    const value = isDigit(character.charCodeAt(0)) ? Number(character) : character.charCodeAt(0) - 55;
    remainder = (remainder * (value > 9 ? 100 : 10) + value) % 97;
  }
  return remainder === 1;
}

export function findIbans(text: string): Span[] {
  const found: Span[] = [];
  for (let start = 0; start + 15 <= text.length; start++) {
    // Two letters and two digits; the digits are looked at first, since most text has none.
    if (!isDigit(text.charCodeAt(start + 3))) continue;
    if (!isDigit(text.charCodeAt(start + 2)) || isDigit(text.charCodeAt(start + 1))) continue;
    if (start > 0 && isLetterOrDigit(text.charCodeAt(start - 1))) continue;
    const length = IBAN_LENGTHS[text.slice(start, start + 2).toUpperCase()];
    if (length === undefined) continue;
    let iban = "";
    let end = start;
    while (end < text.length && iban.length < length) {
      const code = text.charCodeAt(end);
      if (isLetterOrDigit(code)) iban += text.charAt(end).toUpperCase();
      else if ((code !== 0x20 && code !== 0x2d) || !isLetterOrDigit(text.charCodeAt(end + 1))) break;
      end++;
    }
    if (iban.length !== length || isLetterOrDigit(text.charCodeAt(end)) || !mod97(iban)) continue;
    found.push({ start, end });
    start = end;
  }
  return found;
}

const PHONE_MARKS = new Set([" ", "-", ".", "(", ")", "/"]);
const NORTH_AMERICAN =
  /(?<![\d.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[-. ])[2-9]\d{2}[-. ]\d{4}(?![\d.-]\d)(?!\d)/g;

/** Numbers with a country code (E.164: at most 15 digits), and North American ones as people write them. */
export function findPhones(text: string): Span[] {
  const found: Span[] = [];
  for (let start = text.indexOf("+"); start !== -1; start = text.indexOf("+", start + 1)) {
    if (start > 0 && isLetterOrDigit(text.charCodeAt(start - 1))) continue;
    let digits = 0;
    let end = start + 1;
    let after = end;
    while (after < text.length && after - start < 28) {
      if (isDigit(text.charCodeAt(after))) {
        digits++;
        end = after + 1;
      } else if (
        !PHONE_MARKS.has(text.charAt(after)) ||
        (PHONE_MARKS.has(text.charAt(after - 1)) && text.charAt(after) === text.charAt(after - 1))
      ) {
        break;
      }
      after++;
    }
    if (digits >= 8 && digits <= 15 && text.charCodeAt(start + 1) !== 0x30) found.push({ start, end });
  }
  for (const match of text.matchAll(NORTH_AMERICAN)) {
    if (!found.some((one) => match.index < one.end && match.index + match[0].length > one.start)) {
      found.push({ start: match.index, end: match.index + match[0].length });
    }
  }
  return found;
}

const SSN = /(?<![\d-])(?!000|666|9\d\d)\d{3}([- ]?)(?!00)\d{2}\1(?!0000)\d{4}(?![\d-]\d)(?!\d)/g;
const SSN_WORDS = /ssn|social.?sec|soc.?sec|tax.?id|\btin\b|\bitin\b/i;
/** How far before the number a word may stand that says what it is. */
const SSN_CONTEXT = 48;

/** Nine digits are a social security number where something says so: a word before them, or the column's name. */
export function findSocialSecurity(text: string, context: string): Span[] {
  const found: Span[] = [];
  const said = SSN_WORDS.test(context);
  for (const match of text.matchAll(SSN)) {
    const before = text.slice(Math.max(0, match.index - SSN_CONTEXT), match.index);
    if (said || SSN_WORDS.test(before))
      found.push({ start: match.index, end: match.index + match[0].length });
  }
  return found;
}
