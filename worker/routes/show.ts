/** How the API shows approvals and sessions: times as RFC 3339. */
export { showApproval, time } from "../objects/control/shown-approval.ts";
export { showSession } from "../objects/control/shown-session.ts";
