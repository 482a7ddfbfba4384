/** `npm test [-- vitest arguments]`: all tests, with everything they need started by the tests themselves. */
import { runVitest } from "./lib/vitest.ts";

process.exitCode = await runVitest(process.argv.slice(2));
