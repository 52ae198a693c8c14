export declare const areas: Readonly<Record<string, string>>;
export declare function renderEntrances(root: string): Map<string, string>;
export declare function renderGiven(root: string): string;
