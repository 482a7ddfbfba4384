/**
 * Ways to get a second command, another path or a dangerous option past an allow-list: the demo's own, which
 * lets agents run three commands and engineers look around. Each is asked of policy as the gateway asks it.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { createPolicyEngine } from "../../../worker/policy/cedar/engine.ts";
import { sshOperation } from "../../../worker/policy/ssh/operations.ts";
import type { Principal, Resource } from "../../../worker/policy/types.ts";
import { testCedar } from "../../support/cedar.ts";

const policies = readFileSync(
  new URL("../../../scripts/demo/config/policies.cedar", import.meta.url),
  "utf8",
);
const engine = createPolicyEngine(testCedar());
const loaded = engine.load(1, [{ file: "policies.cedar", text: policies }]);

const web: Resource = {
  name: "web-1",
  protocol: "ssh",
  connector: "demo",
  labels: {},
  masks: [],
  rows: [],
  trustedFunctions: [],
  detectors: "off",
  recordResultBytes: 0,
  heldInTransaction: 0,
};

function principal(group: string): Principal {
  return {
    type: group === "agents" ? "Workload" : "User",
    issuer: "https://idp.example",
    subject: group,
    name: group,
    groups: [group],
  };
}

function decide(group: string, command: string, terminal = false): string {
  const ask = {
    kind: "exec",
    id: 1,
    channel: 1,
    command: new TextEncoder().encode(command),
    terminal,
    environment: [],
  } as const;
  return engine.decideOperation(principal(group), web, sshOperation(ask, "")).effect;
}

/** What each group may run, and the same words in other clothes. */
const ALLOWED: readonly (readonly [string, string])[] = [
  ["agents", "uptime"],
  ["agents", " uptime "],
  ["agents", "'uptime'"],
  ["agents", "df -h"],
  ["agents", "df  '-h'"],
  ["agents", 'free "-m"'],
  ["engineers", "cat /etc/hostname"],
  ["engineers", "ls -la '/var/log'"],
  ["engineers", "tail -n 5 /var/log/dpkg.log"],
];

/** A second command in one line, for every listed first command. */
const SECOND_COMMANDS = [
  "; id", ";id", " ;id", "&& id", "&id", "& id", "|| id", "| sh", "|sh", "|& sh", "\nid", "\n\nid", "\rid", "\r\nid", "\u2028id", "\u0085id",
  " $(id)", " `id`", " \"$(id)\"", " \"`id`\"", " <(id)", " >(id)", " > /tmp/x", " >> /tmp/x", " 2> /tmp/x", " >| /tmp/x", " &> /tmp/x",
  " < /etc/shadow", " <<< x", " << x", " $IFS", " ${IFS}id", " $'\\nid'", " $\"x\"", " $((1))", " {a,b}", " {id,}", " *", " ?", " [a]", " ~", " ~root", " #x", " !!", " !id",
  " %1", " =id", " 'x", ' "x', " \\", "\\\nid", " \u0000id", "\u0000", " \u001b[2K\rid", " ^id^", "\tid;", " (id)", "(id)", " a=(id)", "\u00a0;id", " \\x3bid", " \\nid", " 'a\\' '; id '", " 'a\\\\' id", ' "a\\"; id; "', " '!id'",
] as const; // prettier-ignore

/** Whole lines that reach beyond what is listed. */
const LINES = [
  // Another program, or the same name elsewhere.
  "id", "sh", "bash", "/bin/sh", "uptime2", "./uptime", "/tmp/uptime", "../bin/uptime", "/usr/bin/../../tmp/uptime", "UPTIME", "Uptime", "uptime.", "uptіme", "up'time' x", "''uptime x",
  // Words that shells take for themselves.
  "exec uptime", "command uptime", "builtin uptime", "eval uptime", ". uptime", "source uptime", "time uptime", "if uptime", "! uptime", "[ uptime ]", "coproc uptime", "repeat 2 uptime", "noglob uptime", "nocorrect uptime", "not uptime", "and uptime", "begin uptime", "function uptime", "alias uptime", "trap id EXIT", "set -x", "export A=b", "unset PATH", "cd /", "umask 0",
  // The environment.
  "A=b uptime", "LD_PRELOAD=/tmp/x.so uptime", "PATH=/tmp uptime", "IFS=u ptime", "BASH_ENV=/tmp/x df -h", "A=b B=c uptime", "A+=b uptime", "env uptime", "env -i uptime", "env A=b uptime", "env -S 'uptime;id'", "/usr/bin/env uptime",
  // What runs others.
  "sh -c uptime", "bash -c uptime", "sh -c 'uptime; id'", "dash uptime", "busybox uptime", "busybox sh -c id", "toybox uptime", "sudo uptime", "sudo -u root uptime", "su -c uptime", "doas uptime", "runuser -u root uptime", "pkexec uptime", "xargs uptime", "xargs -I{} uptime", "nice uptime", "nice -n 5 id", "ionice -c3 uptime", "timeout 5 uptime", "nohup uptime", "setsid uptime", "stdbuf -o0 uptime", "chroot / uptime", "unshare uptime", "nsenter -t 1 uptime", "watch uptime", "strace uptime", "ltrace uptime", "gdb uptime", "flock x uptime", "script -c uptime", "ssh localhost uptime", "find . -exec id +", "find . -execdir id +", "find . -delete", "awk 'BEGIN{system(1)}'", "sed -n 1e /etc/hosts", "perl -e 1", "python3 -c 1", "ruby -e 1", "node -e 1", "php -r 1", "lua -e 1", "vi x", "vim -c :q x", "less x", "more x", "man ls", "git log", "tmux new", "screen x", "at now", "crontab -l", "systemd-run id", "docker ps", "ld.so /bin/id", "/lib64/ld-linux-x86-64.so.2 /bin/id",
  // Options that run something, write somewhere, or read it from there.
  "git --upload-pack=id x", "git -c core.pager=id log", "git --exec-path=/tmp log", "rsync -e id a b", "rsync --rsync-path=id a b", "tar --checkpoint=1 --checkpoint-action=exec=id -cf x x", "tar -I id -xf x", "tar --to-command=id -xf x", "scp -S id a b", "scp -oProxyCommand=id a b", "sftp -S id x", "ssh -oProxyCommand=id x", "ssh -oPermitLocalCommand=yes -oLocalCommand=id x", "zip x x -T -TT id", "sort --compress-program=id x", "sort -o /etc/cron.d/x x", "tee /etc/cron.d/x", "dd of=/dev/sda", "cp a b", "mv a b", "rm -rf /", "install a b", "ln -s a b", "truncate -s 0 x", "chmod 777 x", "chown a x", "curl -o x file:///etc/shadow", "wget -O x x", "split --filter=id x", "xxd -r x /etc/passwd", "openssl enc -in /etc/shadow", "date -s 2020-01-01", "hostname evil", "kill -9 1", "reboot",
  // The agents' commands with something more or less.
  "df", "df -h /", "df -h -h", "df -H", "df -h ''", "'df -h'", "df\\ -h", "free", "free -m -s 1", "free -m ''", "uptime ''", "uptime -p", "uptime --", "uptime uptime", "df-h", "df -hx", "df '-h '",
] as const; // prettier-ignore

/** What of LINES an engineer may run all the same: reading commands of the engineers' own list. */
const ENGINEERS_MAY: ReadonlySet<string> = new Set([
  ...LINES.filter((line) => /^(uptime|df|free)( |$)/.test(line)),
  ...["id", "up'time' x", "''uptime x"],
]);

describe("the demo's allow-lists", () => {
  it("load", () => {
    expect(loaded).toEqual({ ok: true, value: undefined });
  });

  it.each(ALLOWED)("let %s run %j", (group, command) => {
    expect(decide(group, command)).toBe("allow");
  });

  it.each(SECOND_COMMANDS)("let no second command through: %j", (rest) => {
    for (const first of ["uptime", "df -h", "free -m"]) expect(decide("agents", first + rest)).toBe("deny");
    for (const first of ["uptime", "cat /etc/hostname", "ls"])
      expect(decide("engineers", first + rest)).toBe("hold");
  });

  it.each(LINES)("let nothing else through: %j", (line) => {
    expect(decide("agents", line)).toBe("deny");
    expect(decide("agents", line, true)).toBe("deny");
    if (!ENGINEERS_MAY.has(line)) expect(decide("engineers", line)).toBe("hold");
  });

  it("are asked in well over a hundred ways", () => {
    expect(new Set(LINES).size + SECOND_COMMANDS.length * 3).toBeGreaterThan(300);
  });
});
