export declare const areas: Readonly<Record<string, string>>;
export declare function renderEntrances(root: string): Map<string, string>;
