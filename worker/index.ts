import { app } from "./routes/app.ts";

export { ConnectorObject } from "./objects/connector.ts";
export { ControlObject } from "./objects/control/object.ts";
export { SessionObject } from "./objects/session/object.ts";

export default app;
