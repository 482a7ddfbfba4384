/** The table of commands: a new one is a file in `commands/` and a row here. */
import type { Command } from "./command.ts";
import { apply } from "./commands/apply.ts";
import { approvalsApprove, approvalsDeny, approvalsLs, approvalsShow } from "./commands/approvals.ts";
import { connect } from "./commands/connect.ts";
import { connectorEnroll, connectorLs, connectorRevoke } from "./commands/connector.ts";
import { http } from "./commands/http.ts";
import { kubeToken, kubeconfig } from "./commands/kubeconfig.ts";
import { kubectl } from "./commands/kubectl.ts";
import { login } from "./commands/login.ts";
import { logout } from "./commands/logout.ts";
import { ls } from "./commands/ls.ts";
import { policyCheck, policyExplain } from "./commands/policy.ts";
import { proxy } from "./commands/proxy.ts";
import { psql } from "./commands/psql.ts";
import { sessionsExport, sessionsPlay, sessionsTail, sessionsVerify } from "./commands/recordings.ts";
import { keysLs, keysRotate, revocationsLift, revocationsLs, revoke } from "./commands/revoke.ts";
import { run } from "./commands/run.ts";
import { sessionsKill, sessionsLs, sessionsShow } from "./commands/sessions.ts";
import { ssh } from "./commands/ssh.ts";
import { sshConfig } from "./commands/ssh-config.ts";
import { tasksEnd, tasksLs, tasksShow, tasksStart } from "./commands/tasks.ts";
import { whoami } from "./commands/whoami.ts";

export const COMMANDS: readonly Command[] = [
  login,
  logout,
  whoami,
  ls,
  psql,
  connect,
  run,
  http,
  ssh,
  sshConfig,
  proxy,
  kubectl,
  kubeconfig,
  kubeToken,
  approvalsLs,
  approvalsShow,
  approvalsApprove,
  approvalsDeny,
  sessionsLs,
  sessionsShow,
  sessionsPlay,
  sessionsTail,
  sessionsVerify,
  sessionsExport,
  sessionsKill,
  tasksStart,
  tasksLs,
  tasksShow,
  tasksEnd,
  revoke,
  revocationsLs,
  revocationsLift,
  keysLs,
  keysRotate,
  apply,
  policyCheck,
  policyExplain,
  connectorEnroll,
  connectorLs,
  connectorRevoke,
];
