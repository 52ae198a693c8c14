/** A page knows no folder of the visitor's machine. */
export const privateFolders: readonly string[] = [];
