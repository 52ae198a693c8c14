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
  /** Who waits for it, or runs in it. */
  users: number;
}

/** Programs kept; and hooks in one of them, beyond which a new one starts with what is asked for alone. */
const mostVariants = 3;
const mostHooks = 48;

export function withVariants(base: Pass, make: (asked: Instruments) => Promise<Pass>): Pass {
  /** The one used last comes last. */
  const variants: Variant[] = [];
  /** What the last pass asked for, and its program: the next one mostly asks for the same. */
  let last: { asked: Instruments; variant: Variant } | undefined;
  const leaving = new Set<Promise<void>>();
  let released = false;

  /** Hooks cost time whether rows ask for them or not: the program with the fewest. */
  function covering(asked: Instruments): Variant {
    if (last?.asked === asked && variants.includes(last.variant)) return last.variant;
    const serving = variants.filter((variant) => serves(variant.asked, asked));
    const fewest = Math.min(...serving.map((variant) => hooksOf(variant.asked)));
    const found = serving.findLast((variant) => hooksOf(variant.asked) === fewest) ?? compile(withLatest(asked));
    take(found);
    variants.push(found);
    last = { asked, variant: found };
    return found;
  }

  /** Just what is asked; where there are many programs already, what the latest has, too, or they would take turns. */
  function withLatest(asked: Instruments): Instruments {
    const latest = variants.length < mostVariants ? noInstruments : variants[variants.length - 1].asked;
    const joined = merge(latest, asked);
    return joined && hooksOf(joined) <= mostHooks && serves(joined, asked) ? joined : asked;
  }

  /** The program for just what is asked. */
  const alone = (asked: Instruments): Variant =>
    variants.find((variant) => hooksOf(variant.asked) === hooksOf(asked) && serves(variant.asked, asked)) ??
    compile(asked);

  function compile(asked: Instruments): Variant {
    const variant: Variant = { asked, pass: make(asked), users: 0 };
    variants.push(variant);
    variant.pass.catch(() => take(variant));
    return variant;
  }

  /** Out of those kept, unless it is out already. */
  function take(variant: Variant): void {
    const at = variants.indexOf(variant);
    if (at >= 0) variants.splice(at, 1);
  }

  function discard(variant: Variant): void {
    take(variant);
    const gone: Promise<void> = variant.pass
      .then((pass) => pass.release())
      .catch(() => {}) // it did not compile: who asked for it is told
      .finally(() => leaving.delete(gone));
    leaving.add(gone);
  }

  function dropSpare(): void {
    for (const variant of [...variants]) if (variants.length > mostVariants && variant.users === 0) discard(variant);
  }

  /** A program stays while `action` goes on. */
  async function holding<Result>(variant: Variant, action: () => Promise<Result>): Promise<Result> {
    variant.users += 1;
    try {
      dropSpare();
      return await action();
    } finally {
      variant.users -= 1;
      dropSpare();
    }
  }

  /** Errors: those of compiling what is asked, and `aborted` when all is released. */
  async function within<Result>(asked: Instruments, action: (pass: Pass) => Promise<Result>): Promise<Result> {
    ensure(!released, "aborted", "the model was closed");
    const variant = covering(asked);
    return holding(variant, async () => {
      const pass = await variant.pass.catch((error) => {
        if (hooksOf(variant.asked) === hooksOf(asked)) throw error;
      });
      if (pass) return action(pass);
      // What is in it for others may be why it does not compile.
      const own = alone(asked);
      return holding(own, async () => action(await own.pass));
    });
  }

  return {
    ...base,
    async prepare(asked) {
      if (hooksOf(asked) > 0) await within(asked, async () => {});
    },
    async run(inputs) {
      return inputs.sites ? within(inputs.sites.needed, (pass) => pass.run(inputs)) : base.run(inputs);
    },
    async release() {
      released = true;
      await base.release();
      for (const variant of [...variants]) discard(variant);
      await Promise.all(leaving);
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
