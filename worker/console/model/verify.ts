/**
 * Verifies a recording where it is read, with the browser's own SHA-256: nothing of what the gateway says about
 * itself is taken on trust. The chain is that of `worker/objects/recording/chain.ts` (docs/api.md).
 */

export type ChainedText = {
  readonly seq: number;
  readonly at: string;
  readonly previous: string;
  readonly hash: string;
  readonly json: string;
};

export type ChainProgress = {
  /** Number of the last event that holds; 0 before the first. */
  readonly seq: number;
  readonly hash: string;
};

export type ChainBreak = { readonly seq: number; readonly why: string };

/** The state before the first event of a session. */
export async function startOfChain(session: string): Promise<ChainProgress> {
  return { seq: 0, hash: await sha256(session) };
}

/** Takes the events that follow `from`; the first that does not hold ends it. */
export async function verifyEvents(
  from: ChainProgress,
  events: readonly ChainedText[],
): Promise<{ readonly progress: ChainProgress; readonly broken?: ChainBreak }> {
  let progress = from;
  for (const event of events) {
    const why = await wrongWith(event, progress);
    if (why !== undefined) return { progress, broken: { seq: event.seq, why } };
    progress = { seq: event.seq, hash: event.hash };
  }
  return { progress };
}

async function wrongWith(event: ChainedText, before: ChainProgress): Promise<string | undefined> {
  if (event.seq !== before.seq + 1) return `event ${before.seq + 1} is missing`;
  if (event.previous !== before.hash) return "it does not follow from the event before it";
  if ((await sha256(`${before.hash}\n${event.json}`)) !== event.hash) {
    return "its content does not match its hash";
  }
  let signed: unknown;
  try {
    signed = JSON.parse(event.json);
  } catch {
    return "its content is not JSON";
  }
  const { seq, at } = (signed ?? {}) as { seq?: unknown; at?: unknown };
  return seq === event.seq && at === event.at ? undefined : "its number or time is not the hashed one";
}

async function sha256(text: string): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
