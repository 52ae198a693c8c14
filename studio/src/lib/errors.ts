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
