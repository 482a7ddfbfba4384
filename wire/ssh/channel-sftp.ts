/** Joins the SftpMachine of a channel to the channel around it. */
import { utf8 } from "../bytes.ts";
import { type SshChannel, adjustWindow, queueClose, queueData } from "./channel.ts";
import type { SshMachine } from "./machine-state.ts";
import type { SshEffect } from "./machine-types.ts";
import type { SftpInput } from "./sftp-machine-types.ts";
import { stepSftp } from "./sftp-machine.ts";

export function runSftp(
  machine: SshMachine,
  channel: SshChannel,
  input: SftpInput,
  effects: SshEffect[],
): void {
  const sftp = channel.sftp;
  if (sftp === undefined) return;
  // Asks are numbered over the whole session, so that `openedBy` names an ask as the caller knows it.
  sftp.nextAsk = machine.nextAsk;
  for (const effect of stepSftp(sftp, input)) {
    switch (effect.kind) {
      case "toServer":
        effects.push(
          { kind: "received", channel: channel.id, bytes: effect.bytes },
          { kind: "toUpstream", channel: channel.id, bytes: effect.bytes },
        );
        channel.backlog += effect.bytes.length;
        break;
      case "toClient":
        queueData(channel, 0, effect.bytes, true);
        break;
      case "ask":
        effects.push({
          kind: "ask",
          ask: { kind: "sftp", id: effect.ask, channel: channel.id, request: effect.request },
        });
        break;
      case "violation":
        queueData(channel, 1, utf8(`sally: ${effect.reason}\n`), false);
        queueClose(channel);
        break;
    }
  }
  machine.nextAsk = sftp.nextAsk;
  adjustWindow(channel, effects);
}
