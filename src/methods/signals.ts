/** The registry of what decodes signals, for faces: apart from that of text methods, so that neither loads the other. */
export * from "./signals/everywhere.ts";
export { placesByName } from "./signals/formats/columns.ts";
export { fieldsOf, readTable, type SignalTableOptions } from "./signals/formats/table.ts";
