import { mount } from "svelte";
import App from "./App.svelte";
import "./app.css";
import { server } from "./lib/server.svelte.ts";

void server.check();
mount(App, { target: document.getElementById("app")! });
