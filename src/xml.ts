/** Text as it stands in XML and HTML, between tags or in a quoted attribute. */
export const escapeXml = (text: string): string => text.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
