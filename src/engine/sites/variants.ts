/**
 * One pass out of several programs: the model's own, and for rows that ask for taps or edits another one with those hooks in it, over the
 * same weight file. A program is compiled when a request brings a tap or an edit that none has; the values of edits are inputs.
 */
import { ensure } from "../../errors.ts";
import { type Edit, type Instruments, noInstruments } from "../../models/edits.ts";
import type { Pass } from "../pass.ts";
import { beginnings } from "./stages.ts";

interface Variant {
  readonly asked: Instruments;
  readonly pass: Promise<Pass>;
  running: number;
}

/** Programs kept; and hooks in one of them, beyond which a new one starts with what is asked for alone. */
const mostVariants = 3;
const mostHooks = 48;

export function withVariants(base: Pass, make: (asked: Instruments) => Promise<Pass>): Pass {
  /** The one used last comes last. */
  const variants: Variant[] = [];
  /** What the last pass asked for, and its program: the next one mostly asks for the same. */
  let last: { asked: Instruments; variant: Variant } | undefined;

  /** Hooks cost time whether rows ask for them or not: the program with the fewest. */
  function covering(asked: Instruments): Variant {
    if (last?.asked === asked && variants.includes(last.variant)) return last.variant;
    const serving = variants.filter((variant) => serves(variant.asked, asked));
    const fewest = Math.min(...serving.map((variant) => hooksOf(variant.asked)));
    const found = serving.findLast((variant) => hooksOf(variant.asked) === fewest) ?? compile(asked);
    variants.splice(variants.indexOf(found), 1);
    variants.push(found);
    last = { asked, variant: found };
    return found;
  }

  /** A program for just what is asked; where there are many already, for what the latest has, too, or they would take turns. */
  function compile(asked: Instruments): Variant {
    const latest = variants.length < mostVariants ? noInstruments : variants[variants.length - 1].asked;
    const joined = merge(latest, asked);
    const wanted = joined && hooksOf(joined) <= mostHooks && serves(joined, asked) ? joined : asked;
    const variant: Variant = { asked: wanted, pass: make(wanted), running: 0 };
    variants.push(variant);
    variant.pass.catch(() => variants.splice(variants.indexOf(variant), 1));
    const idle = variants.findIndex((v) => v.running === 0 && v !== variant);
    if (variants.length > mostVariants && idle >= 0) discard(variants.splice(idle, 1)[0]);
    return variant;
  }

  const discard = (variant: Variant): Promise<void> => variant.pass.then((pass) => pass.release());

  return {
    ...base,
    async prepare(asked) {
      if (asked.taps.length + asked.edits.length > 0) await covering(asked).pass;
    },
    async run(inputs) {
      if (!inputs.sites) return base.run(inputs);
      const variant = covering(inputs.sites.needed);
      variant.running += 1;
      try {
        return await (await variant.pass).run(inputs);
      } finally {
        variant.running -= 1;
      }
    },
    async release() {
      await base.release();
      await Promise.allSettled(variants.map(discard));
    },
  };
}

const hooksOf = ({ taps, edits }: Instruments): number => taps.length + edits.length;

/** A program has rows that begin after each of its layers of that kind: a pass without such rows is another program's. */
const serves = (has: Instruments, asked: Instruments): boolean =>
  covers(has, asked) && beginnings(has.edits).join() === beginnings(asked.edits).join();

/** Whether a program does what is asked for: edits of one site act in their order. */
function covers(has: Instruments, asked: Instruments): boolean {
  if (!asked.taps.every((tap) => has.taps.includes(tap))) return false;
  return asked.edits.every((edit, i) => {
    const at = has.edits.indexOf(edit);
    return at >= 0 && asked.edits.slice(0, i).every((e) => e.site !== edit.site || has.edits.indexOf(e) < at);
  });
}

/** Both together; undefined where two edits of one name differ, or edits of one site stand in another order. */
export function merge(a: Instruments, b: Instruments): Instruments | undefined {
  const edits: Edit[] = [...a.edits];
  // What is new comes before what follows it in its own list: rows of one request may have an edit more than others, before theirs.
  b.edits.forEach((edit, i) => {
    if (edits.includes(edit)) return;
    const next = b.edits.slice(i + 1).find((later) => edits.includes(later));
    edits.splice(next ? edits.indexOf(next) : edits.length, 0, edit);
  });
  const result = { taps: [...new Set([...a.taps, ...b.taps])], edits };
  const distinct = new Set(edits.map(({ name }) => name)).size === edits.length;
  return distinct && covers(result, b) ? result : undefined;
}

/** What several rows ask for together; undefined where no one program does it. */
export function unite(parts: Iterable<Instruments>): Instruments | undefined {
  // Long lists first: they say most about the order.
  const [longest = noInstruments, ...others] = [...parts].sort((a, b) => b.edits.length - a.edits.length);
  let result: Instruments | undefined = longest;
  for (const part of others) result &&= merge(result, part);
  return result;
}

/** The same for what must share a pass. Errors: `bad_option` where it cannot. */
export function union(parts: Iterable<Instruments>): Instruments {
  const result = unite(parts);
  ensure(
    result,
    "bad_option",
    "what shares a pass has edits of one name that differ, or the same edits in another order",
  );
  return result;
}
