/**
 * Names that people bring from elsewhere: from other libraries, from OpenAI's interface, or mistyped. The one place that knows what they are
 * called here.
 */
import { ensure, shown } from "./errors.ts";

/** Ours, and what others call the same, written as `plain` writes them. A name counts only where ours is known. */
const peers: Readonly<Record<string, string>> = {
  // of a request
  maxTokens:
    "maxnewtokens maxoutputtokens maxcompletiontokens maxgeneratedtokens maxlength maxlen maxgenlen maxgentokens maxtokenstosample tokens npredict numpredict numtokens tokenlimit",
  minTokens: "minnewtokens minlength minoutputtokens",
  stop: "stopsequence stopsequences stopstring stopstrings stopword stopwords stoptexts customstoptriggers stoptriggers stops antiprompt",
  stopTokens: "stoptokenids stopids eostokenid eostokenids endtokens",
  temperature: "temp dosample",
  topNSigma: "topsigma nsigma",
  epsilon: "epsiloncutoff",
  eta: "etacutoff",
  repetitionPenalty: "repeatpenalty penaltyrepeat penalty",
  frequencyPenalty: "penaltyfreq alphafrequency",
  presencePenalty: "penaltypresent alphapresence",
  penaltyWindow: "repeatlastn penaltylastn lasttokens repetitioncontext repetitionpenaltyrange",
  noRepeatNgram: "norepeatngramsize",
  badTokens: "badwordsids suppresstokens bannedtokens",
  logitBias: "tokenbias sequencebias",
  mirostat: "mirostattau mirostateta mirostatmode",
  dry: "drymultiplier dryrepeatpenalty",
  xtc: "xtcprobability xtcthreshold",
  order: "samplers samplerorder samplingorder",
  seed: "randomseed manualseed generator rngseed",
  logprobs: "toplogprobs nprobs outputscores returnlogprobs",
  constraint:
    "grammar format responseformat outputformat jsonschema schema structuredoutputs guidedjson guidedregex guidedchoice guidedgrammar regex choices prefixallowedtokensfn",
  shapers: "logitsprocessor logitsprocessors logitprocessors",
  taps: "outputhiddenstates hooks",
  signal: "abortsignal cancellationtoken stoponabortsignal",
  method: "decoder decoding strategy algorithm",
  // of a method
  draft: "draftmodel assistantmodel",
  length:
    "numdrafttokens numassistanttokens numspeculativetokens draftmax maxlength maxseqlength seqlen blocksize contextlength",
  beams: "numbeams beamwidth beamsize width",
  rollouts: "n numsamples numreturnsequences",
  // of training
  steps: "maxsteps numsteps iterations iters maxiters",
  epochs: "steps numepochs numtrainepochs maxsteps numsteps iterations iters maxiters passes",
  learningRate: "lr maxlr",
  lora: "loraadapter adapter adapters peft lorarank lorar rank r",
  alpha: "loraalpha scale",
  targets: "targetmodules loratargets",
  folder: "out output outputdir outputfolder run",
  out: "output outputdir outputfolder saveto",
  maxMinutes: "minutes maxtime timelimit",
  // of a model that is opened
  weights: "dtype quantization quantize quant precision torchdtype loadin8bit loadin4bit",
  keyValues: "cachetype kvcache kvcachedtype cachetypek typek",
  contextLength: "contextsize nctx numctx context maxmodellen maxseqlen ctxsize maxcontext",
  device: "gpu gpulayers ngpulayers ngl backend executionproviders devicemap",
  threads: "nthreads numthreads maxthreads threadcount",
  onProgress: "progresscallback onloadprogress ondownloadprogress initprogresscallback",
  // values of those
  f32: "fp32 float32 full",
  int8: "q8 q80 8bit",
  int4: "q4 q40 4bit q4f16",
  webgpu: "gpu metal vulkan dml directml",
  cuda: "nvidia",
  // of a conversation
  system: "systemprompt systemmessage instructions",
  messages: "history chathistory conversationhistory conversation",
  // of a message
  user: "human person me",
  assistant: "ai bot chatbot gpt",
  role: "from speaker author sender",
  content: "text message body parts value",
  text: "inputtext outputtext txt",
  // of a picture in a prompt
  image: "img picture pic photo imageurl inputimage",
  // of a constraint
  jsonSchema: "schema object properties zod",
  regex: "pattern regexp regularexpression",
  grammar: "grammarfile gbnf bnf ebnf lark cfg",
  choices: "choice enum oneof anyof options values",
  sqlSchema: "sql tables",
  smiles: "molecule",
  // of a score
  top: "logprobs toplogprobs",
  // of the choice among tools
  required: "any always force forced must",
  none: "never off",
  auto: "automatic",
  // of the command line
  prompt: "text input",
};

const ours = new Map<string, string[]>();
for (const [name, others] of Object.entries(peers))
  for (const other of others.split(" ")) ours.set(other, [...(ours.get(other) ?? []), name]);

/** The same name however its words are joined: maxNewTokens, max_new_tokens, --max-new-tokens. */
export const plainName = (name: string): string => name.replace(/[^a-z0-9]/gi, "").toLowerCase();

/** What stands for an unknown name among those that are known: what others call so, or the nearest that is at most `farthest` slips away. */
export function meantBy(name: string, known: readonly string[], farthest?: number): string | undefined {
  const same = plainName(name);
  const candidates = known.map((one) => [plainName(one), one] as const);
  const named = (wanted: string): string | undefined => candidates.find(([one]) => one === wanted)?.[1];
  const oursOf = (other: string): string | undefined =>
    (ours.get(other) ?? []).map((mine) => named(plainName(mine))).find((found) => found !== undefined);
  return (
    named(same) ??
    oursOf(same) ??
    nearest(name, known, Math.min(farthest ?? 1, 1)) ??
    oursOf(slippedOf(same, othersOf(known)) ?? "") ??
    (farthest === undefined ? begunBy(same, known) : undefined) ??
    nearest(name, known, farthest)
  );
}

/** What others call it, with a slip: a short name is near to too much, as `samples` to `samplers`, unless its letters only changed places. */
function slippedOf(same: string, others: readonly string[]): string | undefined {
  const letters = (name: string): string => [...name].sort().join("");
  if (same.length < leastBeginning) return undefined;
  const near = same.length < leastSlipped ? others.filter((one) => letters(one) === letters(same)) : others;
  return nearest(same, near, 1);
}

const leastSlipped = 9;

/** Shorter beginnings are those of too much. */
const leastBeginning = 4;

/** The only one of some names that begins so: `warmupStableDecay` by `warmupStable`, `penalties` by `penalty`. */
function begunBy(beginning: string, known: readonly string[]): string | undefined {
  const same = plainName(beginning);
  if (same.length < leastBeginning) return undefined;
  const several = same.replace(/y$/, "ies");
  const begun = known.filter((name) => plainName(name).startsWith(same) || plainName(name) === several);
  return begun.length === 1 ? begun[0] : undefined;
}

/** What others call some of ours. */
const othersOf = (known: readonly string[]): string[] =>
  known.flatMap((name) => (Object.hasOwn(peers, name) ? peers[name].split(" ") : []));

/** What stands beside the options of a schema: further options, which it does not know, and ways. */
export interface Others {
  readonly besides?: readonly string[];
  readonly ways?: Ways;
  /** What else has an option of this name: "it is an option of the method chain". */
  elsewhere?(name: string): string | undefined;
}

/** How what other libraries have as an option is had here, where it is none, by its name written plain. */
export type Ways = Readonly<Record<string, string>>;

const spread = (ways: Readonly<Record<string, string>>): Ways =>
  Object.fromEntries(Object.entries(ways).flatMap(([names, way]) => names.split(" ").map((name) => [name, way])));

/** Options of another call, and what others call them, lead there. */
const elsewhere = (options: string, way: string): Ways =>
  spread({
    [options
      .split(" ")
      .map((one) => `${plainName(one)} ${peers[one] ?? ""}`.trim())
      .join(" ")]: way,
  });

const ofOpening = "device threads weights keyValues contextLength memoryLimit maxRows cacheSlots lora";
const ofRequests =
  "maxTokens minTokens stop stopTokens temperature topK topP minP typicalP seed repetitionPenalty frequencyPenalty presencePenalty noRepeatNgram logitBias badTokens mirostat logprobs constraint method shapers";

/** How a text is had piece by piece, where others take a function for it. */
export const streaming = "iterate the text of a run, for await (const piece of model.decode(…).text)";

/** Of a request. */
export const requestWays: Ways = {
  ...elsewhere(ofOpening, "it is an option of open, for all requests of the model"),
  ...spread({
    "prompt messages input text contents": "it is the first argument, before the options",
    "system systemprompt systemmessage instructions": "it is an option of model.chat, or a message of the role system",
    "numreturnsequences n bestof numcompletions samples numsamples":
      "call it once for each text, with another number as request; the calls share their passes",
    "numbeams beams beamwidth beamsize": 'choose the method, as in method: { name: "beam", beams: 4 }',
    "numbeamgroups diversitypenalty": 'choose the method, as in method: "diverse-beam"',
    "penaltyalpha contrastivesearch":
      "there is no contrastive search; the shapers dola, lol and cd contrast distributions",
    "draft draftmodel assistantmodel speculative speculativedecoding numdrafttokens numassistanttokens":
      'choose the method, as in method: { name: "dyspec", draft: "pylos" }',
    "promptlookupnumtokens promptlookup": 'choose the method, as in method: "prompt-lookup"',
    "stream streamer ontextchunk ontoken ontokens onresponsechunk callbackfunction callback callbacks onchunk ontext ondelta":
      streaming,
    "grammar guidedgrammar gbnf": 'it is a constraint, as in constraint: { grammar: "root ::= [a-z]+" }',
    "jsonschema guidedjson schema": "it is a constraint, as in constraint: { jsonSchema: … }",
    "regex guidedregex": 'it is a constraint, as in constraint: { regex: "[0-9]{4}" }',
    "choices guidedchoice": 'it is a constraint, as in constraint: { choices: ["yes", "no"] }',
    "eostoken eos endtoken endoftext stopateos":
      "the model's own end tokens end a text; stop takes further texts, and stopTokens further ids",
    "ignoreeos skipeos": "minTokens: 100 keeps a text from ending before",
    skipspecialtokens: "special tokens are never in the text",
    "images image picture pictures":
      'pictures stand in the prompt, as in decode([{ image: "cat.png" }, "What is this?"])',
    "template chattemplate": "messages as the prompt are written by the template of the model's tokenizer",
    "model modelid": "the model is what open gave, and the call is its method",
    "tools toolchoice functions functioncall": "docs/how/tools.md shows how tools are called",
    "returnfulltext echo": "the result is what was written behind the prompt, and never the prompt itself",
    dosample: "temperature 0 takes the likeliest token, and above it tokens are drawn",
    timeout: "give a signal, as AbortSignal.timeout(10_000)",
  }),
};

/** Of a command that takes a prompt. */
export const promptWays = spread({
  "prompt text input promt message query":
    'the prompt stands by itself, in quotes, as in ventris run "Once upon a time"',
  "stream streaming nostream": "the text is always written as it comes; --json gives it when it is whole",
  "system systemprompt systemmessage instructions": "it is an option of ventris chat",
  "interactive conversation": "ventris chat is a conversation",
});

/** Of opening a model. */
export const openWays: Ways = {
  ...elsewhere(ofRequests, "it is an option of each request: decode, generate, chat"),
  ...spread({
    "model modelpath modelid path repo repoid filename": "it is the first argument, before the options",
    "cachedir cachefolder modelsdirectory": "the environment variable VENTRIS_CACHE names the cache folder",
    "token accesstoken hftoken authtoken": "the environment variable HF_TOKEN opens private models of the hub",
    "baseurl endpoint url": 'open takes the address in place of a name, as in open("http://host:port/v1", { model })',
    "localfilesonly offline": "without a network the copy in the cache is used",
    "embedding embeddings": "every model embeds, by model.embed",
    "draft draftmodel assistantmodel": 'it is an option of methods, as in method: { name: "dyspec", draft: "pylos" }',
    "gpu usegpu gpulayers ngpulayers ngl":
      'a graphics card takes a model as a whole: device: "webgpu", or device: "cuda"; without one leave it out, or device: "cpu"',
    "callback callbacks": "onProgress: (progress) => … hears how opening goes",
    "system systemprompt systemmessage messages": "it is an option of model.chat",
    "revision branch subfolder": "the hub's main revision is opened; another one is opened as a folder on this disk",
  }),
};

/** Of a conversation. */
export const chatWays: Ways = {
  ...elsewhere(ofRequests, "it is an option of answers: chat({ defaults: { … } }) for all, send(text, { … }) for one"),
  ...elsewhere(ofOpening, "it is an option of open, for all conversations of the model"),
  ...spread({
    "template chattemplate chatwrapper": "the template is that of the model's tokenizer",
    "signal abortsignal": "it is an option of answers: chat({ defaults: { … } }) for all, send(text, { … }) for one",
    "model modelid context contextsequence": "the model is what open gave, and the call is its method",
    "tools toolchoice functions": "docs/how/tools.md shows how tools are called",
    "stream streamer ontextchunk ontoken onresponsechunk callback callbacks onchunk":
      "iterate the text of an answer, for await (const piece of chat.send(…).text)",
  }),
};

/** Of a score. */
export const scoreWays = spread({
  "temperature topk topp": "a text is scored under the model's own distribution",
});

/** Of an embedding. */
export const embedWays = spread({
  "pooling normalize normalise": "an embedding is the mean of the final states, scaled to length 1",
});

/** Of a tokenizer. */
export const tokenizerWays = spread({
  addspecialtokens: "special: false leaves the begin token out",
  "skipspecialtokens parsespecial":
    "special tokens are left out unless special is true; allowSpecial reads their texts",
  "tokenize returntensors returndict": "applyChatTemplate gives a text, encodeChat ids",
});

/** The end of a sentence about a name that there is not: which is meant, how else it is had, or nothing. */
export function suggestion(name: string, known: readonly string[], ways: Ways = {}): string {
  const way = Object.hasOwn(ways, plainName(name)) ? ways[plainName(name)] : undefined;
  // Of a name that is itself among them, something else is wrong.
  const meant = known.includes(name) ? undefined : meantBy(name, known);
  if (way !== undefined && (meant === undefined || plainName(meant) !== plainName(name))) return `: ${way}`;
  return hint(meant);
}

/** The same of what is found otherwise; undefined: nothing is. */
export const hint = (meant: string | undefined): string => (meant === undefined ? "" : `; did you mean "${meant}"?`);

/** Of an object by its fields: the one of `known` that was meant by one that is not among them. */
export const meantField = (fields: object, known: readonly string[]): string | undefined => {
  for (const field of Object.keys(fields)) {
    const meant = known.includes(field) ? undefined : meantBy(field, known);
    if (meant !== undefined) return `; did you mean ${shown(meant)} for ${shown(field)}?`;
  }
  return undefined;
};

/** The same where more follows: a question, or a full stop. */
export const didYouMean = (name: string, known: readonly string[]): string => suggestion(name, known) || ".";

/** A value that is not whole, by its fields: of what it lacks, the one that was meant. */
export function shownFields(value: unknown, known: readonly string[]): string {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return shown(value);
  const fields = Object.keys(value);
  const lacks = known.filter((field) => !fields.includes(field));
  const hints = fields.filter((field) => !known.includes(field)).map((field) => suggestion(field, lacks));
  const list = fields
    .slice(0, 20)
    .map((field) => field.slice(0, 100))
    .join(", ");
  return fields.length === 0 ? shown(value) : `an object with ${list}${hints.find((hint) => hint !== "") ?? ""}`;
}

/** Errors: `bad_option` naming what is no option, what was meant by it or how else it is had, and those that there are. */
export function requireNothingElse(others: object, call: string, known: readonly string[], ways?: Ways): void {
  const [extra] = Object.keys(others);
  ensure(extra === undefined, "bad_option", () => {
    return `${call}: there is no option ${shown(extra)}${suggestion(extra, known, ways)} (known: ${known.join(", ") || "none"})`;
  });
}

/** The same of the fields of what is no options, by its place. Errors: `bad_option`. */
export function requireFieldsAmong(value: object, place: string, known: readonly string[]): void {
  const extra = Object.keys(value).find((field) => !known.includes(field));
  const others = known.filter((field) => !Object.hasOwn(value, field));
  ensure(extra === undefined, "bad_option", () => {
    return `${place} has no field ${shown(extra)}${suggestion(extra!, others) || ` (known: ${known.join(", ")})`}`;
  });
}

/** The same for methods, where others' names are those of an algorithm. */
const algorithms = spread({
  "beamsearch beams": "beam",
  "argmax greedysearch greedydecoding plain": "greedy",
  "sampling multinomial random ancestral": "sample",
  "speculative speculativedecoding speculativesampling assisted assisteddecoding draftmodel draft": "chain",
  "ngram promptlookupdecoding lookup pld": "prompt-lookup",
  "grammarconstrained constrained": "awrs",
  astar: "a-star",
  "bon rejectionsampling": "best-of-n",
  "majorityvoting voting": "self-consistency",
  "draftverify layerskip": "self-speculative",
});

const samplingNames = new Set(
  "nucleus nucleussampling topp toppsampling topk topksampling minp typical temperature mirostat".split(" "),
);

/** The end of a sentence about a method that there is not. */
export function methodSuggestion(name: string, known: readonly string[]): string {
  const same = plainName(name);
  if (samplingNames.has(same))
    return "; cuts of the distribution are options of every request (topP, topK, minP …), and the method sample draws.";
  const own = known.find((one) => plainName(one) === same);
  const others = Object.hasOwn(algorithms, same) ? algorithms[same] : undefined;
  const meant = own ?? others ?? begunBy(name, known) ?? nearest(name, known);
  return hint(meant) || ".";
}

/** So many slips are taken for one where a name may as well be somebody's own. */
export const likelySlips = (name: string): number => (name.length < 8 ? 1 : 2);

/** Candidates and their lengths may come from a file; beyond these a suggestion is not worth its time. */
const [mostCandidates, longestName] = [10_000, 200];

/**
 * Of names that are equally near, one that only goes on was meant: `add` by `ad`, rather than `at`; else one that is as long (`icd` by `cid`, not `cd`), begins
 * alike (`stop` by `stopp`, not `topP`), or has the same capitals (`topP` by `toP`, not `topK`).
 */
const [goesOn, beginsElse, ofLength, ofCapitals] = [0.5, 0.1, 0.04, 0.01];

/**
 * The candidate closest to `wanted` in edit distance, for "did you mean" messages; undefined when none is at most `farthest` from it, with more
 * letters right than wrong: short names are few slips from any other.
 */
function nearest(
  wanted: string,
  candidates: readonly string[],
  farthest = Math.max(2, Math.floor(wanted.length / 3)),
): string | undefined {
  if (wanted.length > longestName) return undefined;
  let best: string | undefined;
  let bestDistance = farthest + 1;
  for (const candidate of candidates.slice(0, mostCandidates)) {
    // The lengths alone are as far apart as that.
    if (Math.abs(candidate.length - wanted.length) - goesOn >= bestDistance) continue;
    const [given, known] = [wanted.toLowerCase(), candidate.toLowerCase()];
    const slips = editDistance(given, known);
    if (slips > farthest || 2 * slips >= Math.max(given.length, known.length)) continue;
    const distance =
      slips -
      (known.startsWith(given) ? goesOn : 0) +
      (known.length === given.length ? 0 : known[0] === given[0] ? ofLength : beginsElse) +
      ofCapitals * Math.min(3, editDistance(wanted, candidate) - slips);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Letters put in, left out or taken for others, and neighbours that changed places, each one slip. */
export function editDistance(a: string, b: string): number {
  let before: readonly number[] = [];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(next[j - 1] + 1, row[j] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
      const swapped = i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1];
      if (swapped) next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}
