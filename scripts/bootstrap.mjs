/**
 * The first thing every npm script runs, and the only JavaScript in the repository: it has to work on Node 20,
 * before anything is installed. It installs what package-lock.json names when that has not happened yet, then
 * runs the given script with the Node that the project pins, which is a dependency like any other.
 *
 *   node scripts/bootstrap.mjs <script.ts> [arguments …]
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const node = join(root, "node_modules", ".bin", "node");

/** npm writes this file last: what is really installed. */
const installed = join(root, "node_modules", ".package-lock.json");

/**
 * Whether anything that package-lock.json names is missing or of another version. The times of the files would
 * say nothing, git sets them. Optional packages are those of other platforms.
 */
function needsInstallation() {
  if (!existsSync(installed) || !existsSync(node)) return true;
  const wanted = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(installed, "utf8")).packages;
  return Object.entries(wanted).some(
    ([path, entry]) => path !== "" && !entry.optional && present[path]?.version !== entry.version,
  );
}

/**
 * Runs a command, passes signals on to it, and resolves to its exit code (128 + n for a signal, as shells do).
 * The child stays in our process group, so a terminal's Ctrl-C reaches it without us; passing it on again does
 * no harm.
 */
function run(command, args, stdio) {
  return new Promise((resolve, reject) => {
    const environment = { ...process.env, PATH: `${join(root, "node_modules", ".bin")}:${process.env.PATH}` };
    const child = spawn(command, args, { cwd: root, stdio, env: environment });
    const signals = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
    const passOn = (signal) => child.kill(signal);
    for (const signal of Object.keys(signals)) process.on(signal, passOn);
    child.once("error", reject);
    child.once("exit", (code, signal) => {
      for (const name of Object.keys(signals)) process.removeListener(name, passOn);
      resolve(code ?? 128 + (signals[signal] ?? 9));
    });
  });
}

async function install() {
  console.error("sallyport: installing dependencies (npm ci), this takes a minute the first time");
  const started = Date.now();
  // npm's own output goes to stderr: stdout belongs to the script.
  const code = await run("npm", ["ci", "--no-fund", "--no-audit", "--loglevel=error"], ["ignore", 2, 2]);
  if (code !== 0) {
    console.error("sallyport: npm ci failed, see above");
    process.exit(code);
  }
  console.error(`sallyport: dependencies installed in ${Math.round((Date.now() - started) / 1000)} s`);
}

const [script, ...args] = process.argv.slice(2);
if (script === undefined) {
  console.error("usage: node scripts/bootstrap.mjs <script.ts> [arguments …]");
  process.exit(2);
}
if (Number(process.versions.node.split(".")[0]) < 20) {
  console.error(`sallyport: Node 20 or newer is needed, this is ${process.versions.node}`);
  process.exit(1);
}
if (needsInstallation()) await install();
process.exit(await run(node, [join(root, script), ...args], "inherit"));
