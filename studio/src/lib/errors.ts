/** What a request failed by. */
export interface FieldError {
  where: "method" | "request";
  option: string;
  message: string;
}

export class ApiError extends Error {
  readonly code: string;
  readonly fields: readonly FieldError[];
  constructor(code: string, message: string, fields: readonly FieldError[] = []) {
    super(message);
    this.code = code;
    this.fields = fields;
  }
}

/** What a page says of a name in its address that it does not know; empty where it does, or knows none yet. */
export function strange(kind: string, name: string | null | undefined, known: readonly string[]): string {
  if (name === null || name === undefined || known.length === 0 || known.includes(name)) return "";
  return `The address names the ${kind} “${name.slice(0, 100)}”, which is not here.`;
}
