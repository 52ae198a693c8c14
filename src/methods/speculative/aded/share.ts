/**
 * A table whose credits replicas tell one another. A credit adds to what a table holds, so that tables which took in the same credits know
 * the same, each its own text and that of the others; as every credit also lets its pair forget, the order leaves small differences in weight.
 * Credits come from texts: told are stretches of tokens, each with all its tri-grams.
 */
import { z } from "zod";
import { joinBytes } from "../../../bytes.ts";
import { ensure } from "../../../errors.ts";
import type { SharedDifferences, Sharing } from "../../../sharing/index.ts";
import type { TrigramTable } from "./table.ts";

/** Stretches that were credited in one way. */
interface Credited {
  readonly amount: number;
  readonly most: number;
  readonly keep: number;
  readonly stretches: number[][];
}

/** Tokens that wait to be told, at most: what goes beyond is this replica's own. */
const mostTokens = 6000;
const mostWays = 16;

const head = z
  .array(
    z.strictObject({
      amount: z.number().min(0).max(1e6),
      most: z.number().positive().max(1e6),
      keep: z.number().min(0).max(1),
      lengths: z.array(z.int().min(3).max(mostTokens)).max(mostTokens),
    }),
  )
  .max(mostWays);

type Shared = TrigramTable & { close(): Promise<void> };

/** `fingerprint`: of the model whose texts are learned. */
export function shareTable(table: TrigramTable, sharing: Sharing, fingerprint: () => Promise<string>): Shared {
  const told = createCredits(table);
  const subject = {
    kind: "aded",
    fingerprint: async () => `${await fingerprint()} ${table.fingerprint} ${table.vocabularySize}`,
  };
  const shared: SharedDifferences = sharing.differences(subject, told);
  return {
    ...table,
    credit(first, second, third, amount, most, keep = 1) {
      table.credit(first, second, third, amount, most, keep);
      told.add(first, second, third, { amount, most, keep });
    },
    close: shared.close,
  };
}

/** What was credited since it was last told, and what others told, for a table. */
export function createCredits(table: Pick<TrigramTable, "credit" | "vocabularySize">) {
  const { vocabularySize } = table;
  const Tokens = vocabularySize <= 2 ** 16 ? Uint16Array : Uint32Array;
  let ways: Credited[] = [];
  let tokens = 0;

  function add(
    first: number,
    second: number,
    third: number,
    { amount, most, keep }: Omit<Credited, "stretches">,
  ): void {
    let way = ways.find((one) => one.amount === amount && one.most === most && one.keep === keep);
    if (!way) {
      if (ways.length >= mostWays) return;
      way = { amount, most, keep, stretches: [] };
      ways.push(way);
    }
    const last = way.stretches.at(-1);
    const goesOn = last !== undefined && last.at(-2) === first && last.at(-1) === second;
    tokens += goesOn ? 1 : 3;
    if (tokens > mostTokens) return;
    if (goesOn) last.push(third);
    else way.stretches.push([first, second, third]);
  }

  function take(): Uint8Array<ArrayBuffer> | undefined {
    if (ways.length === 0) return undefined;
    const line = ways.map(({ stretches, ...way }) => ({ ...way, lengths: stretches.map(({ length }) => length) }));
    const text = new TextEncoder().encode(`${JSON.stringify(line satisfies z.input<typeof head>)}\n`);
    const all = Tokens.from(ways.flatMap(({ stretches }) => stretches.flat()));
    [ways, tokens] = [[], 0];
    return joinBytes([text, new Uint8Array(all.buffer)]);
  }

  function merge(piece: Uint8Array<ArrayBuffer>): void {
    const end = piece.indexOf(10);
    const read = head.safeParse(jsonOf(piece.subarray(0, Math.max(0, end))));
    ensure(read.success, "bad_file", "its credits are none that a table could have had");
    const all = new Tokens(piece.slice(end + 1, end + 1 + sizeOf(piece.length - end - 1)).buffer);
    const announced = read.data.reduce((sum, { lengths }) => lengths.reduce((a, b) => a + b, sum), 0);
    ensure(
      announced === all.length && all.length * Tokens.BYTES_PER_ELEMENT === piece.length - end - 1,
      "bad_file",
      `it has ${piece.length - end - 1} bytes of tokens and announces ${announced} tokens`,
    );
    ensure(
      all.every((token) => token < vocabularySize),
      "bad_file",
      `it has a token outside the vocabulary of ${vocabularySize}`,
    );
    let at = 0;
    for (const { amount, most, keep, lengths } of read.data) {
      for (const length of lengths) {
        for (let i = at; i < at + length - 2; i++) table.credit(all[i], all[i + 1], all[i + 2], amount, most, keep);
        at += length;
      }
    }
  }

  /** The whole tokens in so many bytes. */
  const sizeOf = (bytes: number): number => bytes - (bytes % Tokens.BYTES_PER_ELEMENT);

  return { add, take, merge };
}

function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return undefined;
  }
}
