/** What is read and rewritten inside a model while it decodes, through the public face. */

import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { methodChoice } from "../src/calls.ts";
import type { ReadyEdit } from "../src/engine/sites/ready.ts";
import type { AppliedEdit } from "../src/engine/sites/rows.ts";
import type { Edit } from "../src/models/edits.ts";
import { lensReading, logitLens } from "../src/models/lens.ts";
import { type Model, open } from "../src/open.ts";
import { add, gather, multiply, reshape, scalar, slice, type Tensor } from "../src/tensor/index.ts";
import { openWeights } from "../src/weights/index.ts";
import { openSafetensors } from "../src/weights/safetensors.ts";
import { dataPath, noData } from "./data.ts";
import { type ReferenceTensor, type ReferenceWeights, referenceLogits } from "./fixtures/reference.ts";
import { writeTinyDiffusion } from "./fixtures/tiny-diffusion.ts";
import { removeModel, type TinyModel, writeTinyModel } from "./fixtures/tiny-model.ts";

let tiny: TinyModel;
let model: Model;
beforeAll(async () => {
  tiny = await writeTinyModel({ config: { eos_token_id: undefined } });
  model = await open(tiny.folder, { threads: 1 });
});
afterAll(async () => {
  await model.close();
  await removeModel(tiny);
});

const tokens = [5, 9, 2, 33, 14, 7, 7, 21];
const difference = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  expect(a.length).toBe(b.length);
  return Array.from(a).reduce((worst, x, i) => Math.max(worst, Math.abs(x - b[i])), 0);
};

/** What the reference has at a site, position after position, in one array. */
function reference(site: string, text: readonly number[]): number[] {
  const rows: number[] = [];
  tiny.logits(text, (name, _, value) => {
    if (name === site) rows.push(...value);
  });
  return rows;
}

describe("taps of a run", () => {
  test.each(["greedy", "prompt-lookup", "aded"])(
    "%s: rows of prompt and output, once each, in order",
    async (method) => {
      const taps = ["layers.0.residual", "final"];
      const run = model.decode(tokens, { method: methodChoice(method), temperature: 0, maxTokens: 12, taps });
      const seen: number[] = [];
      const values: number[] = [];
      for await (const event of run) {
        if (event.type !== "taps") continue;
        expect(event.position).toBe(seen.length);
        for (let i = 0; i < event.rows; i++) seen.push(event.position + i);
        values.push(...event.values["layers.0.residual"]);
      }
      const final = await run.final;
      const text = [...tokens, ...final.tokens];
      const { rows, width } = final.taps!["layers.0.residual"];
      expect(seen.length).toBe(rows);
      expect(rows).toBeGreaterThanOrEqual(text.length - 1);
      expect(values).toEqual([...final.taps!["layers.0.residual"].values]);
      for (const tap of taps) {
        const wanted = reference(tap, text.slice(0, rows));
        expect(difference(final.taps![tap].values, wanted)).toBeLessThan(1e-4);
      }
      expect(width).toBe(32);
      const plain = await model.decode(tokens, { method: methodChoice(method), temperature: 0, maxTokens: 12 }).final;
      expect(plain.tokens).toEqual(final.tokens);
      expect(plain.taps).toBeUndefined();
    },
  );

  test.each(["beam", "diverse-beam"])(
    "%s: rows of the best text, though it was not always the best",
    async (method) => {
      const site = "layers.1.residual";
      const run = model.decode(tokens, { method: methodChoice(method), temperature: 1, maxTokens: 12, taps: [site] });
      const { tokens: output, taps } = await run.final;
      expect(taps![site].rows).toBe(tokens.length + output.length - 1);
      const wanted = reference(site, [...tokens, ...output.slice(0, -1)]);
      expect(difference(taps![site].values, wanted)).toBeLessThan(1e-4);
      expect(model.forest.held).toBe(0);
    },
  );

  test("cached prompts are recomputed for their taps", async () => {
    await model.decode(tokens, { temperature: 0, maxTokens: 2 }).final;
    const { taps, counters } = await model.decode(tokens, { temperature: 0, maxTokens: 2, taps: ["embed"] }).final;
    expect(counters.cachedTokens).toBe(0);
    expect(taps!.embed.rows).toBeGreaterThanOrEqual(tokens.length);
  });

  test.each([
    [{ taps: ["layers.0.residua"] }, /no site layers.0.residua; did you mean "layers.0.residual/],
    [{ edits: [{ site: "layers.9.residual", set: 0 }] }, /no site layers.9.residual/],
    [{ edits: [{ site: "final", entries: [32], set: 0 }] }, /no entry 32/],
  ])("%j is refused, and nothing is lost", async (options, message) => {
    await expect(model.decode(tokens, options).final).rejects.toThrow(message);
    expect(model.forest.held).toBe(0);
  });
});

describe("edits of a run", () => {
  const edits = [{ site: "layers.0.mlp.neurons", entries: [3, 17], set: 30 }];
  const edited = (site: string, _: number, value: Float64Array): void => {
    if (site === "layers.0.mlp.neurons") value[3] = value[17] = 30;
  };

  test("every method writes what greedy decoding of the edited reference writes, beside requests without", async () => {
    const wanted = [...tokens];
    while (wanted.length < tokens.length + 16) {
      const logits = tiny.logits(wanted, edited).at(-1)!;
      wanted.push(logits.indexOf(Math.max(...logits)));
    }
    const plain = (await model.decode(tokens, { temperature: 0, maxTokens: 16 }).final).tokens;
    const methods = ["greedy", "prompt-lookup", "aded"];
    const runs = methods.flatMap((method) => [
      model.decode(tokens, { method: methodChoice(method), temperature: 0, maxTokens: 16, edits }).final,
      model.decode(tokens, { method: methodChoice(method), temperature: 0, maxTokens: 16 }).final,
    ]);
    for (const [i, { tokens: got }] of (await Promise.all(runs)).entries()) {
      expect(got).toEqual(i % 2 === 0 ? wanted.slice(tokens.length) : plain);
    }
    expect(plain).not.toEqual(wanted.slice(tokens.length));
    expect(model.forest.held).toBe(0);
  });

  test("a run whose edit gives values that are not finite ends by its name; others go on", async () => {
    const scale = [
      { site: "layers.0.mlp.up", scale: 1e15 },
      { site: "layers.0.mlp.up", scale: 1e15 },
    ];
    const [bad, good] = await Promise.allSettled([
      model.decode(tokens, { temperature: 0, maxTokens: 6, edits: scale }).final,
      model.decode(tokens, { temperature: 0, maxTokens: 6 }).final,
    ]);
    expect(bad).toMatchObject({ status: "rejected", reason: { code: "runtime_failed" } });
    expect(good.status).toBe("fulfilled");
    const NaNs: Edit = {
      name: "broken",
      site: "final",
      parameters: { nothing: { shape: [1], values: Float32Array.of(Number.NaN) } },
      apply: (_, { parameters: { nothing } }) => ({ value: add(_, nothing) }),
    };
    const run = model.decode(tokens, { edits: [{ edit: NaNs }] }).final;
    await expect(run).rejects.toThrow(/the edit broken at final gave values that are not finite/);
  });

  test("a run whose edit is not finite somewhere in the prompt ends so however often it is asked for", async () => {
    const scale = { site: "layers.0.residual", scale: 1e15 };
    for (const at of [0, 3, tokens.length - 1])
      for (let time = 0; time < 3; time++) {
        const edits = [scale, scale].map((one) => ({ ...one, at: [at] }));
        const run = model.decode(tokens, { temperature: 0, maxTokens: 2, edits }).final;
        await expect(run).rejects.toThrow(`at position ${at}`);
      }
  });

  test("what fails of one run's edit, before or while a pass runs, is that run's; others of the pass go on", async () => {
    const wrong = (name: string): Edit => ({
      name,
      site: "layers.0.residual",
      apply: (value) => ({ value: slice(value, 1, 0, 4) }),
    });
    const chosen: Edit = {
      name: "chosen",
      site: "layers.0.residual",
      inputs: { row: { type: "int64", shape: [] } },
      apply: (value, { inputs: { row } }) => ({ value: add(value, multiply(gather(value, row), scalar(0))) }),
    };
    const decode = (options: object) =>
      model.decode(tokens, { temperature: 0, maxTokens: 6, ...options }).final.then(
        (final) => final.tokens,
        (error) => error.message as string,
      );
    const plain = await decode({});
    const outside = { edit: chosen, inputs: () => ({ row: [1e6] }) };
    const asked = [
      ...["one", "two", "three", "four", "five"].map((name) => ({ edits: [{ edit: wrong(name) }] })),
      { edits: [outside] },
      { edits: [{ site: "layers.0.mlp.up", scale: 1 }] },
      { taps: ["final"] },
      {},
    ];
    const got = await Promise.all(asked.map(decode));
    for (const [i, name] of ["one", "two", "three", "four", "five"].entries())
      expect(got[i]).toContain(`the edit ${name} at`);
    expect(got[5]).toMatch(/Gather/);
    expect(got.slice(6)).toEqual([plain, plain, plain]);
    expect(await decode({})).toEqual(plain);
    expect(model.forest.held).toBe(0);
  });

  test.each(["f32", "f16"] as const)("values of any size stay their own run's, with keys in %s", async (keyValues) => {
    await using own = await open(tiny.folder, { threads: 1, keyValues });
    const decode = (options: object, text = tokens) =>
      own.decode(text, { temperature: 0, maxTokens: 6, ...options }).final.then(
        (final) => final.tokens,
        () => "refused",
      );
    const other = [3, 8, 1];
    const alone = [await decode({}), await decode({}, other)];
    const site = "layers.0.attention.norm";
    for (const edit of [{ set: 1e5 }, { set: 1e9 }, { scale: 1e9 }, { scale: -1e12 }, { entries: [0], set: 9e14 }]) {
      const edits = [{ site, ...edit }];
      const [large, ...others] = await Promise.all([decode({ edits }), decode({}), decode({}, other)]);
      expect(others).toEqual(alone);
      expect(large).not.toBe("refused");
      expect([await decode({}), await decode({}, other)]).toEqual(alone);
    }
  });

  test("requests whose edits no one program can have take turns: of one name and different, or in another order", async () => {
    const scaled = (name: string, factor: number): Edit => ({
      name,
      site: "layers.0.residual",
      apply: (value) => ({ value: multiply(value, scalar(factor)) }),
    });
    const added: Edit = {
      name: "added",
      site: "layers.0.residual",
      apply: (value) => ({ value: add(value, scalar(0.5)) }),
    };
    const [large, small] = [scaled("scaled", 1.5), scaled("scaled", 0.2)];
    const lists = [[large], [small], [added, large], [large, added], []].map((edits) =>
      edits.map((edit) => ({ edit })),
    );
    const decode = (edits: { edit: Edit }[]) =>
      model
        .decode(tokens, { temperature: 0, maxTokens: 8, edits, logprobs: 0 })
        .final.then(({ logprobs }) => logprobs?.map(({ raw }) => raw) ?? []);
    const alone: number[][] = [];
    for (const edits of lists) alone.push(await decode(edits));
    expect(await Promise.all(lists.map(decode))).toEqual(alone);
    expect(new Set(alone.map((got) => got.join())).size).toBeGreaterThan(3);
    expect(model.forest.held).toBe(0);
  });

  const shift: Edit = {
    name: "shift",
    site: "layers.0.residual",
    inputs: { by: { shape: [1] } },
    apply: (value, { inputs }) => ({ value: add(value, inputs.by) }),
  };
  const throws = (): never => {
    throw new Error("no idea");
  };
  test.each<[string, Omit<AppliedEdit, "edit">, RegExp]>([
    ["inputs that throw", { inputs: throws }, /the edit shift at layers\.0\.residual, position 0: no idea/],
    ["positions that throw", { at: throws }, /position 0: no idea/],
    ["positions that are a text", { at: (() => "x") as never }, /position 0: at must give true or false, and gave "x"/],
    [
      "positions by a promise",
      { at: (async () => throws()) as never },
      /at must give true or false, and gave a Promise/,
    ],
    ["inputs that are none", { inputs: (() => 5) as never }, /inputs must give an object of numbers .*, and gave 5/],
    ["inputs by a promise", { inputs: (async () => throws()) as never }, /inputs must give an object .* a Promise/],
    ["a number alone", { inputs: (() => ({ by: 5 })) as never }, /its input by must be a list .* of 1 number, not 5/],
    ["null among numbers", { inputs: (() => ({ by: [null] })) as never }, /its input by has null among its numbers/],
    ["too many numbers", { inputs: () => ({ by: [1, 2] }) }, /its input by was given 2 numbers, and its shape has 1/],
    ["no numbers", { inputs: () => ({ by: [] }) }, /its input by was given 0 numbers/],
    ["no input", {}, /its input by was given no value/],
    ["one of another name", { inputs: () => ({ bye: [1] }) }, /its input by was given no value/],
    ["one too many", { inputs: () => ({ by: [1], bye: [1] }) }, /position 0: it has no input bye/],
    ["what is no number", { inputs: () => ({ by: [Number.NaN] }) }, /gave values that are not finite/],
  ])("%s end the run that has them, and nobody else's", async (_, applied, message) => {
    const plain = await model.decode([9, ...tokens], { temperature: 0, maxTokens: 6 }).final;
    const [bad, shifted, good] = await Promise.allSettled([
      model.decode(tokens, { temperature: 0, maxTokens: 6, edits: [{ edit: shift, ...applied }] }).final,
      model.decode(tokens, { temperature: 0, maxTokens: 6, edits: [{ edit: shift, inputs: () => ({ by: [0.5] }) }] })
        .final,
      model.decode([9, ...tokens], { temperature: 0, maxTokens: 6 }).final,
    ]);
    expect(bad).toMatchObject({ status: "rejected", reason: { name: "VentrisError" } });
    expect((bad as PromiseRejectedResult).reason.message).toMatch(message);
    expect(shifted.status).toBe("fulfilled");
    expect((good as PromiseFulfilledResult<typeof plain>).value.tokens).toEqual(plain.tokens);
    expect(model.forest.held).toBe(0);
  });

  const site = "layers.0.residual";
  test.each<[object, RegExp]>([
    [{ edit: { name: "odd", site, apply: throws } }, /the edit odd at layers\.0\.residual: apply failed: no idea/],
    [{ edit: { name: "odd", site, apply: (v: Tensor) => ({ value: reshape(v, [5, 5]) }) } }, /the edit odd .*reshape/],
    [{ edit: { name: "odd", site, apply: () => undefined } }, /the edit odd: apply must give \{ value, readings \}/],
    [{ edit: { name: "odd", site, apply: () => ({ value: 5 }) } }, /its value must be a tensor, not 5/],
    [{ edit: { name: "odd", site, apply: () => ({ readings: { x: 5 } }) } }, /its reading x must be a tensor, not 5/],
    [{ edit: { site, apply: () => ({}) } }, /has no name/],
    [
      { edit: { name: "odd", sites: [site], apply: throws } },
      /the edit odd: site must be a text, .*did you mean "site" for "sites"\?/,
    ],
    [
      { edit: { name: "odd", site: 5, apply: throws } },
      /the edit odd: site must be a text, a name of the model's sites, not 5/,
    ],
    [
      { edit: { name: "odd", site, parameters: { p: { shape: [32], values: new Float32Array(3) } }, apply: throws } },
      /its parameter p \[32\] needs a Float32Array of 32 numbers, not of 3/,
    ],
    [{ edit: { name: "odd", site, inputs: { a: { shape: [-1] } }, apply: throws } }, /its input a must have/],
    [
      { edit: { name: "odd", site, inputs: { a: { shape: [], type: "bool" } }, apply: throws } },
      /its input a must have/,
    ],
    [{ edit: { name: "odd\n", site, apply: throws } }, /has no name/],
    [{ edit: { name: "odd", site, apply: (x: object) => x } }, /apply must give .*, not a tensor alone/],
    [{ edit: { name: "odd", site, apply: async () => ({}) } }, /apply must give .*, not a promise/],
    [{ edit: { name: "odd", site, apply: () => ({ readings: 5 }) } }, /readings are tensors by their keys, not 5/],
    [
      { edit: { name: "odd", site, inpts: {}, apply: () => ({}) } },
      /the edit odd: it has a field that edits have not; did you mean "inputs" for "inpts"\?/,
    ],
    [{ edit: { name: "odd", site, apply: () => ({ vale: 1 }) } }, /apply must give .*, and gave "vale"/],
    [
      { name: "layers.0", site, apply: (x: Tensor) => ({ readings: { residual: x } }) },
      /its reading residual would be called layers\.0\.residual, as a site is/,
    ],
    [{ edit: { name: "odd", site } }, /a module is written \{ edit: \{ name, site, apply \} \}/],
    [{ edit: { name: "odd", site, apply: throws }, keys: "" }, /there is no "keys" beside a module/],
    [{ edit: { name: "odd", site, apply: throws }, at: [3] }, /at of a module is a function of the position/],
    [{ edit: { name: "odd", site, apply: throws }, inputs: () => ({}) }, /the edit odd takes no inputs/],
    [{ site, at: 3, add: 1 }, /edits\[0\]\.at must be "all" or a list, not 3/],
    [{ site, heads: [1], entries: [2], add: 1 }, /give entries or heads, not both/],
    [{ site, add: Float32Array.of(1, Number.NaN) }, /edits\[0\]\.add\[1\] must be a number, not NaN$/],
    [{ site, at: [96], add: 1 }, /position 96 at layers\.0\.residual is outside the context of 96/],
    [{ site, clamp: { min: 2, max: 1 } }, /min must be at most max/],
    [{ site, clamp: {} }, /give min, max or both/],
  ])("%j is refused by name", async (edit, message) => {
    const run = async () => model.decode(tokens, { edits: [edit as ReadyEdit] }).final;
    await expect(run()).rejects.toMatchObject({ name: "VentrisError", message: expect.stringMatching(message) });
  });

  test("a module that needs nothing is an edit by itself, and its texts are shared", async () => {
    const lens = logitLens("layers.0.residual");
    const taps = [lensReading("layers.0.residual")];
    const run = (edits: (Edit | AppliedEdit)[]) =>
      model.generate(tokens, { temperature: 0, maxTokens: 2, taps, edits });
    const bare = await run([lens]);
    const written = await run([{ edit: lens, key: "" }]);
    expect(bare.taps).toEqual(written.taps);
    expect((await model.generate(tokens, { temperature: 0, maxTokens: 2, edits: [lens] })).counters.cachedTokens).toBe(
      7,
    );
  });

  test("an edit, its inputs, parameters and readings may be called as anything of the program is", async () => {
    const made = (name: string, key: string, own: string): AppliedEdit => ({
      edit: {
        name,
        site: "layers.0.residual",
        inputs: { [key]: { shape: [1] } },
        parameters: { [own]: { shape: [1], values: Float32Array.of(0.25) } },
        apply(value, { inputs, parameters }) {
          const result = add(value, add(inputs[key], parameters[own]));
          return { value: result, readings: { [key]: result } };
        },
      },
      inputs: () => ({ [key]: [0.5] }),
    });
    const run = async (...edits: AppliedEdit[]) => {
      const [{ edit }] = edits;
      const tap = `${edit.name}.${Object.keys(edit.inputs!)[0]}`;
      const options = { edits, taps: [tap] };
      const { tokens: written, taps } = await model.decode(tokens, { temperature: 0, maxTokens: 3, ...options }).final;
      const whole = await model.forward([5, 9, 2], { ...options, keep: true });
      return { written, values: taps![tap].values, logits: whole.logits, kept: whole.kept };
    };
    const plain = await run(made("shift", "by", "own"));
    const names: [string, string, string][] = [
      ["new", "keys", "values"],
      ["keys", "0", "1"],
      ["kept.keys", "0", "1"],
      ["selected", "0", "rows"],
      ["tap.layers.0", "residual", "other"],
      ["bad.shift", "limit", "limit"], // its own limit is one of the program's inputs, too
      ["memory", "plan", "own"],
      ["model.layers.0.mlp", "x", "up_proj.weight"],
      ["v1", "keys", "keys"],
      ["__proto__", "constructor", "__proto"],
    ];
    for (const [name, key, own] of names) expect(await run(made(name, key, own)), name).toEqual(plain);
    // Two whose names only together are the same.
    const none = (name: string, key: string): AppliedEdit => ({
      edit: {
        name,
        site: "layers.0.residual",
        inputs: { [key]: { shape: [1] } },
        apply: (value, { inputs }) => ({ value: add(value, inputs[key]) }),
      },
      inputs: () => ({ [key]: [0] }),
    });
    expect(await run(made("shift", "by", "own"), none("a", "b.c"), none("a.b", "c"))).toEqual(plain);
  });

  test("an edit that is part of the model brings its parameters, on a tree and on a canvas, and takes no inputs", async () => {
    const shiftBy = (by: number): Edit => ({
      name: "keys",
      site: "layers.0.residual",
      parameters: { "0": { shape: [1], values: Float32Array.of(by) } },
      apply: (value, { parameters }) => ({ value: add(value, parameters["0"]) }),
    });
    const diffusion = await writeTinyDiffusion();
    try {
      for (const folder of [tiny.folder, diffusion.folder]) {
        const written = async (edits: Edit[]) => {
          await using own = await open(folder, { threads: 1, edits });
          return (await own.decode(tokens, { maxTokens: 8, temperature: 0 }).final).tokens;
        };
        expect(await written([shiftBy(0)])).toEqual(await written([]));
        expect(await written([shiftBy(30)])).not.toEqual(await written([]));
        await expect(open(folder, { edits: [shift] })).rejects.toThrow(
          /the edit shift takes inputs, which a request gives/,
        );
      }
    } finally {
      await rm(diffusion.folder, { recursive: true });
    }
  });

  test("readings of one name are refused within a request, and kept apart between requests", async () => {
    const reads = (name: string, key: string, factor: number): AppliedEdit => ({
      edit: { name, site: "embed", apply: (value) => ({ readings: { [key]: multiply(value, scalar(factor)) } }) },
    });
    const [one, other] = [reads("a", "b.c", 1), reads("a.b", "c", 2)];
    const read = async (edits: AppliedEdit[]) => {
      const { taps } = await model.decode(tokens, { temperature: 0, maxTokens: 2, edits, taps: ["a.b.c", "embed"] })
        .final;
      return taps!["a.b.c"].values[3] / taps!.embed.values[3];
    };
    expect(await Promise.all([read([one]), read([other])])).toEqual([1, 2]);
    await expect(read([one, other])).rejects.toThrow(/its reading c would be called a\.b\.c, as another edit's is/);
  });

  test("an edit that gives another shape is refused", async () => {
    const narrow: Edit = { name: "narrow", site: "embed", apply: (value) => ({ value: slice(value, 1, 0, 4) }) };
    await expect(model.decode(tokens, { edits: [{ edit: narrow }] }).final).rejects.toThrow(
      /the edit narrow at embed gives float32 \[.*, 4\], but the site is float32 \[.*, 32\]/,
    );
  });
});

test("a clamp inside dyspec, its draft knowing nothing of it, beside requests without: the very text of greedy decoding with it", async () => {
  await using own = await open("knossos", { threads: 1 });
  const edits = [
    { site: "layers.2.mlp.neurons", entries: Array.from({ length: 140 }, (_, i) => 5 * i), clamp: { min: 3, max: 4 } },
  ];
  const decode = (method: unknown, more: object = {}) =>
    own.decode("Once upon a time", { method: method as never, temperature: 0, maxTokens: 16, ...more }).final;
  const speculative = { name: "dyspec", draft: "pylos", budget: 8 };
  const wanted = (await decode("greedy", { edits })).tokens;
  const plain = (await decode("greedy")).tokens;
  const runs = await Promise.all([decode(speculative, { edits }), decode(speculative), decode("greedy", { edits })]);
  expect(runs.map(({ tokens: got }) => got)).toEqual([wanted, plain, wanted]);
  expect(wanted).not.toEqual(plain);
  expect(own.forest.held).toBe(0);
});

describe("traces of whole texts", () => {
  const long = Array.from({ length: 230 }, (_, i) => (i * i * 7 + 3 * i + 5) % 64);

  test("windows of a text longer than the context, chunk by chunk", async () => {
    const rows: number[] = [];
    let position = 0;
    for await (const chunk of model.trace(long, { taps: ["layers.1.mlp.gate"], window: 90 })) {
      expect(chunk.position).toBe(position);
      position += chunk.tokens.length;
      rows.push(...chunk.values["layers.1.mlp.gate"].values);
    }
    expect(position).toBe(long.length);
    const wanted = [0, 90, 180].flatMap((at) => reference("layers.1.mlp.gate", long.slice(at, at + 90)));
    expect(difference(rows, wanted)).toBeLessThan(1e-4);
    expect(model.forest.held).toBe(0);
  });

  test("what cannot be is refused at once, not at the first chunk", () => {
    const taps = ["embed"];
    expect(() => model.trace(long, { taps, window: 0 })).toThrow(/window must be a whole number from 1 to 96, not 0/);
    expect(() => model.trace(long, { taps, window: 97 })).toThrow(/window/);
    const edits = [{ site: "embed", at: [30], scale: 2 }];
    expect(() => model.trace(long, { taps, window: 30, edits })).toThrow(/acts nowhere: .* positions 0 to 29/);
  });

  test("readings of edits go into a file, too", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-trace-"));
    try {
      const path = join(folder, "lens.safetensors");
      const tap = lensReading("layers.0.residual");
      const options = { taps: [tap, "embed"], edits: [logitLens("layers.0.residual")] };
      await model.writeTrace(path, long.slice(0, 20), options);
      const file = await openSafetensors(path);
      expect(file.tensors.get(`${tap}@0`)!.shape).toEqual([20, 64]);
      const written = await file.readFloat32(`${tap}@0`);
      for await (const { values } of model.trace(long.slice(0, 20), options))
        expect(written).toEqual(values[tap].values);
      await file.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test("in a file, and with edits", async () => {
    const folder = await mkdtemp(join(tmpdir(), "ventris-trace-"));
    try {
      const path = join(folder, "trace.safetensors");
      const options = { taps: ["embed", "layers.0.residual"], edits: [{ site: "embed", scale: 2 }] };
      expect(await model.writeTrace(path, long.slice(0, 96), options)).toBe(96);
      const file = await openSafetensors(path);
      const embed = await file.readFloat32("embed@0");
      expect(
        difference(
          embed,
          reference("embed", long.slice(0, 96)).map((x) => 2 * x),
        ),
      ).toBeLessThan(1e-5);
      expect(file.tensors.get("layers.0.residual@0")!.shape).toEqual([96, 32]);
      await file.close();
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

const stories = dataPath("stories260k");
test.skipIf(!stories)(
  `a logit lens on stories260K is the float64 reference's${stories ? "" : `: ${noData}`}`,
  async () => {
    const config = JSON.parse(await readFile(join(stories!, "config.json"), "utf8"));
    const source = await openWeights(stories!);
    const weights = new Map<string, ReferenceTensor>();
    for (const [name, { shape }] of source.tensors) weights.set(name, { shape, data: await source.readFloat32(name) });
    await source.close();
    await using own = await open(stories!, { threads: 1 });
    const text = own.tokenizer!.encode("Once upon a time, there was a little girl");
    const sites = own.sites().flatMap(({ name }) => (/^layers\.\d+\.residual$/.test(name) ? [name] : []));
    const run = own.decode(text, {
      temperature: 0,
      maxTokens: 5,
      taps: sites.map(lensReading),
      edits: sites.map((site) => ({ edit: logitLens(site), key: "" })),
    });
    const { tokens: output, taps } = await run.final;
    expect(output).toEqual((await own.decode(text, { temperature: 0, maxTokens: 5 }).final).tokens);
    const whole = [...text, ...output].slice(0, taps![lensReading(sites[0])].rows);
    const exits = exitLogits(config, weights, whole, sites);
    for (const site of sites) {
      const { values, width } = taps![lensReading(site)];
      exits.get(site)!.forEach((wanted, position) => {
        const got = values.subarray(position * width, (position + 1) * width);
        const scale = Math.max(...wanted.map(Math.abs));
        expect(difference(got, wanted) / scale).toBeLessThan(1e-5);
      });
    }
  },
);

/** In float64: the output matrix (tied here) on the final norm of the residual stream. */
function exitLogits(
  config: Record<string, number>,
  weights: ReferenceWeights,
  text: readonly number[],
  sites: readonly string[],
): Map<string, Float64Array[]> {
  const gain = weights.get("model.norm.weight")!.data;
  const output = weights.get(weights.has("lm_head.weight") ? "lm_head.weight" : "model.embed_tokens.weight")!;
  const [vocabulary, width] = output.shape;
  const result = new Map(sites.map((site) => [site, [] as Float64Array[]]));
  referenceLogits(config as never, weights, text, (site, position, value) => {
    const rows = result.get(site);
    if (!rows) return;
    const squares = value.reduce((sum, x) => sum + x * x, 0);
    const scale = 1 / Math.sqrt(squares / width + config.rms_norm_eps);
    rows[position] = Float64Array.from({ length: vocabulary }, (_, token) => {
      let sum = 0;
      for (let i = 0; i < width; i++) sum += output.data[token * width + i] * value[i] * scale * gain[i];
      return sum;
    });
  });
  return result;
}
