/** What the visitor's machine has, as far as a page is told. */
const { navigator } = globalThis as unknown as {
  navigator: { readonly hardwareConcurrency?: number; readonly deviceMemory?: number };
};

export const processors = (): number => navigator.hardwareConcurrency ?? 1;

/** Bytes. Browsers round, say 8 GiB at most, or nothing: then as small machines have it. */
export const memoryBytes = (): number => (navigator.deviceMemory ?? 4) * 2 ** 30;

/** A page is not told. */
export const waitingProcesses = (): number => 0;
