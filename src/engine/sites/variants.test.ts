import { expect, test } from "vitest";
import type { Edit, Instruments } from "../../models/edits.ts";
import type { Pass } from "../pass.ts";
import { withVariants } from "./variants.ts";

const edit = (name: string): Edit => ({ name, site: "layers.0.residual", apply: (value) => ({ value }) });
const [a, b] = [edit("a"), edit("b")];

/** Passes that write down what the programs have that run. */
function recorder() {
  const made: string[] = [];
  const ran: string[] = [];
  const released: string[] = [];
  const hooks = ({ taps, edits }: Instruments): string => [...taps, ...edits.map(({ name }) => name)].join("+");
  const passOf = (name: string): Pass =>
    ({
      run: async () => {
        ran.push(name);
      },
      release: async () => {
        released.push(name);
      },
    }) as unknown as Pass;
  const pass = withVariants(passOf("plain"), async (asked) => {
    made.push(hooks(asked));
    await new Promise((resolve) => setTimeout(resolve, 1));
    if (hooks(asked).includes("bad")) throw new Error(`${hooks(asked)} does not compile`);
    return passOf(hooks(asked));
  });
  const run = async (needed?: Instruments): Promise<string> => {
    await pass.run({ sites: needed && { needed, edited: [], failed: new Map() } } as unknown as Parameters<
      Pass["run"]
    >[0]);
    return ran[ran.length - 1];
  };
  return { made, run, released, pass };
}

test("rows run in the program with the fewest hooks that has theirs", async () => {
  const { made, run } = recorder();
  const tap = { taps: ["norm"], edits: [] };
  expect(await run()).toBe("plain");
  expect(await run({ taps: ["norm"], edits: [a] })).toBe("norm+a");
  expect(await run(tap)).toBe("norm+a"); // nothing is compiled for what a program has already
  expect(await run({ taps: [], edits: [b] })).toBe("b");
  expect(await run({ taps: [], edits: [a] })).toBe("norm+a");
  expect(await run({ taps: ["norm"], edits: [a, b] })).toBe("norm+a+b");
  expect(await run({ taps: [], edits: [b] })).toBe("b");
  expect(await run(tap)).toBe("norm+a");
  expect(made).toEqual(["norm+a", "b", "norm+a+b"]);
});

test("where there are many programs, a new one has what the latest has, too", async () => {
  const { made, run } = recorder();
  for (const tap of ["x", "y", "z", "w"]) await run({ taps: [tap], edits: [] });
  expect(made).toEqual(["x", "y", "z", "z+w"]);
  expect(await run({ taps: ["z"], edits: [] })).toBe("z");
  expect(await run({ taps: ["w", "z"], edits: [] })).toBe("z+w");
});

test("what does not compile is told to who asked for it, and to nobody whose program would have had it, too", async () => {
  const { run, pass, released, made } = recorder();
  const names = ["bad1", "bad2", "bad3", "good", "bad4", "fine"];
  const outcomes = await Promise.all(
    names.map((tap) =>
      pass.prepare!({ taps: [tap], edits: [] }).then(
        () => "compiled",
        (error) => error.message,
      ),
    ),
  );
  const own = (tap: string): string => (tap.startsWith("bad") ? `${tap} does not compile` : "compiled");
  expect(outcomes).toEqual(names.map(own));
  const before = made.length;
  for (const tap of ["good", "fine"]) expect(await run({ taps: [tap], edits: [] })).toBe(tap);
  expect(made.length).toBe(before);
  await pass.release();
  expect(released.sort()).toEqual(["fine", "good", "plain"]);
});

test("programs are released with the model, those that are being compiled included, and none is compiled afterwards", async () => {
  const { pass, released, made } = recorder();
  const many = ["x", "y", "z", "w", "v"].map((tap) => pass.prepare!({ taps: [tap], edits: [] }));
  await pass.release();
  await Promise.all(many);
  expect(released.sort()).toEqual([...made, "plain"].sort());
  await expect(pass.prepare!({ taps: ["late"], edits: [] })).rejects.toMatchObject({ code: "aborted" });
});
