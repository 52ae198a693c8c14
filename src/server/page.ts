/**
 * The engine's side in a worker of a page that has no server: the studio as a static site. It answers what the engine's process answers,
 * and checks the runs that the page's forms ask for.
 */
import { createConstraint } from "../constraints/index.ts";
import { ensure, VentrisError } from "../errors.ts";
import type { OpenProgress } from "../references.ts";
import { setPage } from "../shipped.browser.ts";
import { createEngineSide, plainError } from "./engine-side.ts";
import { FormError, fieldsOf } from "./errors.ts";
import type { FromEngine, RunRequest, ToEngine } from "./protocol.ts";
import { readRun } from "./run-body.ts";

export type ToPageEngine =
  | ToEngine
  /** Before all others: the page's address, its folder of models, and their names. */
  | { readonly type: "begin"; readonly page: string; readonly folder: string; readonly models: readonly string[] }
  /** A run as a form has it. */
  | { readonly type: "ask"; readonly id: number; readonly body: unknown };

export type FromPageEngine = FromEngine | { readonly type: "progress"; readonly progress: OpenProgress };

const scope = globalThis as unknown as {
  postMessage(message: FromPageEngine): void;
  onmessage: (event: { data: ToPageEngine }) => void;
};
const send = (message: FromPageEngine): void => scope.postMessage(message);

const engine = createEngineSide({
  openOptions: { onProgress: (progress) => send({ type: "progress", progress }) },
  send,
  soon: queueMicrotask,
  residentBytes: () => 0,
});

/** Errors: `FormError`, as a server's trial has it; what was made here is what the run takes. */
function tryConstraint({ constraint }: RunRequest["options"]): void {
  try {
    if (constraint !== undefined) createConstraint(constraint);
  } catch (error) {
    throw error instanceof VentrisError ? new FormError(error.code, error.message) : error;
  }
}

let models: readonly string[] = [];
const rules = {
  local: true,
  listed: async () => models,
  async known(model: string) {
    ensure(models.includes(model), "unavailable", `this page has ${models.join(", ")}, and no model ${model}`);
    return model;
  },
};

scope.onmessage = async ({ data: message }) => {
  if (message.type === "begin") {
    setPage(message.page, message.folder);
    models = message.models;
  } else if (message.type === "ask") {
    const { id, body } = message;
    try {
      const request = await readRun(body, rules);
      tryConstraint(request.options);
      await engine.hear({ type: "runs", runs: [{ id, request, detail: "trace" }] });
    } catch (error) {
      const fields = fieldsOf(error);
      send({ type: "end", id, error: { ...plainError(error), ...(fields && { fields }) } });
    }
  } else await engine.hear(message);
};
