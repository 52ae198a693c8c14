/** One method in the playground: its options as typed, and its run. */
import { decode, type RunRequest } from "./api.ts";
import { ApiError, type FieldError } from "./errors.ts";
import { createReader, type Reading } from "./trace.ts";

const empty = (): Reading => ({ tokens: [], text: "", steps: [], canvas: 0, names: new Map() });

export class Lane {
  readonly id: number;
  method = $state("");
  texts: Record<string, string> = $state({});
  /** Read anew, so that what is drawn knows that it changed. */
  reading: Reading = $state.raw(empty());
  state: "idle" | "waiting" | "running" | "done" | "stopped" | "failed" = $state("idle");
  problem = $state("");
  errors: readonly FieldError[] = $state.raw([]);
  /** Whether its options are shown. */
  open = $state(false);
  looked = $state(-1);
  /** Step shown; -1 follows the run. */
  step = $state(-1);

  constructor(id: number, method: string, texts: Record<string, string> = {}) {
    this.id = id;
    this.method = method;
    this.texts = texts;
  }

  clear(): void {
    this.reading = empty();
    this.state = "idle";
    this.problem = "";
    this.errors = [];
    this.looked = -1;
    this.step = -1;
  }

  async run(request: RunRequest, signal: AbortSignal): Promise<void> {
    this.clear();
    this.state = "running";
    const reader = createReader();
    let drawing = false;
    const draw = (): void => {
      drawing = false;
      const { tokens, steps, ...rest } = reader.reading;
      this.reading = { ...rest, tokens: tokens.slice(), steps: steps.slice() };
    };
    try {
      for await (const events of decode(request, signal)) {
        reader.add(events);
        if (drawing) continue;
        drawing = true;
        requestAnimationFrame(draw);
      }
      this.state = "done";
    } catch (error) {
      if ((error as Error).name === "AbortError") this.state = "stopped";
      else {
        this.state = "failed";
        this.problem = (error as Error).message;
        this.errors = error instanceof ApiError ? error.fields : [];
        if (this.errors.some(({ where }) => where === "method")) this.open = true;
      }
    }
    draw();
  }
}
