/**
 * Options of requests and of every method. Made of their schemas by `node scripts/option-types.mjs`: change those, not this.
 */
import type { ConstraintChoice } from "./constraints/index.ts";
import type { StageName } from "./engine/shapers/options.ts";
import type { ReadyEdit } from "./engine/sites/ready.ts";
import type { AppliedEdit } from "./engine/sites/rows.ts";
import type { Reward } from "./methods/search/rewards.ts";
import type { Edit } from "./models/edits.ts";

/** What every request takes, whatever its method. */
export interface RequestOptions {
  /** Divides the logits: below 1 likely tokens become likelier, above 1 unlikely ones do; 0 always takes the most likely token. From 0 to 1000. Default 1. */
  temperature?: number;
  /** Lower the temperature where the model is sure and raise it where it is not, by the entropy of its distribution; not with temperature 0. Default: none. */
  dynamicTemperature?: {
    /** How far it may go below and above `temperature`. Above 0 up to 1000. */
    range: number;
    /** Power of the normalised entropy that it follows. Above 0 up to 100. Default 1. */
    exponent?: number;
  };
  /** Keep only the k most likely tokens; 0 turns it off. From 0. Default 0. */
  topK?: number;
  /** Keep only the most likely tokens that together have this probability; 1 turns it off. Above 0 up to 1. Default 1. */
  topP?: number;
  /** Keep only tokens whose probability is at least this share of the best token's; 0 turns it off. From 0 to 1. Default 0. */
  minP?: number;
  /** Keep the tokens whose surprise is nearest to the expected surprise, until together they have this probability; 1 turns it off. Above 0 up to 1. Default 1. */
  typicalP?: number;
  /** Keep only tokens whose logit is within this many standard deviations of the highest. Above 0. Default: none. */
  topNSigma?: number;
  /** Keep only tokens of at least this probability; 0 turns it off. From 0 and below 1. Default 0. */
  epsilon?: number;
  /** Like epsilon, with a lower bound where the entropy is high; 0 turns it off. From 0 and below 1. Default 0. */
  eta?: number;
  /** “exclude top choices”: at some tokens, drop all top choices except the least likely of them. Default: none. */
  xtc?: {
    /** How often it acts. From 0 to 1. */
    probability: number;
    /** Tokens that are at least this likely are top choices. Above 0 up to 1. Default 0.1. */
    threshold?: number;
  };
  /** Hold the surprise of the chosen tokens near a target. Default: none. */
  mirostat?: {
    /** 1 estimates the cut from a Zipf law, 2 cuts at a surprise. Default 2. */
    version?: 1 | 2;
    /** Target surprise, in bits. Above 0 up to 100. Default 5. */
    tau?: number;
    /** How fast the cut follows. Above 0 up to 1. Default 0.1. */
    eta?: number;
  };
  /** Each of these cuts keeps at least this many tokens. From 1. Default 1. */
  minKept?: number;
  /** Make tokens that have occurred less likely by this factor; 1 turns it off. Above 0 up to 100. Default 1. */
  repetitionPenalty?: number;
  /** Subtracted from a token's logit once for every time it has occurred. From -100 to 100. Default 0. */
  frequencyPenalty?: number;
  /** Subtracted once from the logit of every token that has occurred. From -100 to 100. Default 0. */
  presencePenalty?: number;
  /** How many of the last tokens the penalties look at, or all; default: all, and 64 in the order llamacpp. */
  penaltyWindow?: number | "all";
  /** “don't repeat yourself”: penalise tokens that would continue a repeated passage. Default: none. */
  dry?: {
    /** Strength of the penalty; 0 turns it off. From 0 to 1000. */
    multiplier: number;
    /** The penalty is multiplied by this for each further repeated token. From 1 to 100. Default 1.75. */
    base?: number;
    /** Repeats of at most this many tokens are not penalised. From 1. Default 2. */
    allowedLength?: number;
    /** How many of the last tokens are searched for repeats, or all. Default "all". */
    window?: number | "all";
    /** Texts or token ids at which a repeat ends. Default ["\n",":","\"","*"]. */
    breakers?: readonly (string | number)[];
  };
  /** Never write a sequence of this many tokens that prompt or output already has; 0 turns it off. From 0 to 1000. Default 0. */
  noRepeatNgram?: number;
  /** Numbers that are added to the logits of token ids; -Infinity bans a token. Default: none. */
  logitBias?: Readonly<Record<string, number>>;
  /** Token ids that are never produced. Default: none. */
  badTokens?: readonly number[];
  /** Order of these stages: that of a known engine, or a list of names. Stages: bias, penalties, dry, noRepeatNgram, temperature, topNSigma, topK, topP, minP, typicalP, epsilon, eta, xtc, mirostat; and minTokens, which comes first unless the list places it. Default "hf". */
  order?: "hf" | "llamacpp" | "vllm" | readonly StageName[];
  /** Texts that end the output, and are left out of it. Default []. */
  stop?: string | readonly string[];
  /** Token ids that end the output. Default []. */
  stopTokens?: readonly number[];
  /** Stop after this many tokens; a diffusion model fills so many positions, or fewer where it is not given and not all fit. From 1 to 1000000. Default 256. */
  maxTokens?: number;
  /** Do not stop before this many tokens, unless a limit is reached. From 0. Default 0. */
  minTokens?: number;
  /** Seed of all random choices: the same seed gives the same output. From 0. Default 0. */
  seed?: number;
  /** Number of the request under its seed: each number gives an output of its own. From 0. Default 0. */
  request?: number;
  /** Report the log-probability of every token, and of this many alternatives to it. From 0 to 100. Default: none. */
  logprobs?: number;
  /** Form that the output must have: an object with jsonSchema, regex, grammar, choices, sqlSchema or smiles. Default: none. */
  constraint?: ConstraintChoice;
  /** Places inside the model to read at every position, prompt included (docs/engine.md lists the sites). Default: none. */
  taps?: readonly string[];
  /** Changes to values inside the model: a list of objects. Each needs site and one of set, add, scale, clamp and project; at (positions, or all), entries and heads may be left out. Default: none. */
  edits?: readonly (ReadyEdit | AppliedEdit | Edit)[];
}

/** Options of `chain`: one draft model proposes a chain of tokens, the target checks it in one pass. */
export interface ChainOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** Tokens to draft in each round; more pay off where the draft is often right; default: as many as the measured pass times and its confidence make worth while. From 1 to 64. */
  length?: number;
  /** Stop drafting when the probability that the whole chain is kept, by the draft's own estimate, falls below this; 0 never stops for that. From 0 to 1. Default 0. */
  minimumReach?: number;
  /** Race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0). Default "race". */
  verification?: "race" | "published";
}

/** Options of `prompt-lookup`: proposes what followed the last tokens when they occurred before; needs no draft model. */
export interface PromptLookupOptions {
  /** How many of the tokens that followed an earlier occurrence are proposed; more pay off in texts that repeat long passages. From 1 to 64. Default 5. */
  length?: number;
  /** How many earlier occurrences are looked at, latest first; their continuations are proposed together as a tree. From 1 to 16. Default 1. */
  occurrences?: number;
  /** Most tokens that are proposed in one round, over all occurrences; default: 32. From 1 to 768. */
  budget?: number;
  /** The last tokens are looked up in the text, this many at least; a larger number proposes more rarely and is right more often. From 1 to 32. Default 1. */
  minimum?: number;
  /** The last tokens are looked up in the text, this many at first and fewer where they never occurred. From 1 to 32. Default 4. */
  maximum?: number;
}

/** Options of `spec-infer`: a draft tree of fixed branching, children drawn independently. */
export interface SpecInferOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** How many continuations every drafted token gets, a number for each level of the tree; the numbers' count is its depth. Default [1,1,3,1,1,1,1,1]. */
  branches?: readonly number[];
  /** Most tokens that are drafted in a round; the tree ends where they are used up; default: as many as one pass takes. From 1 to 768. */
  budget?: number;
  /** Race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0). Default "race". */
  verification?: "race" | "published";
  /** Of published verification: draw siblings independently (default, as published); false: without replacement. */
  replacement?: boolean;
}

/** Options of `sequoia`: a fixed tree shape, planned by dynamic programming from measured acceptance. */
export interface SequoiaOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** Tokens in the planned tree; default: the number that the measured pass times and acceptance make fastest on this machine. From 1 to 768. */
  budget?: number;
  /** Most levels of the planned tree, which is how many tokens can be accepted in one round. From 1 to 32. Default 10. */
  depth?: number;
  /** Race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0). Default "race". */
  verification?: "race" | "published";
}

/** Options of `dyspec`: a draft tree that grows where the draft's own confidence says a sample is worth most. */
export interface DyspecOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** Heap grows the tree one token at a time, the most promising first (the paper's algorithm 1); threshold grows it level by level with fewer draft passes (algorithm 2). Default "heap". */
  algorithm?: "heap" | "threshold";
  /** What the chance of a drafted token is taken to be: as measured for this pair of models, or the draft's own probability, as published. Default "measured". */
  estimate?: "measured" | "draft";
  /** Draft a token, under the algorithm threshold, only where the chance of reaching it is at least this: lower drafts more; default: 1 / budget. Above 0 up to 1. */
  threshold?: number;
  /** Tokens that one draft pass of the algorithm heap scores ahead, default 8: more cost fewer passes and some wasted work; with a fixed budget the tree is the same. From 1 to 64. */
  width?: number;
  /** Race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0). Default "race". */
  verification?: "race" | "published";
  /** Most passes of the draft in a round of the algorithm heap: fewer end the tree early; default: no such limit. From 1 to 128. */
  maximumPasses?: number;
}

/** Options of `top-k`: the draft's most probable continuations as a tree; strong at low temperature. */
export interface TopKOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** Tokens that one pass of the draft scores; more grow the tree in fewer passes, with less choice in what is grown. From 1 to 64. Default 4. */
  width?: number;
  /** Most passes of the draft in a round, which bounds the depth of its tree; default: no such limit. From 1 to 64. */
  maximumPasses?: number;
}

/** Options of `aded`: searches a table of tri-grams that learns from what the target says; needs no draft model. */
export interface AdedOptions {
  /** Tri-gram table to start from, or "empty"; default: the model's own trigrams.bin, else empty. Of the host alone: a server refuses it in requests. */
  table?: string;
  /** Learn for this request alone and forget it after, so that no text passes between conversations; slower to become good. Default false. */
  isolate?: boolean;
  /** Learn from all of the prompt before decoding, instead of from its last 16 tokens; helps where the output repeats the prompt (default: no). */
  primePrompt?: boolean;
  /** Race: emit plain sampling's own tokens, one text per seed; published: the authors' sampling, which is NOT lossless and is there to measure theirs. Default "race". */
  verification?: "race" | "published";
  /** Lengths of the contexts in the text itself that are asked before the table, in tokens; default: 12, 6, 3; published: none. */
  contexts?: readonly number[];
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** Most rounds of the tree search that builds a draft; more find better drafts and take longer. From 1 to 2000. Default 150. */
  iterations?: number;
  /** How far the search looks ahead, in pairs of tokens; longer paths can be accepted further; published: 4. From 2 to 128. Default 48. */
  pathLength?: number;
  /** Most visited paths that become the draft, published: 24; default: the nodes that are worth their time. From 1 to 500. */
  paths?: number;
  /** How strongly the search favours what it has visited little over what looks likely, at first; larger explores more; default: 32. From 0. */
  c1?: number;
  /** How soon that preference grows with the number of visits; smaller makes it grow sooner; default: 8. Above 0. */
  c2?: number;
  /** How a draft is built: by the published tree search (puct), or without search, most probable tokens first (best-first). Default "puct". */
  search?: "puct" | "best-first";
  /** What the search is rewarded with: the probability of the whole path (path-weight, default), or what the authors' program has (repo). */
  reward?: "arithmetic" | Reward;
  /** How a draft is cut to its budget: shared beginnings are counted once (trie, default), or as the authors' program does (repo). */
  cut?: "trie" | "repo";
  /** How fast the table learns: what a tri-gram gains each time the text has it; 0 turns learning off; published: 0.04. From 0. Default 1. */
  step?: number;
  /** Part of a pair's weights lost when one of its tri-grams is credited, default 0.5; published: 0. From 0 to 1. */
  forget?: number;
  /** Largest weight of a tri-gram, so that a frequent one can still be overtaken; default: 3. Above 0. */
  maximumWeight?: number;
  /** Last tokens whose tri-grams are credited anew each round, published: 16; default: each of them once. From 0 to 4096. */
  window?: number;
}

/** Options of `online`: a draft model that is distilled from the target while serving, where it was wrong. */
export interface OnlineOptions {
  /** The smaller model that proposes tokens: the name of a shipped model, a checkpoint folder, or a name on the hub; it must have the target's vocabulary. Default "pylos". Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Temperature at which the draft proposes; lower drafts what it is surest of; default: that of the request. From 0 to 10. */
  draftTemperature?: number;
  /** The draft proposes only from so many of its most likely tokens; fewer cost less time, and the output does not depend on it. From 1 to 1024. Default 64. */
  draftTopK?: number;
  /** Tokens to draft in each round; more pay off when the draft has learnt to be right. From 1 to 64. Default 5. */
  length?: number;
  /** Shape of the draft: a chain, which costs least, or a tree grown as dyspec does, which is right more often. Default "chain". */
  grow?: "chain" | "dyspec";
  /** Race: emit plain sampling's own tokens, one text per seed; published: the paper's accept-or-correct rule, same distribution, other text (the draft's temperature is then 0.6 where the target's is 0). Default "race". */
  verification?: "race" | "published";
  /** A name for the topic or language of the request: each has a draft of its own, made when first used, which fits it better than one for all. Default "". */
  route?: string;
  /** Whether the draft may learn from this request; false only uses what it has learnt, for private texts or a fair comparison. Default true. */
  learn?: boolean;
  /** Positions that the draft learns from: errors are those where a proposal was rejected (published), round-ends those where a round stopped, all every one that was visited, which learns most from a text. Default "all". */
  lossOn?: "errors" | "round-ends" | "all";
  /** What the draft learns to make small: forward-kl covers all that the target says, reverse-kl keeps to what it says most, jsd lies between, total-variation is what acceptance itself is made of. Default "forward-kl". */
  loss?: "forward-kl" | "reverse-kl" | "jsd" | "total-variation";
  /** An update follows after so many requests: fewer adapt sooner and spend more time on learning; published: 8. From 1 to 10000. Default 2. */
  interval?: number;
  /** How far an update moves the draft (AdamW's learning rate): larger adapts sooner and forgets more; published: 1e-4 for one kind of text, 1e-5 for a mix. Above 0 up to 1. Default 0.001. */
  learningRate?: number;
  /** Gradients of an update that are longer than this are scaled down to it, so that one odd text cannot spoil the draft. Above 0 up to 1000. Default 1. */
  clip?: number;
  /** How many tokens of a text an update looks at: more learn more from long texts, and cost time and memory. From 8 to 4096. Default 256. */
  trainLength?: number;
  /** Most bytes of recorded positions kept until the next update; beyond it the oldest are forgotten, which bounds memory. From 65536 to 4294967296. Default 67108864. Of the host alone: a server refuses it in requests. */
  bufferBytes?: number;
  /** What becomes of the draft's cache when an update changes its weights: rebuild computes it anew, so that drafts are as good as they can be; keep leaves it, which saves that time. Default "rebuild". */
  afterSwap?: "rebuild" | "keep";
  /** Most drafts that are kept in memory, over all routes; a request for a further route is an error. From 1 to 64. Default 8. Of the host alone: a server refuses it in requests. */
  maxDrafts?: number;
  /** Over how many requests acceptance is averaged to guard it: a fall of more than 0.1 undoes the last updates; fewer notice sooner and are misled more often. From 1 to 10000. Default 16. */
  window?: number;
  /** Folder where drafts and optimisers are kept across restarts; default: none, and what was learnt ends with the program. Of the host alone: a server refuses it in requests. */
  state?: string;
  /** Of state: keep the recorded positions there too, with the texts they belong to, so that a restart loses nothing; default: no, as texts may be private. Of the host alone: a server refuses it in requests. */
  saveBuffer?: boolean;
}

/** Options of `medusa`: heads on the last state guess the tokens after the next; no second model. */
export interface MedusaOptions {
  /** The heads: a part beside the model by its name, a part's folder, or a folder of published Medusa heads. Default "medusa". Of the host alone: a server refuses it in requests. */
  heads?: string;
  /** How many tokens beyond the next are guessed: fewer cost less where far guesses are rarely right; default: as many as were trained. From 1 to 16. */
  levels?: number;
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** What a guess is trusted by: its own probability, so that the tree's shape follows the text, or its rank alone, as in the published trees of one fixed shape. Default "probability". */
  by?: "probability" | "rank";
  /** How often a guess is taken to be right, which decides what is drafted: as measured once for the model (measured), or as its own probability says (draft), which needs no measurement. Default "measured". */
  estimate?: "measured" | "draft";
  /** How many of the likeliest tokens of each guess can be drafted: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
  /** Exact: plain sampling's own tokens; typical: the published rule, which keeps what is likely enough and so changes the distribution (lossy; the same at temperature 0). Default "exact". */
  acceptance?: "exact" | "typical";
  /** Of typical acceptance: a drafted token that is likelier than this is kept: lower keeps more and strays further from the model; default: 0.09. Above 0 up to 1. */
  epsilon?: number;
  /** Of typical acceptance: a drafted token that is likelier than this times exp(-entropy) is kept, which lowers the bar where the model is unsure; lower keeps more; default: 0.3. Above 0 up to 1. */
  alpha?: number;
}

/** Options of `prompt-tokens`: trained vectors in the places of the next tokens make one pass guess several; no second model. */
export interface PromptTokensOptions {
  /** The trained vectors: a part beside the model by its name, or the folder of one. Default "prompt-tokens". Of the host alone: a server refuses it in requests. */
  prompts?: string;
  /** A draft model that has prompt tokens of its own: it drafts with them, and the model verifies chains; default: none, and the model drafts for itself. Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** Tokens that a draft model drafts in a round: more pay off where it is often right; default: 5. From 1 to 32. */
  length?: number;
  /** How many tokens beyond the next are guessed: fewer cost less where far guesses are rarely right; default: as many as were trained. From 1 to 16. */
  levels?: number;
  /** Drafted tokens and look-ahead rows in a round, together: the rows from which the next round's tokens are guessed count, and take about half; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** What a guess is trusted by: its own probability, so that the tree's shape follows the text, or its rank alone, as in the published trees of one fixed shape. Default "probability". */
  by?: "probability" | "rank";
  /** How often a guess is taken to be right, which decides what is drafted: as measured once for the model (measured), or as its own probability says (draft), which needs no measurement. Default "measured". */
  estimate?: "measured" | "draft";
  /** How many of the likeliest tokens of each guess can be drafted: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
  /** Adaptive: nodes and look-ahead rows where the text makes them worth their cost; published: the paper's sparse trees, from measured accuracies by its Markov chain, of `budget` nodes and rows, or as many as the machine's pass times make best. Default "adaptive". */
  tree?: "adaptive" | "published";
  /** Of tree: "published", how the Markov chain that chooses the trees reckons a pass that accepts nothing: direct: as decoding goes on, with all rows of the root; published: with a pass of its own after it, as the authors' program does, whose trees come out so to the node; default: direct. */
  expectation?: "direct" | "published";
  /** Exact: plain sampling's own tokens; typical: the published rule, which keeps what is likely enough and so changes the distribution (lossy; the same at temperature 0). Default "exact". */
  acceptance?: "exact" | "typical";
  /** Of typical acceptance: a drafted token that is likelier than this is kept: lower keeps more and strays further from the model; default: 0.09. Above 0 up to 1. */
  epsilon?: number;
  /** Of typical acceptance: a drafted token that is likelier than this times exp(-entropy) is kept, which lowers the bar where the model is unsure; lower keeps more; default: 0.3. Above 0 up to 1. */
  alpha?: number;
}

/** Options of `hidden-transfer`: states of tokens that are not there yet go through the upper layers and guess ahead; no second model. */
export interface HiddenTransferOptions {
  /** The trained matrices: a part beside the model by its name, or the folder of one. Default "hidden-transfer". Of the host alone: a server refuses it in requests. */
  transfers?: string;
  /** How many tokens beyond the next are guessed: fewer cost less where far guesses are rarely right; default: as many as were trained. From 1 to 16. */
  levels?: number;
  /** Drafted tokens and look-ahead rows in a round, together: the rows from which the next round's tokens are guessed count, and take about half; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** What a guess is trusted by: its own probability, so that the tree's shape follows the text, or its rank alone, as in the published trees of one fixed shape. Default "probability". */
  by?: "probability" | "rank";
  /** How often a guess is taken to be right, which decides what is drafted: as measured once for the model (measured), or as its own probability says (draft), which needs no measurement. Default "measured". */
  estimate?: "measured" | "draft";
  /** How many of the likeliest tokens of each guess can be drafted: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
  /** Adaptive: nodes and look-ahead rows where the text makes them worth their cost; published: the paper's sparse trees, from measured accuracies by its Markov chain, of `budget` nodes and rows, or as many as the machine's pass times make best. Default "adaptive". */
  tree?: "adaptive" | "published";
  /** Of tree: "published", how the Markov chain that chooses the trees reckons a pass that accepts nothing: direct: as decoding goes on, with all rows of the root; published: with a pass of its own after it, as the authors' program does, whose trees come out so to the node; default: direct. */
  expectation?: "direct" | "published";
  /** Exact: plain sampling's own tokens; typical: the published rule, which keeps what is likely enough and so changes the distribution (lossy; the same at temperature 0). Default "exact". */
  acceptance?: "exact" | "typical";
  /** Of typical acceptance: a drafted token that is likelier than this is kept: lower keeps more and strays further from the model; default: 0.09. Above 0 up to 1. */
  epsilon?: number;
  /** Of typical acceptance: a drafted token that is likelier than this times exp(-entropy) is kept, which lowers the bar where the model is unsure; lower keeps more; default: 0.3. Above 0 up to 1. */
  alpha?: number;
}

/** Options of `eagle`: a draft of one layer foretells the model's own states, from which its head reads the next tokens. */
export interface EagleOptions {
  /** The draft: a part beside the model by its name, a part's folder, or a folder of a published EAGLE draft. Default "eagle". Of the host alone: a server refuses it in requests. */
  layer?: string;
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** How many nodes go through one pass of the draft: more grow a broader tree, with a dearer pass. From 1 to 64. Default 8. */
  width?: number;
  /** Most passes of the draft in a round, which is how far ahead it can look: fewer cost less where far drafts are rarely right; default: as many as are worth their time. From 1 to 32. */
  depth?: number;
  /** How many of the draft's likeliest tokens can be drafted below a node: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
}

/** Options of `multimodal`: EAGLE's draft for models that see: rows of pictures enter it as they are, rows of text with the model's states. */
export interface MultimodalOptions {
  /** The draft: a part beside the model by its name, or a part's folder. Default "multimodal". Of the host alone: a server refuses it in requests. */
  layer?: string;
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** How many nodes go through one pass of the draft: more grow a broader tree, with a dearer pass. From 1 to 64. Default 8. */
  width?: number;
  /** Most passes of the draft in a round, which is how far ahead it can look: fewer cost less where far drafts are rarely right; default: as many as are worth their time. From 1 to 32. */
  depth?: number;
  /** How many of the draft's likeliest tokens can be drafted below a node: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
}

/** Options of `self-speculative`: the model drafts for itself with some of its blocks left out; no training, no second model. */
export interface SelfSpeculativeOptions {
  /** Blocks that the draft leaves out, as attention.N and mlp.N with layers from 0: more make it faster and more often wrong; default: chosen by a measurement, once for the model. */
  skip?: readonly string[];
  /** Tokens to draft in a round; more pay off where drafts are often right and large passes are cheap; default: as many as the measured pass times and their chances make worth while. From 0 to 768. */
  budget?: number;
  /** How many nodes go through one pass of the draft: 1 drafts a chain, more a tree, with a dearer pass. From 1 to 64. Default 1. */
  width?: number;
  /** Most passes of the draft in a round, which is how far ahead it can look: fewer cost less where far drafts are rarely right; default: as many as are worth their time. From 1 to 32. */
  depth?: number;
  /** How many of the draft's likeliest tokens can be drafted below a node: fewer cost less time; the output does not depend on it. From 1 to 1024. Default 64. */
  topK?: number;
}

/** Options of `lexical-units`: a model trained for it says a phrase it is sure of in one pass; lossy, or verified as drafts. */
export interface LexicalUnitsOptions {
  /** Tokens of placeholders are taken while each has at least this probability: lower takes more a pass and makes more mistakes; above 1 takes one token a pass; not with verify; default: 0.8. From 0 to 2. */
  beta?: number;
  /** Most tokens a pass, one and those of the placeholders behind it: more than the model was trained with, which its card says (units), rarely help. From 1 to 16. Default 4. */
  lookAhead?: number;
  /** End a pass before a token that repeats the one before it or begins with its letters, the usual mistake of placeholders; false takes such tokens, too; not with verify; default: true. */
  guard?: boolean;
  /** True: what placeholders say is a draft that the next pass verifies, and the output is plain decoding's; false: it is taken as it is (lossy, as published). Default false. */
  verify?: boolean;
  /** The placeholder token that the model was trained with; default: <|pad|>. From 0. */
  pad?: number;
}

/** Options of `awrs`: samples under a constraint by weighted rejection: few checks instead of a mask. */
export interface AwrsOptions {
  /** How the probability of all valid tokens is estimated, which weighs a text: recursive needs few checks and is a good first choice; adaptive, geometric and with-replacement ask further tokens; masking checks every token and is exact; improper gives no estimate and is fastest. Default "recursive". */
  estimator?: "adaptive" | "recursive" | "geometric" | "with-replacement" | "masking" | "improper";
  /** How many further valid draws go into an estimate of the estimators geometric and with-replacement: more make its noise smaller and cost more checks. From 1 to 64. Default 2. */
  loops?: number;
  /** Give up a draw of the estimators recursive and geometric after so many rejections; lower it where one check of the constraint takes long. From 2. Default 9007199254740991. */
  maxRejects?: number;
  /** Of engines behind a network, which list their likeliest tokens alone: fail where tokens that are not listed may be valid with more than this probability; 0 takes nothing but exact weights, 1 any, and the counter missed says how much it was. From 0 to 1. Default 1. */
  mostMissed?: number;
}

/** Options of `smc`: particles that follow the model given the constraint, weighed and resampled. */
export interface SmcOptions {
  /** How the probability of all valid tokens is estimated, which weighs a text: recursive needs few checks and is a good first choice; adaptive, geometric and with-replacement ask further tokens; masking checks every token and is exact; improper gives no estimate and is fastest. Default "recursive". */
  estimator?: "adaptive" | "recursive" | "geometric" | "with-replacement" | "masking" | "improper";
  /** How many further valid draws go into an estimate of the estimators geometric and with-replacement: more make its noise smaller and cost more checks. From 1 to 64. Default 2. */
  loops?: number;
  /** Give up a draw of the estimators recursive and geometric after so many rejections; lower it where one check of the constraint takes long. From 2. Default 9007199254740991. */
  maxRejects?: number;
  /** Of engines behind a network, which list their likeliest tokens alone: fail where tokens that are not listed may be valid with more than this probability; 0 takes nothing but exact weights, 1 any, and the counter missed says how much it was. From 0 to 1. Default 1. */
  mostMissed?: number;
  /** How many texts are grown side by side; more follow the constrained distribution more closely and cost as much more. From 1 to 512. Default 5. */
  particles?: number;
  /** Resample, which drops light texts and copies heavy ones, when the effective number of particles falls below this share of all: higher resamples sooner, 0 never does (importance sampling). From 0 to 1. Default 0.5. */
  threshold?: number;
  /** Where tokens come from: constrained draws valid ones only; model draws as if there were no constraint and drops what breaks it, which wastes texts and is there to compare with. Default "constrained". */
  proposal?: "constrained" | "model";
  /** When the proposal model checks the constraint: after each token (sample and verify), or once at the end (sample and rerank), where a check is slow. Default "each-token". */
  verify?: "each-token" | "end";
  /** Which text becomes the output: draw takes one by weight, which is right for samples; heaviest takes the best supported one, for a single good answer. Default "draw". */
  answer?: "draw" | "heaviest";
  /** A function that weighs texts beside the constraint: from a text so far to a factor, above 1 for what should be kept; with threshold 0 it acts at the end alone; default: none. */
  critic?: unknown;
}

/** Options of `beam`: keeps the likeliest texts side by side; n-best with scores. */
export interface BeamOptions {
  /** How many texts are grown side by side: more find likelier texts, and cost a row of every pass each. From 1 to 512. Default 4. */
  beams?: number;
  /** A finished text's score is its log-probability over its length to this power: 0 favours short texts, 1 compares the mean of a token, larger favours long texts. From -8 to 8. Default 0. */
  lengthPenalty?: number;
  /** Stop as soon as there are as many finished texts as beams, though one still growing could become better: faster, and sometimes a worse text. Default false. */
  earlyStopping?: boolean;
  /** Draw different texts at random, as often as the model would say them, instead of keeping the likeliest; for samples without repeats. Default false. */
  stochastic?: boolean;
}

/** Options of `diverse-beam`: beams in groups that keep away from one another. */
export interface DiverseBeamOptions {
  /** How many texts are grown side by side, over all groups together; each costs a row of every pass. From 1 to 512. Default 6. */
  beams?: number;
  /** A finished text's score is its log-probability over its length to this power: 0 favours short texts, 1 compares the mean of a token, larger favours long texts. From -8 to 8. Default 0. */
  lengthPenalty?: number;
  /** Stop as soon as there are as many finished texts as beams, though one still growing could become better: faster, and sometimes a worse text. Default false. */
  earlyStopping?: boolean;
  /** Groups that the beams are split into; each keeps away from those before it; beams is a multiple of it; 1 is plain beam search. From 1 to 512. Default 3. */
  groups?: number;
  /** What a token costs that an earlier group has chosen at this place, in nats: larger makes texts more different and less likely. From 0 to 1000000000. Default 0.5. */
  strength?: number;
  /** What counts as a repetition: the same token at the same place (hamming), the more alike the texts so far (cumulative), the same few tokens anywhere (ngram), or, by the cosine of the model's embeddings, a token like it at the same place (embedding) and a few like them anywhere (embedding-ngram). Default "hamming". */
  diversity?: "hamming" | "cumulative" | "ngram" | "embedding" | "embedding-ngram";
  /** How many tokens in a row count as a repetition for the diversities ngram and embedding-ngram: fewer punish more often. From 1 to 16. Default 2. */
  ngram?: number;
  /** Of diversity cumulative: the larger, the longer texts that have parted still count as alike, and are kept away from one another. From 0.001 to 1000000. Default 1. */
  diversityTemperature?: number;
  /** Whether ending a text where an earlier group ended one counts as a repetition, too; false leaves the lengths of texts alone. Default true. */
  penalizeEnd?: boolean;
  /** What finished texts are ranked by: raw is their log-probability, so that the likeliest is first; augmented takes off the penalties they paid, as the search itself did. Default "raw". */
  rankBy?: "raw" | "augmented";
}

/** Options of `a-star`: searches over steps, best partial solution first, by a reward for each step. */
export interface AStarOptions {
  /** What partial solutions are worth: arithmetic checks the steps of that skill; or a function from a solution to a number from 0 to 1; default: the reward head of the model. */
  reward?: "arithmetic" | Reward;
  /** Where no reward is given: a trained reward head of the model, by its name beside the model or its folder. Default "reward". Of the host alone: a server refuses it in requests. */
  rewardHead?: string;
  /** What the rewards of steps make of a solution: last counts the last step alone; min the worst one, so that one bad step spoils it; product all of them, which favours short solutions. Default "last". */
  aggregate?: "last" | "min" | "product";
  /** Texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with. */
  delimiters?: readonly string[];
  /** A step is cut after so many tokens; raise it where steps are long. From 1 to 100000. Default 128. */
  maxStepTokens?: number;
  /** Regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them. */
  answer?: string;
  /** How many next steps are drawn for a partial solution that is taken up: more look wider, fewer deeper. From 1 to 64. Default 4. */
  children?: number;
  /** How many of the children are drawn when a solution is taken up; the others follow where the search comes back to it: 1 with some slack spends fewest tokens, in more passes; default: all of them, as published. From 1 to 64. */
  atOnce?: number;
  /** How much worse in f than the best that waits a solution may be and still be gone on with where it is deeper: more turns back less often, which spends fewer tokens and trusts the reward's small differences less. From 0 to 1. Default 0. */
  slack?: number;
  /** What a step costs, from h = 1 - reward before and after it: rise where it became worse, drop where it became better, abs for any change, zero for nothing, which makes the search greedy. Default "rise". */
  edgeCost?: "rise" | "drop" | "abs" | "zero";
  /** Where the search goes on: from the best of all partial solutions that wait (open), or from the best of the steps just drawn (children), which never goes back. Default "open". */
  scope?: "open" | "children";
  /** When a finished solution ends the search: when its turn comes (popped), or already when it is drawn and none that waits is better (generated), which is sooner. Default "popped". */
  until?: "popped" | "generated";
  /** Which finished solution is the result: the first by the search's own order, the one with the best reward, or the answer that has most reward over all solutions (vote). Default "first". */
  answerBy?: "first" | "reward" | "vote";
  /** Tokens that the whole search may draw, over all solutions: more find better ones and take longer. From 1 to 10000000. Default 4096. */
  budget?: number;
  /** Tokens of the budget kept to complete the best solution where none is finished; raise it where solutions are long; default: an eighth of it, from 1 to 128. From 0 to 1000000. */
  reserve?: number;
  /** Most partial solutions that wait; the worst beyond them are forgotten, which bounds memory in long searches. From 1 to 100000. Default 4096. */
  maxOpen?: number;
}

/** Options of `best-of-n`: draws whole solutions side by side and keeps the one with the best reward. */
export interface BestOfNOptions {
  /** What partial solutions are worth: arithmetic checks the steps of that skill; or a function from a solution to a number from 0 to 1; default: the reward head of the model. */
  reward?: "arithmetic" | Reward;
  /** Where no reward is given: a trained reward head of the model, by its name beside the model or its folder. Default "reward". Of the host alone: a server refuses it in requests. */
  rewardHead?: string;
  /** What the rewards of steps make of a solution: last counts the last step alone; min the worst one, so that one bad step spoils it; product all of them, which favours short solutions. Default "last". */
  aggregate?: "last" | "min" | "product";
  /** Texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with. */
  delimiters?: readonly string[];
  /** A step is cut after so many tokens; raise it where steps are long. From 1 to 100000. Default 128. */
  maxStepTokens?: number;
  /** Regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them. */
  answer?: string;
  /** How many whole solutions are drawn; more make a right one likelier, and cost as much more. From 1 to 1024. Default 8. */
  samples?: number;
  /** Which solution is the result: the best by reward, or one with the answer that has most reward over all solutions (vote), which needs answer. Default "reward". */
  answerBy?: "reward" | "vote";
}

/** Options of `self-consistency`: draws whole solutions side by side and takes the answer that most of them give. */
export interface SelfConsistencyOptions {
  /** Texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with. */
  delimiters?: readonly string[];
  /** A step is cut after so many tokens; raise it where steps are long. From 1 to 100000. Default 128. */
  maxStepTokens?: number;
  /** Regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them. */
  answer?: string;
  /** How many whole solutions are drawn; more make a right one likelier, and cost as much more. From 1 to 1024. Default 8. */
  samples?: number;
}

/** Options of `particle-filtering`: solutions that advance a step at a time and are resampled by their rewards. */
export interface ParticleFilteringOptions {
  /** What partial solutions are worth: arithmetic checks the steps of that skill; or a function from a solution to a number from 0 to 1; default: the reward head of the model. */
  reward?: "arithmetic" | Reward;
  /** Where no reward is given: a trained reward head of the model, by its name beside the model or its folder. Default "reward". Of the host alone: a server refuses it in requests. */
  rewardHead?: string;
  /** What the rewards of steps make of a solution: last counts the last step alone; min the worst one, so that one bad step spoils it; product all of them, which favours short solutions. Default "last". */
  aggregate?: "last" | "min" | "product";
  /** Texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with. */
  delimiters?: readonly string[];
  /** A step is cut after so many tokens; raise it where steps are long. From 1 to 100000. Default 128. */
  maxStepTokens?: number;
  /** Regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them. */
  answer?: string;
  /** How many solutions are grown side by side; more lose fewer good beginnings, and cost as much more. From 1 to 1024. Default 8. */
  particles?: number;
  /** How strictly rewards decide which solutions go on: below 1 the best crowd out the others sooner, above 1 later. Above 0 up to 1000. Default 1. */
  weightTemperature?: number;
  /** Whether finished solutions take part in resampling, as published; false keeps every one that is finished. Default true. */
  resampleFinished?: boolean;
}

/** Options of `reward-beam`: keeps the steps with the best rewards, a fixed number at a time. */
export interface RewardBeamOptions {
  /** What partial solutions are worth: arithmetic checks the steps of that skill; or a function from a solution to a number from 0 to 1; default: the reward head of the model. */
  reward?: "arithmetic" | Reward;
  /** Where no reward is given: a trained reward head of the model, by its name beside the model or its folder. Default "reward". Of the host alone: a server refuses it in requests. */
  rewardHead?: string;
  /** What the rewards of steps make of a solution: last counts the last step alone; min the worst one, so that one bad step spoils it; product all of them, which favours short solutions. Default "last". */
  aggregate?: "last" | "min" | "product";
  /** Texts that end a step; shorter steps are judged sooner and cost more judging; default: an empty line, or what the reward's steps end with. */
  delimiters?: readonly string[];
  /** A step is cut after so many tokens; raise it where steps are long. From 1 to 100000. Default 128. */
  maxStepTokens?: number;
  /** Regular expression that finds the answer: a text whose end matches after a step is finished, and the first group is its answer; default: that of the reward, or none, where texts finish when the model ends them. */
  answer?: string;
  /** Steps that are drawn at a time, over all beams; more compare more continuations and cost as much more. From 1 to 1024. Default 8. */
  samples?: number;
  /** Steps that are drawn for each solution that is kept, of which there are samples / children: more choose among more continuations of fewer solutions. From 1 to 64. Default 4. */
  children?: number;
  /** Let every beam keep the best of its own steps, instead of the best of all: more different solutions. Default false. */
  subtrees?: boolean;
}

/** Options of `low-confidence`: fills the positions that a diffusion model is surest of, so many a pass. */
export interface LowConfidenceOptions {
  /** Passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position. From 1 to 1048576. */
  steps?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `fixed-k`: fills the k surest positions in every pass. */
export interface FixedKOptions {
  /** How many positions a pass fills: more are faster and less careful. From 1 to 65536. Default 2. */
  k?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `random`: fills positions in random order. */
export interface RandomOptions {
  /** Passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position. From 1 to 1048576. */
  steps?: number;
  /** How many positions each pass fills: evenly many; as Dream's schedule says (time); or each position by a coin of its own with that chance (flip), so that the number varies. Default "even". */
  schedule?: "even" | "time" | "flip";
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `entropy`: fills the positions whose distribution has the least entropy. */
export interface EntropyOptions {
  /** Passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position. From 1 to 1048576. */
  steps?: number;
  /** How many positions each pass fills: even spreads them over the steps; time follows Dream's schedule, which is rounded down, so that more are left to the last passes. Default "even". */
  schedule?: "even" | "time";
  /** 0 fills the surest positions first; above 0 they are drawn by their sureness over this, so that a larger number makes the order more random and runs more different. From 0 to 1000. Default 0. */
  orderTemperature?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `margin`: fills the positions whose likeliest token is furthest ahead of the second. */
export interface MarginOptions {
  /** Passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position. From 1 to 1048576. */
  steps?: number;
  /** How many positions each pass fills: even spreads them over the steps; time follows Dream's schedule, which is rounded down, so that more are left to the last passes. Default "even". */
  schedule?: "even" | "time";
  /** 0 fills the surest positions first; above 0 they are drawn by their sureness over this, so that a larger number makes the order more random and runs more different. From 0 to 1000. Default 0. */
  orderTemperature?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `threshold`: fills every position whose confidence reaches a threshold, and the surest. */
export interface ThresholdOptions {
  /** Fill a position when the model gives its token at least this probability: lower is faster and less careful; above 1 it is never reached, and a pass fills one position. From 0 to 2. Default 0.9. */
  threshold?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `localleap`: lowers the bar for filling next to positions that the model is already sure about. */
export interface LocalleapOptions {
  /** Probability of its token that makes a position an anchor, around which the bar is lowered (the paper's kappa): lower is faster and less careful; above 1 there are no anchors. From 0 to 2. Default 0.9. */
  anchor?: number;
  /** Probability that suffices near an anchor: lower is faster and less careful (the paper's tau). From 0 to 1. Default 0.75. */
  relaxed?: number;
  /** How many positions to both sides of an anchor count as near (the paper's W); 0 turns the relaxation off. From 0 to 65536. Default 4. */
  radius?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `learn2pd`: a trained filter says which predictions are final already, and the end of the text cuts the canvas. */
export interface Learn2pdOptions {
  /** The trained filter: a part of the model by its name or folder; none works by end-of-text prediction alone. Default "learn2pd". Of the host alone: a server refuses it in requests. */
  filter?: string;
  /** A position is final when the filter's probability exceeds this: lower is faster and less careful; 1 is never exceeded, so that each pass fills one position; default: the filter's own, or 0.96. From 0 to 1. */
  threshold?: number;
  /** Where the answer is cut at a predicted end of the text: where the filter is sure of it, else at any masked position that predicts it (repo, the authors' program); only where the filter is sure (filter_only), which is more careful; or nowhere (off). Default "repo". */
  eotp?: "repo" | "filter_only" | "off";
  /** Passes for the whole answer, a multiple of the number of blocks: fewer are faster, as each fills more positions, and less careful; default: one for each position. From 1 to 1048576. */
  steps?: number;
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `oracle`: fills what already agrees with a given answer: the bound for all other rules. */
export interface OracleOptions {
  /** The answer that is agreed with, as token ids, one for each position: the field canvas of another run's result, usually of low-confidence with earlyStop: false, as one that ends early may leave masks; without it the method cannot run. */
  reference?: readonly number[];
  /** Positions of a block, all filled before the next begins: short blocks write more from left to right, long ones let the model choose freely; maxTokens must be a multiple of it; default: 32, or all of a shorter answer. From 1 to 65536. */
  blockLength?: number;
  /** Keys and values that passes use again instead of computing them anew, faster and no longer exact: those before the block (prefix), all outside of it (dual), those of each token from one pass after it was filled (delayed), or none. Default "none". */
  cache?: "none" | "prefix" | "dual" | "delayed";
  /** Compute everything anew after so many passes, where there is a cache: fewer are closer to no cache and slower; default: at each new block for prefix and dual, 8 for delayed. From 1. */
  refresh?: number;
  /** Classifier-free guidance: how far to move away from what the model would say without the prompt; larger follows the prompt more strictly and doubles the cost of a pass; 0 is off. From 0 to 100. Default 0. */
  guidance?: number;
  /** End as soon as all before the end of the text is filled, which saves passes; false fills the whole canvas, as the published programs do. Default true. */
  earlyStop?: boolean;
}

/** Options of `auto`: a contextual bandit chooses the method and its options for each request, and learns from the seconds that tokens took. */
export interface AutoOptions {
  /** Methods to choose among, as names or objects with options beside the name; default: plain, prompt-lookup with 4 and 12 tokens, aded, and chain and dyspec where a draft fits. Of the host alone: a server refuses it in requests. */
  arms?: readonly (string | {
    /** Name of the method; its options stand beside it. */
    name: string;
  } & Readonly<Record<string, unknown>>)[];
  /** Draft model of the default arms chain and dyspec; default: pylos where its vocabulary fits, else none, and those arms are left out. Of the host alone: a server refuses it in requests. */
  draft?: string;
  /** The bandit that learns which method is fastest for which request: LinUCB learns from few requests, and DiscountedLinUCB forgets old ones; those named Neu or Neural, and EENet, learn finer rules and need more of them. Default "LinUCB". */
  policy?: "NeuSquareCB" | "NeuFastCB" | "LinUCB" | "DiscountedLinUCB" | "LinearSquareCB" | "NeuralUCB" | "NeuralTS" | "NeuralEpsilonGreedy" | "EENet";
  /** Options of the policy by their names; those that are left out keep their defaults. Of the host alone: a server refuses it in requests. */
  policyOptions?: Readonly<Record<string, unknown>>;
  /** Folder where what was learnt is kept, or "none"; default: beside the model, in auto, where it can be written. Of the host alone: a server refuses it in requests. */
  state?: string;
}

/** Options of `dola`: contrasts the last layer with the lower exit that differs from it most. */
export interface DolaOptions {
  /** Lower exits to choose from at each token: every second of the lower or the upper half, all, or a list of layers, where 0 is the embedding; lower ones suit long reasoning, upper ones short facts. Default "upper". */
  layers?: "lower" | "upper" | "all" | readonly number[];
  /** Tokens whose probability is below this share of the best one's cannot be chosen, so that the contrast brings up no nonsense: higher is more careful; 0 lets all tokens in. From 0 to 1. Default 0.1. */
  alpha?: number;
  /** How the exit that differs most is found: by the Jensen-Shannon divergence of the paper (standard), or as in the authors' program, with its arguments reversed. Default "reversed". */
  divergence?: "reversed" | "standard";
}

/** Options of `cd`: contrasts the model with a smaller one. */
export interface CdOptions {
  /** The amateur that is contrasted with: a shipped model, a folder, the folder of a LoRA adapter on this model, or one pulled from the hub. Of the host alone: a server refuses it in requests. */
  amateur: string;
  /** Tokens whose probability is below this share of the best one's cannot be chosen, so that the contrast brings up no nonsense: higher is more careful; 0 lets all tokens in. From 0 to 1. Default 0.1. */
  alpha?: number;
  /** How strongly what the amateur says is taken away: the factor of its log-probabilities; 0 turns the contrast off. From 0 to 1000. Default 1. */
  amateurWeight?: number;
  /** Divides the amateur's logits: below 1 punishes what it is surest of more, above 1 punishes more evenly; the paper has 0.5 for small amateurs. Above 0 up to 100. Default 1. */
  amateurTemperature?: number;
}

/** Options of `icd`: contrasts the model with itself made to say falsehoods, by fine-tuning or by an instruction. */
export interface IcdOptions {
  /** The amateur: a shipped model, a folder, the folder of a LoRA adapter on this model, or one pulled from the hub; default: the model itself behind the words of inducing. Of the host alone: a server refuses it in requests. */
  amateur?: string;
  /** Words put before every text of the amateur alone, which make it say what is to be avoided; without an amateur the model itself is one behind these words; default: none with an amateur, else a sentence that asks for falsehoods. */
  inducing?: string;
  /** Tokens whose probability is below this share of the best one's cannot be chosen, so that the contrast brings up no nonsense: higher is more careful; 0 lets all tokens in. From 0 to 1. Default 0.1. */
  alpha?: number;
  /** How strongly the model's own log-probabilities count beside the contrast: larger stays closer to the model. From 0 to 1000. Default 1. */
  expertWeight?: number;
}

/** Options of `lol`: contrasts the model with one that says falsehoods, at the output and lower exits, refocused on truthfulness. */
export interface LolOptions {
  /** The amateur: a shipped model, a folder, the folder of a LoRA adapter on this model, or one pulled from the hub; default: the model itself behind the words of inducing. Of the host alone: a server refuses it in requests. */
  amateur?: string;
  /** Words put before every text of the amateur alone, which make it say what is to be avoided; without an amateur the model itself is one behind these words; default: none with an amateur, else a sentence that asks for falsehoods. */
  inducing?: string;
  /** Tokens whose probability is below this share of the best one's cannot be chosen, so that the contrast brings up no nonsense: higher is more careful; 0 lets all tokens in. From 0 to 1. Default 0.1. */
  alpha?: number;
  /** How strongly what the amateur says is taken away at the output: the factor of its log-probabilities; 0 turns it off. From 0 to 1000. Default 1. */
  amateurWeight?: number;
  /** How strongly what the amateur says is taken away at the lower exits: larger moves further from it; 0 turns it off. From 0 to 1000. Default 1. */
  amateurWeightLow?: number;
  /** Lower exits that take part: a list of layers, or every second of the lower or upper half, or all; more cost time at each token; default: the middle one. */
  layers?: "lower" | "upper" | "all" | readonly number[];
  /** Take for each token only that exit which differs most from the output, by this divergence (see the option of dola), instead of the mean over all; layers is then all by default; default: off. */
  dynamic?: "reversed" | "standard";
  /** How the contrasts at the output, F_L, and at lower exits, F_k, become one score with w = fusionWeight: add is F_L + w mean F_k; convex is (1 - w) F_L + w mean F_k; logsumexp is ln(exp F_L + w mean exp F_k), in which the larger one decides. Default "add". */
  fusion?: "add" | "convex" | "logsumexp";
  /** How much the contrast at lower exits counts beside that at the output: raise it where the lower layers know better; 0 leaves it out. From 0 to 1000. Default 0.5. */
  fusionWeight?: number;
  /** What the instruction does: delta adds what it raises to the score, as much as refocusWeight says; replace puts the instructed model in the model's place. Default "delta". */
  refocus?: "delta" | "replace";
  /** Of refocus delta: how much of what the instruction raises is added; 0 leaves the instruction out; default: 0.5. From 0 to 1000. */
  refocusWeight?: number;
  /** Words put before the model's text alone, never the amateur's, to turn it to what is true. Default "Answer only with what is true and can be verified. Where nothing is known for certain, say so.\n\n". */
  instruction?: string;
}

/** Options of `knn-lm`: mixes in what followed the most similar states of a datastore of texts. */
export interface KnnLmOptions {
  /** Folder of the datastore, which ventris memory build wrote. Of the host alone: a server refuses it in requests. */
  datastore: string;
  /** How many similar places of the datastore are looked up for each token: more give a smoother memory and take longer. From 1 to 65536. Default 256. */
  k?: number;
  /** Divides the squared distances: small lets the nearest neighbour decide, large lets all k count alike; compare values with ventris memory evaluate. Above 0 up to 1000000. Default 16. */
  temperature?: number;
  /** Share of the memory in the mixture, the model has the rest: raise it for text like the memory's, lower it for other text; ventris memory evaluate finds the best; 0 is the model alone. From 0 to 1. Default 0.25. */
  lambda?: number;
  /** Exact looks at all keys; inverted looks only at the lists nearest to the state, which is faster in large datastores and misses some neighbours. Default "exact". */
  search?: "exact" | "inverted";
  /** How many lists the search inverted looks at: more miss fewer neighbours and take longer. From 1 to 65536. Default 16. */
  probes?: number;
}

/** Options of `mlp-memory`: mixes in what a trained network remembers of texts, without any search. */
export interface MlpMemoryOptions {
  /** A part beside the model by its name, or a folder that ventris memory train wrote. Of the host alone: a server refuses it in requests. */
  memory: string;
  /** Share of the memory in the mixture, the model has the rest: raise it for text like the memory's, lower it for other text; ventris memory evaluate finds the best; 0 is the model alone. From 0 to 1. Default 0.25. */
  lambda?: number;
  /** Divides the logits of the memory: below 1 it counts on what it is surest of, above 1 it spreads; change it where the memory is too sure or too vague. Above 0 up to 100. Default 1. */
  temperature?: number;
  /** How the memory's matrices are kept: int8 reads a quarter of the bytes for every token, f32 leaves them as they were trained. Default "int8". */
  weights?: "int8" | "f32";
}

/** Options of `codebook`: runs the model through the codebooks of a part, with codes that are forced, added or disabled. */
export interface CodebookOptions {
  /** The part that holds the codebooks: its name beside the model, or its folder. Default "codebook". Of the host alone: a server refuses it in requests. */
  part?: string;
  /** Codes to change while the model runs: patch forces one, add adds one, disable takes one away, ids sets all of a codebook, each at a site and codebook, at some positions or all; empty leaves the codes as the text makes them. Default []. */
  changes?: readonly ({
    /** Site that has a codebook, for example layers.2.attention.heads. */
    site: string;
    /** Which of the site's codebooks, a number for each attention head. From 0. Default 0. */
    group?: number;
    /** From 0. */
    patch: number;
    /** Default -1. */
    slot?: number;
    /** Positions of the text at which the change acts, counted from 0 with the prompt; or all of them. Default "all". */
    at?: "all" | readonly number[];
  } | {
    /** Site that has a codebook, for example layers.2.attention.heads. */
    site: string;
    /** Which of the site's codebooks, a number for each attention head. From 0. Default 0. */
    group?: number;
    /** From 0. */
    add: number;
    /** Positions of the text at which the change acts, counted from 0 with the prompt; or all of them. Default "all". */
    at?: "all" | readonly number[];
  } | {
    /** Site that has a codebook, for example layers.2.attention.heads. */
    site: string;
    /** Which of the site's codebooks, a number for each attention head. From 0. Default 0. */
    group?: number;
    /** From 0. */
    disable: number;
    /** Default "forbid". */
    how?: "forbid" | "silence";
    /** Positions of the text at which the change acts, counted from 0 with the prompt; or all of them. Default "all". */
    at?: "all" | readonly number[];
  } | {
    /** Site that has a codebook, for example layers.2.attention.heads. */
    site: string;
    /** Which of the site's codebooks, a number for each attention head. From 0. Default 0. */
    group?: number;
    /** All codes of a codebook, best first, as another run had them. */
    ids: readonly number[];
    /** Positions of the text at which the change acts, counted from 0 with the prompt; or all of them. Default "all". */
    at?: "all" | readonly number[];
  })[];
}

/** Names of the methods. */
export type MethodName = "greedy" | "sample" | "chain" | "prompt-lookup" | "spec-infer" | "sequoia" | "dyspec" | "top-k" | "aded" | "online" | "medusa" | "prompt-tokens" | "hidden-transfer" | "eagle" | "multimodal" | "self-speculative" | "lexical-units" | "awrs" | "smc" | "beam" | "diverse-beam" | "a-star" | "best-of-n" | "self-consistency" | "particle-filtering" | "reward-beam" | "low-confidence" | "fixed-k" | "random" | "entropy" | "margin" | "threshold" | "localleap" | "learn2pd" | "oracle" | "auto";

/** A method with its options beside its name. */
export type MethodWithOptions =
  | ({ name: "chain" } & ChainOptions)
  | ({ name: "prompt-lookup" } & PromptLookupOptions)
  | ({ name: "spec-infer" } & SpecInferOptions)
  | ({ name: "sequoia" } & SequoiaOptions)
  | ({ name: "dyspec" } & DyspecOptions)
  | ({ name: "top-k" } & TopKOptions)
  | ({ name: "aded" } & AdedOptions)
  | ({ name: "online" } & OnlineOptions)
  | ({ name: "medusa" } & MedusaOptions)
  | ({ name: "prompt-tokens" } & PromptTokensOptions)
  | ({ name: "hidden-transfer" } & HiddenTransferOptions)
  | ({ name: "eagle" } & EagleOptions)
  | ({ name: "multimodal" } & MultimodalOptions)
  | ({ name: "self-speculative" } & SelfSpeculativeOptions)
  | ({ name: "lexical-units" } & LexicalUnitsOptions)
  | ({ name: "awrs" } & AwrsOptions)
  | ({ name: "smc" } & SmcOptions)
  | ({ name: "beam" } & BeamOptions)
  | ({ name: "diverse-beam" } & DiverseBeamOptions)
  | ({ name: "a-star" } & AStarOptions)
  | ({ name: "best-of-n" } & BestOfNOptions)
  | ({ name: "self-consistency" } & SelfConsistencyOptions)
  | ({ name: "particle-filtering" } & ParticleFilteringOptions)
  | ({ name: "reward-beam" } & RewardBeamOptions)
  | ({ name: "low-confidence" } & LowConfidenceOptions)
  | ({ name: "fixed-k" } & FixedKOptions)
  | ({ name: "random" } & RandomOptions)
  | ({ name: "entropy" } & EntropyOptions)
  | ({ name: "margin" } & MarginOptions)
  | ({ name: "threshold" } & ThresholdOptions)
  | ({ name: "localleap" } & LocalleapOptions)
  | ({ name: "learn2pd" } & Learn2pdOptions)
  | ({ name: "oracle" } & OracleOptions)
  | ({ name: "auto" } & AutoOptions)
  | { name: "greedy" }
  | { name: "sample" };

/** Names of the shapers. */
export type ShaperName = "dola" | "cd" | "icd" | "lol" | "knn-lm" | "mlp-memory" | "codebook";

/** A shaper with its options beside its name. */
export type ShaperWithOptions =
  | ({ name: "dola" } & DolaOptions)
  | ({ name: "cd" } & CdOptions)
  | ({ name: "icd" } & IcdOptions)
  | ({ name: "lol" } & LolOptions)
  | ({ name: "knn-lm" } & KnnLmOptions)
  | ({ name: "mlp-memory" } & MlpMemoryOptions)
  | ({ name: "codebook" } & CodebookOptions);
