/** The text of a table's cell: without the blanks and the quotation marks around it. */
export const cellText = (field: string): string => field.trim().replace(/^"(.*)"$/, "$1");
