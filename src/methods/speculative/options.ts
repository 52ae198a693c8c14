/** Options that cannot be honoured together are errors that name both. */
import { ensure } from "../../errors.ts";

/** Errors: `bad_option` for the first of these options that is given. `because` says beside what it means nothing. */
export function refuseOptions<Options extends object>(
  options: Options,
  names: readonly (keyof Options & string)[],
  because: string,
): void {
  for (const name of names) ensure(options[name] === undefined, "bad_option", `${name}: means nothing with ${because}`);
}
