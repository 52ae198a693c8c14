export interface Link {
  picture: boolean;
  text: string;
  target: string;
}
export declare function slug(heading: string): string;
export declare function headings(text: string): { level: number; title: string; anchor: string }[];
export declare function section(text: string, is: (title: string) => boolean): string | undefined;
export declare function links(text: string): Link[];
export declare function rewriteLinks(text: string, to: (link: Link) => string | null | undefined): string;
export declare function withoutTitle(text: string): string;
