/**
 * What the page asks for, typed: of the server's routes, or of what a static site has in their place. A failure is an `ApiError` with what the
 * server said, or `gone` where nobody answered.
 */
import type { TimedEvent } from "../../../src/engine/trace.ts";
import type { Claim, Home, Showcase } from "../../../src/papers/paper.ts";
import type { Measurement, ReproductionRecord } from "../../../src/papers/reproduction.ts";
import type {
  CodebookPlace,
  FoundCodes,
  MarkovReport,
  MarkovRequest,
  ServedCode,
  ServedCodebooks,
  ServedCodes,
  ServedNeurons,
  ServedPiece,
} from "../../../src/server/protocol.ts";
import { ApiError } from "./errors.ts";
import { site } from "./site.svelte.ts";

export interface PaperCard {
  number: number;
  name: string;
  system: string;
  title: string;
  authors: string[];
  year: number;
  arxiv?: string;
  venue?: string;
  line: string;
  what: [string, string, string];
  lives: Home;
  missing?: string;
  showcase?: Showcase;
  state: "runs" | "planned";
  /** `verdict`: absent where nothing was measured. */
  claims: (Claim & { measurement?: Measurement; verdict?: boolean })[];
  record?: Omit<ReproductionRecord, "measurements">;
  /** The record that is kept is damaged; the server's output says how. */
  unreadable?: true;
  trace: boolean;
}

export interface JsonSchema {
  type?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  description?: string;
  default?: unknown;
  enum?: unknown[];
  const?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  minLength?: number;
  maxLength?: number;
  items?: JsonSchema;
  anyOf?: JsonSchema[];
}

export interface MethodInfo {
  name: string;
  family: string;
  summary: string;
  source?: string;
  lossless: boolean | string;
  /** Capabilities of a model, without which it cannot run. */
  needs: string[];
  options: JsonSchema;
}

export interface ModelInfo {
  name: string;
  origin: string;
  bytes: number;
  architecture?: string;
  parameters?: number;
  parts?: string[];
  problem?: string;
}

export interface ModelFacts {
  vocabularySize: number;
  contextLength: number;
  chats: boolean;
  capabilities: string[];
}

export interface ModelCard {
  card?: string;
  config?: Record<string, unknown>;
  lossCurve: boolean;
}

const gone = (): ApiError => new ApiError("gone", "the server does not answer");

async function ask(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(site ? site.file(path) : path, init);
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw gone();
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => undefined);
  throw new ApiError(
    body?.error?.code ?? "internal",
    // A server says what is missing; a site of files cannot.
    body?.error?.message ?? (response.status === 404 ? "nothing is kept under this name" : `HTTP ${response.status}`),
    body?.error?.fields,
  );
}

/** What a model is asked, with the question as JSON. */
async function post<T>(model: string, path: string, body: object, signal?: AbortSignal): Promise<T> {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  return (await ask(`/api/models/${encodeURIComponent(model)}/${path}`, init)).json();
}

const known = new Map<string, Promise<unknown>>();

/** What does not change while the server runs is asked for once. */
function once<T>(path: string): Promise<T> {
  const asked = known.get(path) ?? ask(path).then((response) => response.json());
  known.set(path, asked);
  asked.catch(() => known.delete(path));
  return asked as Promise<T>;
}

export const api = {
  health: async (): Promise<{ version: string; active: number }> => (await ask("/health")).json(),
  papers: () => once<PaperCard[]>("/api/papers"),
  methods: () => once<{ request: JsonSchema; methods: MethodInfo[] }>("/api/methods"),
  models: () => once<ModelInfo[]>("/api/models"),
  card: (name: string) => once<ModelCard>(`/api/models/${encodeURIComponent(name)}/card`),
  facts: (name: string) => once<ModelFacts>(`/api/models/${encodeURIComponent(name)}/facts`),
  vocabulary: (name: string) => once<string[]>(`/api/models/${encodeURIComponent(name)}/vocabulary`),
  measurements: () =>
    once<{ records: ReproductionRecord[]; bench: { name: string; record: unknown }[] }>("/api/measurements"),
  trace: async (name: string): Promise<string> => (await ask(`/api/papers/${encodeURIComponent(name)}/trace`)).text(),
  /** A paper's own short run, computed while one waits. */
  live: async (name: string, signal: AbortSignal): Promise<string> =>
    (await ask(`/api/papers/${encodeURIComponent(name)}/live`, { method: "POST", signal })).text(),
  /** The address of the picture. */
  lossCurve: (name: string): string => {
    const path = `/api/models/${encodeURIComponent(name)}/loss.svg`;
    return site ? site.file(path) : path;
  },
  tokens: (name: string, text: string, signal?: AbortSignal): Promise<number[]> =>
    site ? site.call(signal, "tokenize", name, text) : post(name, "tokens", { text }, signal),
  neurons: (name: string, word: string | undefined, signal?: AbortSignal): Promise<ServedNeurons> =>
    site ? site.call(signal, "neurons", name, word) : post(name, "neurons", { word }, signal),
  codebooks: async (name: string, signal?: AbortSignal): Promise<ServedCodebooks> =>
    site
      ? site.call(signal, "codebooks", name)
      : (await ask(`/api/models/${encodeURIComponent(name)}/codebooks`, { signal })).json(),
  codes: (name: string, place: CodebookPlace, signal?: AbortSignal): Promise<ServedCodes> =>
    site ? site.call(signal, "codes", name, place) : post(name, "codes", place, signal),
  code: (name: string, place: CodebookPlace & { code: number }, signal?: AbortSignal): Promise<ServedCode> =>
    site ? site.call(signal, "code", name, place) : post(name, "codes/one", place, signal),
  codedText: (name: string, place: CodebookPlace, text: string, signal?: AbortSignal): Promise<ServedPiece[]> =>
    site ? site.call(signal, "codedText", name, place, text) : post(name, "codes/text", { ...place, text }, signal),
  findCodes: (name: string, expression: string, signal?: AbortSignal): Promise<FoundCodes> =>
    site ? site.call(signal, "findCodes", name, expression) : post(name, "codes/find", { expression }, signal),
  markov: (name: string, request: MarkovRequest, signal?: AbortSignal): Promise<MarkovReport> =>
    site ? site.call(signal, "markov", name, request) : post(name, "markov", request, signal),
  /** Forgets what was asked for, after the server came back. */
  forget: (): void => known.clear(),
};

export interface RunRequest {
  model: string;
  prompt: string;
  method: { name: string } & Record<string, unknown>;
  options: Record<string, unknown>;
  shapers?: object[];
  /** The prompt is said in the model's chat form. */
  chat?: boolean;
  /** Data URLs, shown before the prompt. */
  pictures?: string[];
}

/** A run's events as they come, in batches. Ends with the run; the signal ends it where it decodes, too. */
export async function* decode(request: RunRequest, signal: AbortSignal): AsyncGenerator<TimedEvent[]> {
  if (site) {
    yield* site.run(request, signal);
    return;
  }
  const response = await ask("/api/runs", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop()!;
      const events: TimedEvent[] = [];
      for (const block of blocks) {
        const data = block
          .split("\n")
          .find((line) => line.startsWith("data: "))
          ?.slice(6);
        if (data === undefined) continue;
        if (block.startsWith("event: failure")) {
          if (events.length > 0) yield events;
          const { code, message, fields } = JSON.parse(data);
          throw new ApiError(code, message, fields);
        }
        events.push(JSON.parse(data));
      }
      if (events.length > 0) yield events;
    }
  } catch (error) {
    if (error instanceof ApiError || (error as Error).name === "AbortError") throw error;
    throw gone();
  } finally {
    await reader.cancel().catch(() => {});
  }
}
