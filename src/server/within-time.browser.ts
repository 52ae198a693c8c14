/** In a page the expression is the visitor's own, as is the thread that it holds up. */
export const withinTime = <T>(work: () => T, _milliseconds: number): T => work();
