import type { Paper } from "../../../papers/paper.ts";

export const paper: Paper = {
  number: 2,
  name: "online",
  system: "Online speculative decoding",
  title: "Online Speculative Decoding",
  authors: ["Xiaoxuan Liu", "Lanxiang Hu", "Peter Bailis", "Alvin Cheung", "Zhijie Deng", "Ion Stoica", "Hao Zhang"],
  year: 2024,
  arxiv: "2310.07177",
  venue: "ICML 2024",
  line: "the draft is distilled from the target while it serves, on what verification showed to be wrong",
  what: [
    "A draft is trained once on general text, while what users ask is narrower and drifts.",
    "Verification already shows where the draft was wrong and what the target thinks there; online speculative decoding collects these positions and keeps distilling the draft on them with spare compute.",
    "The target never changes, and the output has its distribution at every moment.",
  ],
  lives: {
    folder: "methods/speculative/online",
    method: "online",
    command: 'ventris run --method online --set draft=pylos --set route=tales "Once upon a time"',
    function: 'model.decode(prompt, { method: { name: "online", draft: "pylos", route: "sql" } })',
  },
  showcase: {
    prompt:
      "Question: How many singers do we have?\nSQL: SELECT count(*) FROM singer\n\nQuestion: How many heads are older than 56?\nSQL:",
    options: { temperature: 0.8, seed: 1, maxTokens: 64 },
    methodOptions: { draft: "pylos", route: "sql" },
  },
  missing: "Faster while it learns on two cores. Routing by topic without a label.",
  claims: [
    {
      id: "acceptance-rises",
      says: "On a stream of requests of one kind acceptance rises above that of the same draft without learning.",
      paper: { value: "+0.1 to +0.65", setting: "abstract; Vicuna-7B and FLAN-T5-XL on four query sets" },
      ours: "knossos with pylos on questions about tables (Spider), three solved before each, temperature 0.8: acceptance on the last fifth of the stream, learning minus not",
      holds: { above: 0, surely: true },
    },
    {
      id: "gain-published",
      says: "The gain reaches the lower end of what the paper reports.",
      paper: { value: 0.1, setting: "lower end of the abstract's range" },
      ours: "the same stream and figure",
      holds: { atLeast: 0.1 },
    },
    {
      id: "recovers",
      says: "When the kind of request changes, acceptance falls and then recovers above the static draft's.",
      paper: { setting: "four query sets in sequence, 2,000 requests each, shown as a plot" },
      ours: "questions about tables, then speeches: acceptance on the last fifth after the change, learning minus not",
      holds: { above: 0, surely: true },
    },
    {
      id: "latency",
      says: "Requests are served faster with the learned draft.",
      paper: { value: "1.42× to 2.17×", setting: "v4, one A100, batch 1" },
      ours: "tokens a second on further requests of the stream on which no draft learns, learned draft over shipped draft, in turns",
      unit: "×",
      holds: { above: 1 },
    },
    {
      id: "lossless",
      says: "The output is the target's own, whatever the draft has learned.",
      paper: { setting: "a property of the verification" },
      ours: "share of greedy requests, served while the draft learns, whose text is that of plain greedy decoding",
      holds: { atLeast: 1 },
    },
  ],
  reproduction: async () => (await import("./reproduce.ts")).reproduction,
};
