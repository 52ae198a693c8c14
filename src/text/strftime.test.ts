import { describe, expect, it } from "vitest";
import { strftime } from "./strftime.ts";

const format =
  "%a|%A|%b|%B|%c|%C|%d|%D|%e|%f|%F|%g|%G|%h|%H|%I|%j|%k|%l|%m|%M|%n|%p|%P|%r|%R|%S|%t|%T|%u|%U|%V|%w|%W|%x|%X|%y|%Y|%%|%-d|%-m|%-I|%_d|%_H|%0e|%^a|%^B|%#p|%10Y|%Ey|%Od|%3d|%-j";

/** What Python's strftime gives (over glibc, in the C locale). */
const expected: [number[], string][] = [
  [
    [2024, 12, 30, 0, 5, 9],
    "Mon|Monday|Dec|December|Mon Dec 30 00:05:09 2024|20|30|12/30/24|30|000000|2024-12-30|25|2025|Dec|00|12|365| 0|12|12|05|\n|AM|am|12:05:09 AM|00:05|09|\t|00:05:09|1|52|01|1|53|12/30/24|00:05:09|24|2024|%|30|12|12|30| 0|30|MON|DECEMBER|am|0000002024|24|30|030|365",
  ],
  [
    [2021, 1, 3, 12, 0, 0],
    "Sun|Sunday|Jan|January|Sun Jan  3 12:00:00 2021|20|03|01/03/21| 3|000000|2021-01-03|20|2020|Jan|12|12|003|12|12|01|00|\n|PM|pm|12:00:00 PM|12:00|00|\t|12:00:00|7|01|53|0|00|01/03/21|12:00:00|21|2021|%|3|1|12| 3|12|03|SUN|JANUARY|pm|0000002021|21|03|003|3",
  ],
  [
    [2020, 2, 29, 23, 59, 59],
    "Sat|Saturday|Feb|February|Sat Feb 29 23:59:59 2020|20|29|02/29/20|29|000000|2020-02-29|20|2020|Feb|23|11|060|23|11|02|59|\n|PM|pm|11:59:59 PM|23:59|59|\t|23:59:59|6|08|09|6|08|02/29/20|23:59:59|20|2020|%|29|2|11|29|23|29|SAT|FEBRUARY|pm|0000002020|20|29|029|60",
  ],
  [
    [2026, 7, 4, 9, 3, 7],
    "Sat|Saturday|Jul|July|Sat Jul  4 09:03:07 2026|20|04|07/04/26| 4|000000|2026-07-04|26|2026|Jul|09|09|185| 9| 9|07|03|\n|AM|am|09:03:07 AM|09:03|07|\t|09:03:07|6|26|27|6|26|07/04/26|09:03:07|26|2026|%|4|7|9| 4| 9|04|SAT|JULY|am|0000002026|26|04|004|185",
  ],
];

describe("strftime", () => {
  it.each(expected)("%j", ([year, month, day, ...time], text) => {
    expect(strftime(new Date(year, month - 1, day, ...time), format)).toBe(text);
  });

  it("knows the zone, and names what it does not know", () => {
    const date = new Date(2026, 6, 4, 9, 3, 7);
    expect(strftime(date, "%z")).toMatch(/^[+-]\d{4}$/);
    expect(strftime(date, "%Z")).not.toBe("");
    expect(strftime(date, "%s")).toBe(String(date.getTime() / 1000));
    expect(strftime(date, "no conversion")).toBe("no conversion");
    for (const bad of ["%Q", "%-", "%", "%:z"]) expect(() => strftime(date, bad)).toThrow(/does not know %/);
    expect(strftime(date, "%999d").length).toBe(100);
  });
});
