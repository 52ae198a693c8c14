/**
 * Cutting a text where its script changes, as SentencePiece's `UnicodeScripts` does: Hiragana and Katakana count as Han, a space and what
 * Unicode has not assigned go with what stands before them, and are lost at the beginning.
 */
import type { Cut } from "./cut.ts";

/** Unicode's names; those that the runtime does not know have no characters in it either. */
const names =
  "Common Inherited Latin Cyrillic Greek Han Arabic Hebrew Devanagari Hangul Thai Armenian Georgian Bengali Gurmukhi Gujarati Oriya Tamil Telugu Kannada Malayalam Sinhala Lao Tibetan Myanmar Ethiopic Cherokee Canadian_Aboriginal Ogham Runic Khmer Mongolian Bopomofo Yi Old_Italic Gothic Deseret Tagalog Hanunoo Buhid Tagbanwa Limbu Tai_Le Linear_B Ugaritic Shavian Osmanya Cypriot Braille Buginese Coptic New_Tai_Lue Glagolitic Tifinagh Syloti_Nagri Old_Persian Kharoshthi Balinese Cuneiform Phoenician Phags_Pa Nko Sundanese Lepcha Ol_Chiki Vai Saurashtra Kayah_Li Rejang Lycian Carian Lydian Cham Tai_Tham Tai_Viet Avestan Egyptian_Hieroglyphs Samaritan Lisu Bamum Javanese Meetei_Mayek Imperial_Aramaic Old_South_Arabian Inscriptional_Parthian Inscriptional_Pahlavi Old_Turkic Kaithi Batak Brahmi Mandaic Chakma Meroitic_Cursive Meroitic_Hieroglyphs Miao Sharada Sora_Sompeng Takri Caucasian_Albanian Bassa_Vah Duployan Elbasan Grantha Pahawh_Hmong Khojki Linear_A Mahajani Manichaean Mende_Kikakui Modi Mro Old_North_Arabian Nabataean Palmyrene Pau_Cin_Hau Old_Permic Psalter_Pahlavi Siddham Khudawadi Tirhuta Warang_Citi Ahom Anatolian_Hieroglyphs Hatran Multani Old_Hungarian SignWriting Adlam Bhaiksuki Marchen Newa Osage Tangut Syriac Thaana".split(
    " ",
  );

const unassigned = String.raw` \p{Cn}\p{Co}\p{Cs}`;

/** Runs of one script with what goes with them. */
function compile(): RegExp {
  const known = names.filter((name) => {
    try {
      return new RegExp(`\\p{Script=${name}}`, "u");
    } catch {
      return false;
    }
  });
  const runs = known.map((name) => {
    const own =
      name === "Han"
        ? String.raw`\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\u30fc`
        : String.raw`\p{Script=${name}}`;
    const without = name === "Common" ? String.raw`(?![ \u30fc])` : "";
    return `(?:${without}[${own}](?:[${unassigned}]|${without}[${own}])*)`;
  });
  return new RegExp(runs.join("|"), "gu");
}

let pattern: RegExp | undefined;

export const cutAtScripts: Cut = (piece, first, visit) => {
  pattern ??= compile();
  for (const match of piece.matchAll(pattern)) visit(match[0], first && match.index === 0);
};
