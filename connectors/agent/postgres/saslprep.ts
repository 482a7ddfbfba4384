/**
 * SASLprep (RFC 4013) as PostgreSQL applies it to passwords: one that SASLprep prohibits is used as it is
 * (`pg_saslprep` in src/common/saslprep.c, and its callers).
 */

/** RFC 3454 table C.1.2: spaces that become U+0020. */
const NON_ASCII_SPACE = /[\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000]/gu;
/** RFC 3454 table B.1: mapped to nothing. U+200B is in both tables, as a space first (PostgreSQL does the same). */
const MAPPED_TO_NOTHING =
  /\u00ad|\u034f|\u1806|[\u180b-\u180d]|\u200c|\u200d|\u2060|[\ufe00-\ufe0f]|\ufeff/gu;
/** RFC 4013 section 2.3: controls, private use, surrogates, non-characters, tags, display and change of direction. */
const PROHIBITED =
  /\p{Cc}|\p{Co}|\p{Cs}|\p{Noncharacter_Code_Point}|\u06dd|\u070f|\u180e|[\u2028-\u202e]|[\u2061-\u2063]|[\u206a-\u206f]|\u200e|\u200f|[\u2ff0-\u2ffb]|[\ufff9-\ufffd]|[\u{1d173}-\u{1d17a}]|\u{e0001}|[\u{e0020}-\u{e007f}]/u;
const RIGHT_TO_LEFT = /[\p{Script=Hebrew}\p{Script=Arabic}\p{Script=Syriac}\p{Script=Thaana}]/u;
const LEFT_TO_RIGHT =
  /[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]/u;

export function saslPrep(password: string): string {
  if (/^[\x20-\x7e]*$/.test(password)) return password;
  const prepared = password.replace(NON_ASCII_SPACE, " ").replace(MAPPED_TO_NOTHING, "").normalize("NFKC");
  if (prepared === "" || PROHIBITED.test(prepared) || !directionHolds(prepared)) return password;
  return prepared;
}

/** RFC 3454 section 6: a right-to-left string has no left-to-right letter, and begins and ends right to left. */
function directionHolds(text: string): boolean {
  if (!RIGHT_TO_LEFT.test(text)) return true;
  const letters = [...text];
  return (
    !LEFT_TO_RIGHT.test(text) &&
    RIGHT_TO_LEFT.test(letters[0] ?? "") &&
    RIGHT_TO_LEFT.test(letters.at(-1) ?? "")
  );
}
