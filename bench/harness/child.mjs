/**
 * A peer in a process of its own, called with JSON lines: its threads, heap and event loop stay out of ours, and it
 * sleeps while it waits. The other end is `serve` (Node) or the loop at the end of torch_step.py.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

/** @typedef {{ call(name: string, options?: object): Promise<any>, close(): Promise<void> }} Child */

/**
 * @param {string} command
 * @param {string[]} args
 * @param {NodeJS.ProcessEnv} [environment] added to ours
 * @returns {Child}
 */
export function startChild(command, args, environment = {}) {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, ...environment } });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exited = once(child, "exit").catch((error) => [error.message]);
  child.stdin.on("error", () => {}); // a dead child is reported by the read below
  return {
    async call(name, options = {}) {
      child.stdin.write(`${JSON.stringify({ call: name, ...options })}\n`);
      const { value: line, done } = await lines.next();
      if (done) throw new Error(`${command} ${args[0]} ended (${(await exited).join(" ").trim()}) during "${name}"`);
      const reply = JSON.parse(line);
      if (reply.error !== undefined) throw new Error(`${args[0]}: ${reply.error}`);
      return reply.result;
    },
    async close() {
      child.stdin.end();
      await exited;
    },
  };
}

/**
 * The child's side: answers each call in order until the input ends. Nothing else may write to stdout.
 * @param {Record<string, (options: any) => unknown>} functions
 */
export async function serve(functions) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { call, ...options } = JSON.parse(line);
    let reply;
    try {
      if (!Object.hasOwn(functions, call)) throw new Error(`no function "${call}"`);
      reply = { result: (await functions[call](options)) ?? null };
    } catch (error) {
      reply = { error: error instanceof Error ? error.message : String(error) };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}
