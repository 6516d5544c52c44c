/** Lists of mount options, cut as libmount's mnt_optstr_next_option(3) cuts them. */

export interface ListedOption {
  /** as it was written, quotes included: cutting it again gives the same option */
  readonly text: string;
  readonly name: string;
  /** without quotes and escapes; undefined without "=" */
  readonly value: string | undefined;
}

/** Commas within double quotes, and those after a backslash, belong to the option. Empty options are left out. */
export function listedOptions(list: string): ListedOption[] {
  return list.match(/(?:\\,|"[^"]*"|[^,])+/g)?.map(parsed) ?? [];
}

function parsed(text: string): ListedOption {
  const at = text.indexOf("=");
  if (at < 0) return { text, name: text, value: undefined };
  return { text, name: text.slice(0, at), value: plain(text.slice(at + 1)) };
}

function plain(value: string): string {
  return value.replace(/\\,/g, ",").replace(/"([^"]*)"/g, "$1");
}
