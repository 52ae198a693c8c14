export declare const browserEntries: Readonly<Record<string, string>>;
export declare function bundle(root: string): Promise<string>;
