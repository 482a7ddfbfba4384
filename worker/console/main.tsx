/** The console's start. */
import "./styles/base.css";
import "./styles/components.css";
import "./styles/pages.css";
import { render } from "preact";
import { App } from "./app.tsx";
import { loadIdentity } from "./api/client.ts";
import { applyTheme } from "./theme.ts";

applyTheme();
void loadIdentity();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
