import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LIMITS } from "../../../wire/limits.ts";
import {
  type CommandLine,
  type Construct,
  canonicalText,
  isWrapper,
  parseCommandLine,
} from "../../../wire/ssh/command-line.ts";

function parse(text: string): CommandLine {
  return parseCommandLine(new TextEncoder().encode(text));
}

function argv(text: string): readonly string[] {
  const parsed = parse(text);
  if (!parsed.plain) throw new Error(`${JSON.stringify(text)} is not plain: ${parsed.construct}`);
  return parsed.argv;
}

describe("a plain command", () => {
  it.each([
    ["uptime", ["uptime"]],
    ["  uptime  ", ["uptime"]],
    ["ls -l /var/log", ["ls", "-l", "/var/log"]],
    ["ls\t-l", ["ls", "-l"]],
    ["cat 'a b' \"c d\"", ["cat", "a b", "c d"]],
    ["cat a' 'b\" \"c", ["cat", "a b c"]],
    ["cat '' \"\"", ["cat", "", ""]],
    ["cat a\\ b", ["cat", "a b"]],
    ["cat \\$HOME", ["cat", "$HOME"]],
    ["cat '$HOME' '`id`' ';' '|' '&' '>' '*'", ["cat", "$HOME", "`id`", ";", "|", "&", ">", "*"]],
    ["grep '\\.txt' file", ["grep", "\\.txt", "file"]],
    ["ls --color=auto", ["ls", "--color=auto"]],
    ["git-upload-pack 'repository.git'", ["git-upload-pack", "repository.git"]],
    // What git sends for a quote and an exclamation mark in a name (quote.c, sq_quote_buf).
    ["git-upload-pack 'it'\\''s'\\!''", ["git-upload-pack", "it's!"]],
    ["scp -r -p -t -- /tmp/target", ["scp", "-r", "-p", "-t", "--", "/tmp/target"]],
    [
      "rsync --server --sender -logDtpre.iLsfxCIvu . src/",
      ["rsync", "--server", "--sender", "-logDtpre.iLsfxCIvu", ".", "src/"],
    ],
    ["echo 'Übung'", ["echo", "Übung"]],
    ["date +%F", ["date", "+%F"]],
    ["ps 50%", ["ps", "50%"]],
  ] satisfies [string, string[]][])("%j has the words %j", (text, words) => {
    expect(argv(text)).toEqual(words);
  });
});

const ATTACKS: readonly [string, Construct][] = [
  ["", "empty"],
  ["   \t ", "empty"],
  ["''", "empty_program"],
  ['"" ls', "empty_program"],
  // A second command.
  ["uptime; id", "separator"],
  ["uptime;id", "separator"],
  [";id", "separator"],
  ["uptime & id", "background"],
  ["uptime && id", "background"],
  ["uptime &", "background"],
  ["uptime &| id", "background"],
  ["uptime || id", "pipe"],
  ["uptime | sh", "pipe"],
  ["uptime |& sh", "pipe"],
  ["uptime\nid", "newline"],
  ["uptime\r\nid", "newline"],
  ["uptime\rid", "newline"],
  ["uptime 'a\nid'", "newline"],
  ['uptime "a\nid"', "newline"],
  ["uptime \\\nid", "newline"],
  ["(id)", "group"],
  ["uptime (id)", "group"],
  ["uptime=(id)", "assignment"],
  ["uptime () { id; }", "group"],
  ["{ id; }", "brace"],
  ["{ id, }", "brace"],
  ["uptime {a,b}", "brace"],
  ["{id,-u}", "brace"],
  ["uptime }", "brace"],
  // Substitutions and expansions.
  ["uptime $(id)", "expansion"],
  ["uptime `id`", "command_substitution"],
  ['uptime "$(id)"', "command_substitution"],
  ['uptime "`id`"', "command_substitution"],
  ['uptime "$HOME"', "expansion"],
  ['uptime "${HOME}"', "expansion"],
  ["uptime $HOME", "expansion"],
  ["$SHELL", "expansion"],
  ["${SHELL} -c id", "expansion"],
  ["uptime $'\\x3b'id", "expansion"],
  ['uptime $"a"', "expansion"],
  ["uptime $((1+1))", "expansion"],
  ["uptime $[1+1]", "expansion"],
  ["uptime <(id)", "redirection"],
  ["uptime >(id)", "redirection"],
  ["uptime =(id)", "equals_expansion"],
  ["cat =id", "equals_expansion"],
  ["=id", "assignment"],
  ["cat ~root/.ssh/id_rsa", "tilde"],
  ["cat ~", "tilde"],
  ["cat a=~/b", "tilde"],
  ["cat /a:~/b", "tilde"],
  ["cat *", "glob"],
  ["cat /etc/shado?", "glob"],
  ["cat /etc/[s]hadow", "glob"],
  ["cat ]", "glob"],
  ["/bin/c?t /etc/shadow", "glob"],
  ["[ -f /etc/shadow ]", "glob"],
  ["cat @(a|b)", "group"],
  ["cat !(a)", "history"],
  // Redirections.
  ["uptime > /etc/cron.d/x", "redirection"],
  ["uptime >> /etc/cron.d/x", "redirection"],
  ["uptime 2>/etc/cron.d/x", "redirection"],
  ["uptime >& x", "redirection"],
  ["uptime < /etc/shadow", "redirection"],
  ["uptime <<< x", "redirection"],
  ["sh << EOF", "redirection"],
  [">x", "redirection"],
  ["uptime ^ sh", "redirection"],
  ["uptime ^x", "redirection"],
  // Environment before the program.
  ["LD_PRELOAD=/tmp/x.so uptime", "assignment"],
  ["PATH=/tmp uptime", "assignment"],
  ["PATH+=:/tmp uptime", "assignment"],
  ["IFS=x uptime", "assignment"],
  ["BASH_ENV=/tmp/x uptime", "assignment"],
  ["A='b' uptime", "assignment"],
  ["./a=b", "assignment"],
  // Comments, history, jobs.
  ["uptime # comment", "comment"],
  ["# uptime", "comment"],
  ["uptime#x", "comment"],
  ["uptime !!", "history"],
  ["!id", "history"],
  ["uptime !-1", "history"],
  ["uptime '!id'", "history"],
  ["cat ''=id", "equals_expansion"],
  ["kill ''%1", "job"],
  ['uptime "!id"', "history"],
  ["kill %1", "job"],
  ["%1", "job"],
  // Quotes.
  ["uptime 'a", "unterminated"],
  ['uptime "a', "unterminated"],
  ["uptime \\", "unterminated"],
  // fish ends this word at the second quote, POSIX at the first.
  ["echo 'a\\' '; id '", "escape"],
  ["echo 'a\\\\'", "escape"],
  // csh ends this string at \", POSIX at the last quote.
  ['echo "a\\"; id; \\""', "escape"],
  ['echo "\\$(id)"', "escape"],
  ['echo "a\\\\"', "escape"],
  // fish reads these as a newline, a semicolon, a control character.
  ["echo a\\nid", "escape"],
  ["echo a\\x3bid", "escape"],
  ["echo a\\u003bid", "escape"],
  ["echo a\\cjid", "escape"],
  ["\\ls", "escape"],
  // Characters.
  ["uptime \u0000id", "control_character"],
  ["uptime\u0000", "control_character"],
  ["uptime \u001b[2K", "control_character"],
  ["uptime '\u001b]0;x\u0007'", "control_character"],
  ["uptime 'a\tb'", "control_character"],
  ['uptime "a\tb"', "control_character"],
  ["uptime \u007f", "control_character"],
  ["uptime\u000bid", "control_character"],
  ["uptime\u000cid", "control_character"],
  ["uptime '\u0085'", "invisible_character"],
  ["uptime '\u2028id'", "invisible_character"],
  ["uptime '\u202eid'", "invisible_character"],
  ["uptime '\u200bid'", "invisible_character"],
  ["uptime '\ufeffid'", "invisible_character"],
  ["uptime\u00a0id", "invisible_character"],
  ["uptime\u3000id", "invisible_character"],
  ["uptime '\ue000'", "invisible_character"],
  ["uptime '\u{e0041}'", "invisible_character"],
  ["uptime é", "unquoted_non_ascii"],
  ["uptime ；id", "unquoted_non_ascii"],
  ["uptіme", "unquoted_non_ascii"],
  ["uptime \\é", "escape"],
  // Words of the shell's grammar.
  ["if true", "reserved_word"],
  ["while true", "reserved_word"],
  ["time id", "reserved_word"],
  ["'if' true", "reserved_word"],
  ["function x", "reserved_word"],
  ["coproc id", "reserved_word"],
  ["repeat 3 id", "reserved_word"],
  ["not id", "reserved_word"],
  ["and id", "reserved_word"],
  ["begin id", "reserved_word"],
  ["foreach x", "reserved_word"],
  ["'[[' -f x", "reserved_word"],
  ["'!' id", "history"],
  ["\\! id", "reserved_word"],
  ["'{' id", "reserved_word"],
];

describe("what is not a plain command is named", () => {
  it.each(ATTACKS)("%j is %s", (text, construct) => {
    expect(parse(text)).toEqual({ plain: false, construct });
  });

  it("covers at least a hundred ways", () => {
    expect(new Set(ATTACKS.map(([text]) => text)).size).toBeGreaterThanOrEqual(100);
  });

  it.each([
    ["an overlong sequence", [0x6c, 0x73, 0x20, 0xc0, 0xbb]],
    ["a stray continuation byte", [0x6c, 0x73, 0x20, 0x80]],
    ["a cut sequence", [0x6c, 0x73, 0x20, 0xc3]],
    ["a surrogate", [0x6c, 0x73, 0x20, 0xed, 0xa0, 0x80]],
    ["Latin-1", [0x6c, 0x73, 0x20, 0xe9, 0x20]],
  ])("%s is not UTF-8", (_, bytes) => {
    expect(parseCommandLine(new Uint8Array(bytes))).toEqual({ plain: false, construct: "not_utf8" });
  });

  it("is over the limit by length and by words", () => {
    expect(parse(`ls ${"a".repeat(LIMITS.ssh.command)}`)).toEqual({ plain: false, construct: "over_limit" });
    expect(parse(`ls${" a".repeat(LIMITS.ssh.arguments)}`)).toEqual({
      plain: false,
      construct: "over_limit",
    });
    expect(parse(`ls${" a".repeat(LIMITS.ssh.arguments - 1)}`).plain).toBe(true);
  });
});

describe("the canonical text", () => {
  it("is the same for every way of writing the same words", () => {
    const ways = [
      "tail -n 5 'a b'",
      'tail  -n "5" "a b"',
      "tail -n 5 a\\ b",
      "'tail' '-n' 5 a' 'b",
      " tail\t-n 5 'a'\" \"b ",
    ];
    const texts = ways.map((text) => {
      const parsed = parse(text);
      return parsed.plain ? parsed.canonical : parsed.construct;
    });
    expect(new Set(texts)).toEqual(new Set(["tail -n 5 'a b'"]));
  });

  it("is plain and has the same words again, whatever printable words it is made of", () => {
    const word = fc.string({
      unit: fc.constantFrom(..."abzAZ09 _-./=%~^!#$&'\"()*;<>?@[\\]`{|},:+é漢"),
      maxLength: 12,
    });
    fc.assert(
      fc.property(
        fc.string({ unit: fc.constantFrom(..."abc/."), minLength: 1, maxLength: 6 }),
        fc.array(word, { maxLength: 6 }),
        (program, rest) => {
          const words = [program, ...rest];
          fc.pre(program !== "." || rest.length > 0);
          expect(argv(canonicalText(words))).toEqual(words);
        },
      ),
      { numRuns: 3_000 },
    );
  });
});

describe("programs that run other programs are flagged", () => {
  const wrapped = [
    "env id", "env -i sh", "sh -c id", "bash -lc id", "/bin/sh -c id", "dash x", "zsh -c id", "busybox sh", "sudo id", "sudo -u root sh",
    "su -c id", "doas id", "xargs id", "nice id", "ionice -c3 id", "timeout 5 id", "nohup id", "setsid id", "stdbuf -o0 id", "chroot / id",
    "unshare -r sh", "nsenter -t 1 -a", "watch id", "find / -exec id", "find / -execdir id", "awk 'BEGIN{system(\"id\")}'",
    "sed '1e id' /etc/hosts", "perl -e 'exec 1'", "python3.11 -c 'import os'", "/usr/bin/python3 x", "ruby -e 1", "node -e 1", "lua5.4 x",
    "php8.2 x", "vi x", "vim -c ':'\\!'id' x", "less /etc/hosts", "man -P id ls", "git --upload-pack=id x", "git -c core.sshCommand=id fetch",
    "git --exec-path=/tmp log", "git log --ext-diff", "rsync -e id a b", "rsync --rsh=id a b", "rsync --rsync-path=id a b", "tar --checkpoint-action=exec=id",
    "tar -I id -xf x", "tar --to-command=id", "scp -S id a b", "scp -oProxyCommand=id a b", "sftp -S id", "ssh host id", "zip -TT id x",
    "make -f x", "gdb -ex 'shell id'", "strace id", "flock x id", "script -c id", "tmux new id", "docker run x", "kubectl exec x",
    "systemd-run id", "systemctl edit x", "journalctl", "crontab x", "at now", "eval id", "exec id", "command id", "builtin eval", "source x",
    ". x", "noglob id", "trap id EXIT", "socat exec:id -", "ncat -e id", "openssl enc", "psql -c id", "sqlite3 x '.shell id'",
    "ld.so /bin/id", "/lib64/ld-linux-x86-64.so.2 /bin/id", "ld-2.31.so x", "sort --compress-program=id x", "sort --comp=id x",
    "rg --pre id x", "rg --pre=id x", "split --filter=id x", "cpio --rsh-command=id", "curl -K x", "BASH -c id", "/tmp/../bin/Sh -c id",
    "cat --exec=id", "foo --ex id", "foo --checkpoint=1 --checkpoint-a=exec=id", "ip netns exec x id", "dpkg --pre-invoke=id", "busybox1.36 sh",
  ]; // prettier-ignore

  it.each(wrapped)("%s", (text) => {
    expect(isWrapper(argv(text))).toBe(true);
  });

  it.each([
    "uptime",
    "ls -l /tmp",
    "cat /etc/hosts",
    "df -h",
    "ps aux",
    "grep -e pattern file",
    "tail -n 5 /var/log/syslog",
    "ls --color=auto",
    "id -u",
  ])("%s is not", (text) => {
    expect(isWrapper(argv(text))).toBe(false);
  });
});
