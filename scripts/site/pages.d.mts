import type { Method, ShaperKind } from "../../src/engine/method.ts";
import type { judge } from "../../src/papers/judge.ts";
import type { optionsMark, optionsTable } from "../../src/papers/option-tables.ts";
import type { Paper } from "../../src/papers/paper.ts";
import type { readRecord } from "../../src/papers/records.ts";
import type { claimsMark, claimsTable } from "../../src/papers/tables.ts";

/** What the pages are made of. */
export interface Tables {
  papers: readonly Paper[];
  methods: readonly Method[];
  shapers: readonly ShaperKind[];
  judge: typeof judge;
  readRecord: (name: string) => ReturnType<typeof readRecord>;
  optionsMark: typeof optionsMark;
  optionsTable: typeof optionsTable;
  claimsMark: typeof claimsMark;
  claimsTable: typeof claimsTable;
}
export interface Bar {
  text: string;
  link?: string;
  items?: Bar[];
}
export interface Pages {
  texts: Map<string, string>;
  files: Set<string>;
  sidebar: Record<string, Bar[]>;
}
export declare function sitePages(root: string, tables: Tables): Pages;
export declare function writePages(root: string, folder: string, pages: Pages): void;
export declare function brokenLinks(root: string, path: string): string[];
