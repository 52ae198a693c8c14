/** JSON that somebody typed, or put in a file that a flag names. */
import { ensure, VentrisError } from "../errors.ts";
import { faultOf, repeatedName } from "../json.ts";

/** Errors: `bad_option` (of a file `bad_file`) naming where it comes from, for what is no JSON, and for a name that an object has twice. */
export function readTypedJson(
  text: string,
  origin: string,
  example = '{"tau":3}',
  code: "bad_option" | "bad_file" = "bad_option",
): unknown {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new VentrisError(
      code,
      `${origin}: its JSON cannot be read: ${faultOf(text, (cause as Error).message)}; names and texts stand in double quotes, as in ${example}`,
      { cause },
    );
  }
  const repeated = repeatedName(text);
  ensure(!repeated, code, () => {
    const { name, line } = repeated!;
    const place = text.trimEnd().includes("\n") ? `, line ${line}` : "";
    return `${origin}${place}: the name ${JSON.stringify(name)} is given twice in one object: leave one out`;
  });
  return value;
}
