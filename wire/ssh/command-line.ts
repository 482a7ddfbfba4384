/**
 * What an SSH `exec` request will do when the server's shell reads it (RFC 4254 section 6.5: the command is a
 * string, and sshd hands it to the login shell as `$SHELL -c <string>`).
 *
 * A command line is *plain* when every common login shell (POSIX sh, dash, bash, ksh, zsh, fish, csh, tcsh)
 * splits it into the same words and runs exactly one program with them. Anything that one of those shells
 * would treat specially makes it not plain, and the first such construct is named. The parser therefore
 * accepts less than POSIX does: what is refused here can always be written with single quotes.
 *
 * Where shells disagree, and why it matters:
 *  - fish reads \\ and \' inside single quotes; POSIX reads 'a\' as a complete word, so the rest of the line
 *    would be quoted for one and code for the other;
 *  - fish reads \n, \x41, ... outside quotes as C escapes;
 *  - csh ends a double-quoted string at \" where POSIX goes on, and replaces !name inside single quotes;
 *  - zsh expands =name at the start of a word, some shells ~ and ^ and % elsewhere;
 *  - a byte above 0x7f may be blank in an 8-bit locale, so such text must be quoted.
 */
import { fromUtf8 } from "../bytes.ts";
import { LIMITS } from "../limits.ts";

/** Why a command line is not plain: the first construct met, in the order of the text. */
export type Construct =
  | "none"
  | "empty"
  | "over_limit"
  | "not_utf8"
  | "newline"
  | "control_character"
  | "invisible_character"
  | "unquoted_non_ascii"
  | "separator" // ;
  | "background" // &, && and &|
  | "pipe" // | and ||
  | "redirection" // < > ^
  | "group" // ( ) { }
  | "expansion" // $
  | "command_substitution" // backquote, $( )
  | "glob" // * ? [ ]
  | "brace" // { }
  | "tilde"
  | "comment" // #
  | "history" // !
  | "job" // %
  | "equals_expansion" // =name in zsh
  | "assignment" // NAME=value before the program
  | "escape" // a backslash that shells read differently
  | "unterminated"
  | "reserved_word"
  | "empty_program";

export type PlainCommand = {
  readonly plain: true;
  readonly construct: "none";
  /** The words as the program will get them, argv[0] first. */
  readonly argv: readonly string[];
  /** The words quoted again in one canonical way and joined by single spaces: equal argv, equal text. */
  readonly canonical: string;
  /** It is known to run other programs, by its name or by one of its options (see `isWrapper`). */
  readonly wrapper: boolean;
};

export type CommandLine =
  | PlainCommand
  | { readonly plain: false; readonly construct: Exclude<Construct, "none"> };

/** Characters that mean themselves, anywhere in a word, in every shell named above. */
const SAFE = /^[A-Za-z0-9_@+:,./-]$/;
/** After an unquoted backslash these mean themselves everywhere. Letters and digits are C escapes in fish. */
const ESCAPABLE = /^[ !"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]$/;
/** Format, control, unassigned and private characters, and every space but U+0020: text that deceives a reader. */
const INVISIBLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** Words that some shell reads as syntax or that make it run another command, whether or not they are quoted. */
const RESERVED = new Set(
  (
    "if then else elif fi case esac for foreach while until do done in function select repeat switch begin end endif endsw " +
    "time coproc and or not [ [[ ]] { } ! ( )"
  ).split(" "),
);

/**
 * Parses the bytes of an `exec` request.
 *
 * @param bytes the command exactly as the client sent it
 */
export function parseCommandLine(bytes: Uint8Array): CommandLine {
  if (bytes.length > LIMITS.ssh.command) return not("over_limit");
  const text = fromUtf8(bytes);
  if (text === undefined) return not("not_utf8");
  // Controls first: a newline inside quotes is one word to POSIX and an error or a second command elsewhere.
  for (const character of text) {
    if (character === "\n" || character === "\r") return not("newline");
    const code = character.codePointAt(0) ?? 0;
    if ((code < 0x20 && code !== 0x09) || code === 0x7f) return not("control_character");
    if (code > 0x7f && INVISIBLE.test(character)) return not("invisible_character");
  }
  const words = split(text);
  if (typeof words === "string") return not(words);
  const program = words[0];
  if (program === undefined) return not("empty");
  if (program === "") return not("empty_program");
  if (RESERVED.has(program)) return not("reserved_word");
  if (words.length > LIMITS.ssh.arguments) return not("over_limit");
  return {
    plain: true,
    construct: "none",
    argv: words,
    canonical: canonicalText(words),
    wrapper: isWrapper(words),
  };
}

function not(construct: Exclude<Construct, "none">): CommandLine {
  return { plain: false, construct };
}

type Failure = Exclude<Construct, "none">;

function split(text: string): string[] | Failure {
  const words: string[] = [];
  /** The word being read; undefined between words (an empty quoted word is ""). */
  let word: string | undefined;
  let at = 0;
  while (at < text.length) {
    const character = text.charAt(at);
    if (character === " " || character === "\t") {
      if (word !== undefined) words.push(word);
      word = undefined;
      at += 1;
    } else if (character === "'" || character === '"') {
      const quoted = character === "'" ? singleQuoted(text, at + 1) : doubleQuoted(text, at + 1);
      if (typeof quoted === "string") return quoted;
      word = (word ?? "") + quoted.value;
      at = quoted.end;
    } else if (character === "\\") {
      const next = text.charAt(at + 1);
      if (next === "") return "unterminated";
      if (!ESCAPABLE.test(next)) return "escape";
      word = (word ?? "") + next;
      at += 2;
    } else {
      const failure = unquoted(character, word, words.length === 0);
      if (failure !== undefined) return failure;
      word = (word ?? "") + character;
      at += 1;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

type Quoted = { readonly value: string; readonly end: number };

function singleQuoted(text: string, from: number): Quoted | Failure {
  const close = text.indexOf("'", from);
  if (close < 0) return "unterminated";
  const value = text.slice(from, close);
  if (value.includes("\t")) return "control_character";
  // fish: \\ and \' are escapes here. A backslash before anything else is itself in every shell.
  if (value.includes("\\\\") || value.endsWith("\\")) return "escape";
  // csh replaces history inside single quotes, even with -c.
  if (value.includes("!")) return "history";
  return { value, end: close + 1 };
}

function doubleQuoted(text: string, from: number): Quoted | Failure {
  const close = text.indexOf('"', from);
  if (close < 0) return "unterminated";
  const value = text.slice(from, close);
  for (let i = 0; i < value.length; i++) {
    switch (value.charAt(i)) {
      case "$":
        return value.charAt(i + 1) === "(" ? "command_substitution" : "expansion";
      case "`":
        return "command_substitution";
      case "!":
        return "history";
      case "\t":
        return "control_character";
      case "\\":
        // \" ends the string in csh; \\ and \$ and \` lose the backslash in some shells and keep it in others.
        return "escape";
    }
  }
  return { value, end: close + 1 };
}

/** Why `character` may not stand unquoted here, or undefined when it means itself. */
function unquoted(character: string, word: string | undefined, first: boolean): Failure | undefined {
  if (SAFE.test(character)) return undefined;
  // zsh still sees the start of a word after an empty pair of quotes.
  const startsWord = word === undefined || word === "";
  switch (character) {
    case ";":
      return "separator";
    case "&":
      return "background";
    case "|":
      return "pipe";
    case "<":
    case ">":
    case "^":
      return "redirection";
    case "(":
    case ")":
      return "group";
    case "{":
    case "}":
      return "brace";
    case "$":
      return "expansion";
    case "`":
      return "command_substitution";
    case "*":
    case "?":
    case "[":
    case "]":
      return "glob";
    case "~":
      return "tilde";
    case "#":
      return "comment";
    case "!":
      return "history";
    case "%":
      return startsWord ? "job" : undefined;
    case "=":
      // NAME=value before the program sets its environment (LD_PRELOAD=...); =name is a path in zsh.
      if (first) return "assignment";
      return startsWord ? "equals_expansion" : undefined;
    default:
      return "unquoted_non_ascii";
  }
}

/**
 * The one text of a list of words: equal words give equal text, and every shell named above reads it back as
 * these words. `=` and `%` stand bare inside an argument but not in the program or at the start of a word.
 */
export function canonicalText(words: readonly string[]): string {
  return words
    .map((word, index) => (index > 0 && /^[\w@+:,./-][\w@+:,./=%-]*$/.test(word) ? word : quoteWord(word)))
    .join(" ");
}

/** Quotes one word so that every shell named above reads it back as it is, wherever it stands. */
export function quoteWord(word: string): string {
  if (/^[\w@+:,./-]+$/.test(word)) return word;
  if (word === "") return "''";
  // Quote, backslash and ! stand outside the quotes, escaped: fish and csh would read them inside.
  return word
    .split(/(['!\\])/)
    .filter((piece) => piece !== "")
    .map((piece) => (/^['!\\]$/.test(piece) ? `\\${piece}` : `'${piece}'`))
    .join("");
}

/**
 * Programs whose business is to run another program, or that can be told to by an argument, a script, a
 * configuration file they read or a key that is pressed in them. A list like this is never complete, so an
 * allow-list must name programs; `wrapper` keeps the well-known ones out of a list written too widely.
 */
const WRAPPERS = new Set(
  // Shells and the builtins that run their arguments.
  (
    "sh bash rbash dash ash ksh mksh pdksh zsh rzsh fish csh tcsh elvish nu pwsh busybox toybox eval exec command builtin source . " +
    "noglob nocorrect alias trap enable hash autoload zmodload emulate set unset export declare typeset local readonly env setenv " +
    // Other identities, limits, places and times.
    "sudo sudoedit su doas runuser pkexec setpriv capsh gosu su-exec chpst nice renice ionice chrt taskset timeout nohup setsid setarch " +
    "linux32 linux64 stdbuf unbuffer chroot unshare nsenter bwrap firejail flock time watch at batch crontab systemd-run systemctl " +
    "journalctl loginctl machinectl service run-parts start-stop-daemon daemonize cgexec numactl prlimit proxychains torsocks faketime " +
    "ld.so ld-linux.so ld-linux-x86-64.so ld-linux-aarch64.so " +
    // What runs a command per item.
    "xargs parallel find fd entr make gmake ninja rake ant mvn gradle cmake tar bsdtar cpio zip unzip 7z sort split rg ag ack " +
    // Languages.
    "awk gawk mawk nawk sed perl python pypy ruby node nodejs deno bun php lua luajit tclsh wish expect java jjs jshell scala groovy " +
    "ghci julia rscript r irb gdb lldb strace ltrace valgrind perf bpftrace m4 dc octave " +
    // Editors, pagers, multiplexers, terminals.
    "vi vim view vimdiff rvim nvim ex ed emacs nano pico joe mcedit mc less more most man info pg screen tmux script scriptreplay dialog " +
    // What goes elsewhere, or runs what a remote or a repository says.
    "ssh slogin scp sftp rsync rsh git hg svn bzr cvs curl wget aria2c ftp telnet nc ncat netcat socat openssl tcpdump wireshark nmap " +
    "mosh-server docker podman nerdctl crictl ctr lxc lxc-attach kubectl helm vagrant ansible puppet salt salt-call chef-client terraform " +
    "npm npx yarn pnpm pip pipx gem bundle cargo go apt apt-get aptitude dpkg yum dnf rpm snap flatpak zypper apk pacman " +
    "psql mysql mysqldump sqlite sqlite3 mongo mongosh redis-cli ldapmodify mail mailx sendmail exim logrotate ip dmesg"
  ).split(" "),
);

/** Options of any program that name a program to run; a long option may be cut short (GNU getopt). */
const EXEC_OPTIONS = (
  "exec exec-batch execdir ok okdir upload-pack receive-pack rsh rsync-path checkpoint-action to-command info-script new-volume-script " +
  "rmt-command rsh-command use-compress-program compress-program compress-prog filter pre preprocessor hostname-bin pager editor shell " +
  "command eval init-command init-file rcfile load plugin config-env exec-path ext-diff textconv open-files-in-pager unzip-command"
).split(" ");

/**
 * Whether the program, by name or by an option, is known to run other programs.
 *
 * @param argv at least one word
 */
export function isWrapper(argv: readonly string[]): boolean {
  const path = argv[0] ?? "";
  // The last component, without case (some file systems have none) and version: /usr/bin/python3.11 -> python.
  const name = path.slice(path.lastIndexOf("/") + 1).toLowerCase();
  if (WRAPPERS.has(name) || WRAPPERS.has(name.replace(/[-.0-9]+$/, "")) || name.startsWith("ld-"))
    return true;
  return argv.slice(1).some((argument) => {
    const long = /^--?([A-Za-z][A-Za-z-]*)(=|$)/.exec(argument);
    if (long?.[1] !== undefined) {
      const option = long[1].toLowerCase();
      if (
        argument.startsWith("--")
          ? EXEC_OPTIONS.some((known) => known.startsWith(option))
          : EXEC_OPTIONS.includes(option)
      ) {
        return true;
      }
    }
    return /proxycommand|localcommand|knownhostscommand|sshcommand/i.test(argument);
  });
}
