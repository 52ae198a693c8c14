import { runInNewContext } from "node:vm";
import { describe, expect, test, vi } from "vitest";
import { checked, checkedAll, createObjectChecks, type Kind, type NamedKinds } from "./arguments.ts";
import { VentrisError } from "./errors.ts";
import { isSaid } from "./wrong.fixture.ts";

const named: NamedKinds = {
  Node: { fields: { name: "string", "next?": { named: "Node" }, "size?": "number" } },
  Blade: { fields: { edge: "number" }, from: ["forge", "openBlade"] },
  CutOptions: { fields: { "most?": "number", "kind?": { values: ["even", "odd"] } }, closed: true },
};
/** Objects that say which they are. */
const cut: Kind = { fields: { type: { values: ["cut"] }, edge: "number" } };
const slice: Kind = { fields: { type: { values: ["slice"] }, edges: "number" } };
const calling =
  (kind: Kind, name = "value") =>
  (...values: unknown[]) =>
    checked("cut", (...all: unknown[]) => all.length, [[name, kind]], named)(...values);

describe("arguments of another type than declared are refused, with their place and what they must be", () => {
  const wrong: [kind: Kind, value: unknown, message: string][] = [
    ["string", undefined, "cut: value must be a text, not undefined"],
    ["number", "3", 'cut: value must be a number, not "3"'],
    ["schema", {}, "cut: value must be a schema of zod, not {}"],
    [{ list: "number" }, [1, null], "cut: value[1] must be a number, not null"],
    [{ list: { tuple: ["number", "number"], least: 2 } }, [[1, 2], [3]], "cut: value[1] must be a list of 2, not [3]"],
    [{ places: "number" }, "x", 'cut: value must be a list or a typed array, not "x"'],
    [{ places: "number" }, ["x"], 'cut: value[0] must be a number, not "x"'],
    [{ record: "number" }, { a: "x" }, 'cut: value.a must be a number, not "x"'],
    [{ instance: "AbortSignal" }, new AbortController(), "cut: value must be an AbortSignal, not an AbortController"],
    [{ instance: "Uint32Array" }, [1], "cut: value must be a Uint32Array, not [1]"],
    [{ iterable: "iterator" }, "cut", 'cut: value must be something to iterate, not "cut"'],
    [{ iterable: "iterator" }, 7, "cut: value must be something to iterate, not 7"],
    [{ values: ["even", "odd"] }, "evn", 'cut: value must be "even" or "odd", not "evn"; did you mean "even"?'],
    [{ either: ["string", { list: "string" }] }, 7, "cut: value must be a text or a list, not 7"],
    [{ either: ["string", { list: "string" }] }, [7], "cut: value[0] must be a text, not 7"],
    [{ named: "Node" }, null, "cut: value must be an object, not null"],
    [{ named: "Node" }, { nme: "x" }, 'cut: value.name is missing: it must be a text; "nme" is given'],
    [{ named: "Node" }, { name: "a", sise: 3 }, 'cut: there is no field "sise" in value; did you mean "size"?'],
    [
      { named: "Node" },
      { name: "a", next: { name: "b", nxet: 3 } },
      'cut: there is no field "nxet" in value.next; did you mean "next"?',
    ],
    [{ named: "Node" }, { name: "a", next: { name: 3 } }, "cut: value.next.name must be a text, not 3"],
    [{ named: "Blade" }, "blade.bin", 'cut: value must be an object, not "blade.bin"; forge or openBlade gives one'],
    [{ named: "Blade" }, {}, "cut: value.edge is missing: it must be a number; forge or openBlade gives one"],
    [{ named: "CutOptions" }, { mst: 3 }, 'cut: there is no option "mst"; did you mean "most"? (known: most, kind)'],
    [
      { named: "CutOptions" },
      Promise.resolve({ most: 3 }),
      "cut: value must be an object, not a Promise that was not awaited",
    ],
    [
      { list: { named: "CutOptions" } },
      [{ mst: 3 }],
      'cut: there is no option "mst" in value[0]; did you mean "most"? (known: most, kind)',
    ],
    [
      { either: [cut, slice] },
      { type: "slce", edge: 3 },
      'cut: value.type must be "cut" or "slice", not "slce"; did you mean "slice"?',
    ],
    [
      { either: [cut, slice] },
      { type: "slice", edg: 3 },
      'cut: value.edges is missing: it must be a number; "edg" is given',
    ],
    [{ named: "CutOptions" }, { most: null }, "cut: value.most must be a number, not null"],
    [
      { named: "CutOptions" },
      new (class Cutting {
        most = 3;
      })(),
      "cut: value must be a plain object; an object of the class Cutting is not read as options: write it out",
    ],
    [
      { named: "CutOptions" },
      Object.create({ mst: 3 }),
      "cut: value must be a plain object; what an object takes from another is not read as options: write it out",
    ],
    [{ list: "number" }, new Array(1), "cut: value[0] must be a number, not undefined"],
    [{ places: "number" }, new BigInt64Array(2), "cut: value[0] must be a number, not 0n"],
    [{ places: "number" }, { length: 1, 0: "x" }, 'cut: value[0] must be a number, not "x"'],
  ];
  test.each(wrong)("%#: %j", (kind, value, message) => {
    expect(() => calling(kind)(value)).toThrow(expect.objectContaining({ code: "bad_option", message }));
  });
});

test("an array whose memory another has now is refused", () => {
  const values = new Float32Array(2);
  structuredClone(values.buffer, { transfer: [values.buffer] });
  expect(() => calling({ instance: "Float32Array" })(values)).toThrow(
    isSaid("bad_option", /^cut: value must be a Float32Array, not a Float32Array whose memory was transferred$/),
  );
  expect(calling({ instance: "Float32Array" })(new Float32Array(0))).toBe(1);
});

test("what reading an argument throws is told with its place", async () => {
  const boo = new Error("boo");
  const raise = (error: Error): never => {
    throw error;
  };
  const lazy = { name: "a", next: Object.defineProperty({}, "name", { enumerable: true, get: () => raise(boo) }) };
  const read = (node: { next: { name: string } }) => node.next.name;
  const said = isSaid("bad_option", /^cut: node\.next\.name failed: boo$/, boo);
  const parameters = [["node", { named: "Node" }]] as const;
  expect(() => checked<(node: never) => unknown>("cut", read, parameters, named)(lazy as never)).toThrow(said);
  const later = checked("cut", (async (node: never) => read(node)) as never, parameters, named, true);
  await expect((later as (node: unknown) => Promise<unknown>)(lazy)).rejects.toThrow(said);
});

test("what may be missing may be, and what is of the right type passes unchanged", () => {
  expect(calling("number", "most?")()).toBe(0);
  expect(calling({ list: "number" }, "...all")(1, 2, 3)).toBe(3);
  expect(() => calling({ list: "number" }, "...all")(1, "x")).toThrow('cut: all[1] must be a number, not "x"');
  expect(calling({ named: "Node" })({ name: "a", next: undefined, other: 1 })).toBe(1);
  expect(calling({ places: "number" })(Float32Array.of(1))).toBe(1);
  expect(calling({ instance: "Map" })(new Map())).toBe(1);
});

test("what is declared to hold other fields, too, may hold any, and what is declared of it is held to it", () => {
  const open = calling({ fields: { width: "number", "seed?": "number" }, open: true });
  expect(open({ width: 1, hidden: 32, sed: 1 })).toBe(1);
  expect(() => open({ hidden: 32 })).toThrow("width is missing");
  expect(() => open({ width: 1, seed: "x", hidden: 32 })).toThrow('seed must be a number, not "x"');
});

test("what another realm made, and what has places of its own, is of the right type", () => {
  for (const name of ["Map", "Float32Array", "RegExp"])
    expect(calling({ instance: name })(runInNewContext(`new ${name}()`)), name).toBe(1);
  expect(calling({ places: "number" })(runInNewContext("Float64Array.of(1)"))).toBe(1);
  expect(calling({ list: "number" })(runInNewContext("[1]"))).toBe(1);
  expect(calling({ named: "CutOptions" })(runInNewContext("({ most: 1 })"))).toBe(1);
  expect(calling({ places: "number" })({ length: 2, 0: 1, 1: 2 })).toBe(1);
});

test("a function that is called as a method of something knows it", () => {
  const owner = { half: checked("half", halfOf, [["of", "number"]], named), share: 0.5 };
  function halfOf(this: { share: number }, of: number): number {
    return of * this.share;
  }
  expect(owner.half(4)).toBe(2);
});

test("what is computed when it is asked for is left alone, and graphs are not gone through", () => {
  const lazy = {
    get name(): string {
      throw new Error("costly");
    },
  };
  expect(calling({ named: "Node" })(lazy)).toBe(1);
  const ring: { name: string; next?: object } = { name: "a" };
  ring.next = ring;
  expect(calling({ named: "Node" })(ring)).toBe(1);
});

test("what one of several kinds takes is not put into words, however large it is", () => {
  const graph = {
    name: "a",
    toJSON() {
      throw new Error("put into words");
    },
  };
  const words = vi.spyOn(graph, "toJSON");
  expect(calling({ either: ["number", { list: "number" }, { named: "Node" }] })(graph)).toBe(1);
  expect(words).not.toHaveBeenCalled();
});

test("a call that gives a promise rejects; name and length stay; functions of one record are checked alike", async () => {
  const save = checked("save", async (path: string) => path, [["path", "string"]], named, true);
  await expect(save(7 as never)).rejects.toThrow("save: path must be a text, not 7");
  expect(await save("x")).toBe("x");
  expect([save.name, save.length]).toEqual(["save", 1]);
  const { half } = checkedAll({ half: (of: number) => of / 2 }, [["of", "number"]], named);
  expect(half(4)).toBe(2);
  expect(() => half("4" as never)).toThrow('half: of must be a number, not "4"');
});

test("the methods of an object are checked, and of what it holds and gives, without touching the object itself", () => {
  const checks = createObjectChecks(
    {
      Box: {
        methods: { open: { parameters: [["by", "number"]], rejects: false, gives: "Lid" } },
        fields: { lid: "Lid" },
      },
      Lid: { methods: { lift: { parameters: [["height", "number"]], rejects: true } }, fields: {} },
    },
    named,
  );
  const lid = { lift: async (height: number) => height };
  const hidden = { get: () => lid, enumerable: false };
  const box = Object.defineProperties({ size: 3, open: (_: number) => lid, lid }, { lid: hidden });
  const view = checks("Box", box);
  expect(() => view.open("x" as never)).toThrow('open: by must be a number, not "x"');
  expect(() => box.open("x" as never)).not.toThrow();
  expect(view.open(1)).toBe(view.lid);
  expect(checks("Box", view)).toBe(checks("Box", box));
  expect({ ...view }).toEqual({ size: 3, open: view.open });
  return expect(view.lid.lift("x" as never)).rejects.toThrow("lift: height must be a number");
});

describe("functions that a call is given fail with errors that name them, and keep what they threw", () => {
  const boo = new Error("boo");
  const fail = (): never => {
    throw boo;
  };
  const kinds: NamedKinds = {
    CutOptions: { fields: { "weigh?": "function", "onCut?": "function", "signal?": "unknown" }, closed: true },
    Making: { fields: { size: "number", "onCut?": "function", "make?": "function" } },
  };
  const asked = (kind: Kind, field?: string) =>
    checked(
      "cut",
      (given: never, ...values: unknown[]) =>
        ((field ? given[field] : given) as (...all: unknown[]) => unknown)(...values),
      [["given", kind]],
      kinds,
    ) as (...values: unknown[]) => unknown;

  test.each<[string, () => unknown, RegExp]>([
    ["a function", () => asked("function")(fail), /^cut: given failed: boo$/],
    ["a function or a text", () => asked({ either: ["string", "function"] })(fail), /^cut: given failed: boo$/],
    ["one of options", () => asked({ named: "CutOptions" }, "weigh")({ weigh: fail }), /^cut: weigh failed: boo$/],
    [
      "one that is told of something",
      () => asked({ named: "Making" }, "onCut")({ size: 1, onCut: fail }),
      /^cut: onCut f/,
    ],
  ])("%s", (_, call, message) => {
    expect(call).toThrow(isSaid("bad_option", message, boo));
  });

  test("also later, by a promise", async () => {
    await expect(asked("function")(async () => fail())).rejects.toThrow(
      isSaid("bad_option", /^cut: given failed/, boo),
    );
  });

  test("also by the promise of one that is told of something, for which nobody waits", async () => {
    const tell = async ({ onCut }: { onCut: (share: number) => unknown }): Promise<number> => {
      for (const share of [0.5, 1]) expect(onCut(share)).toBe(undefined);
      await new Promise((resolve) => setTimeout(resolve));
      return 7;
    };
    const call = checked("cut", tell as never, [["given", { named: "Making" }]], kinds, true) as (
      given: object,
    ) => Promise<number>;
    await expect(call({ size: 1, onCut: async () => fail() })).rejects.toThrow(
      isSaid("bad_option", /^cut: onCut failed: boo$/, boo),
    );
    expect(await call({ size: 1, onCut: async () => {} })).toBe(7);
    expect(await call({ size: 1, onCut: () => new Promise(() => {}) })).toBe(7); // not waited for
  });

  test("an error of ours is told as it is", () => {
    const own = new VentrisError("disk_full", "no room");
    const call = (): unknown =>
      asked("function")(() => {
        throw own;
      });
    expect(call).toThrow(own);
  });

  test("what ends the call by its signal is no failure", () => {
    const given = { signal: AbortSignal.abort(boo), onCut: fail };
    expect(() => asked({ named: "CutOptions" }, "onCut")(given)).toThrow(
      isSaid("aborted", /^cut: onCut: it was ab/, boo),
    );
    const other = { signal: new AbortController().signal, onCut: fail };
    expect(() => asked({ named: "CutOptions" }, "onCut")(other)).toThrow(isSaid("bad_option", /failed: boo$/, boo));
  });

  test("what they give, take and are called stays as it was, and so does the object that holds them", () => {
    expect(asked("function")((a: number, b: number) => a + b, 2, 3)).toBe(5);
    const options = Object.freeze({ weigh: (a: number) => a + 1 });
    expect(asked({ named: "CutOptions" }, "weigh")(options, 2)).toBe(3);
    const same = checked("cut", (given: object) => given, [["given", { named: "Making" }]], kinds);
    const made = { size: 1, make: fail };
    expect(same(made)).toBe(made);
    class Blade {}
    expect(checked("cut", (given: unknown) => given, [["given", "function"]], kinds)(Blade)).toBe(Blade);
    expect(checked("cut", (given: { name: string }) => given.name, [["given", "function"]], kinds)(fail)).toBe("fail");
  });
});
