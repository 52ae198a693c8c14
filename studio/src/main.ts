import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { server } from "./lib/server.svelte.ts";
import { isolate } from "./lib/site.svelte.ts";

void isolate();
void server.check();
const target = document.getElementById("app")!;
target.replaceChildren(); // what a page that no server serves says
mount(App, { target });
