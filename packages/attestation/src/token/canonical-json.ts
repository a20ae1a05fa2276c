import { EvidenceError } from "../errors.ts";

/** What canonical JSON is made of here: no floating point besides what a policy has in days. */
export type JsonData =
  | null
  | boolean
  | number
  | string
  | readonly JsonData[]
  | { readonly [name: string]: JsonData | undefined };

/**
 * JSON in its one canonical text (RFC 8785): members by the UTF-16 units of their names, no space, strings and numbers as ECMAScript prints
 * them. Members that are undefined are left out. Throws `EvidenceError` `bad-input` for numbers and strings that JSON cannot carry.
 */
export function canonicalJson(value: JsonData): string {
  switch (typeof value) {
    case "number":
      if (!Number.isFinite(value)) throw new EvidenceError("bad-input", `${value} is no number of JSON`);
      return JSON.stringify(value);
    case "string":
      if (/\p{Surrogate}/u.test(value))
        throw new EvidenceError("bad-input", "text with half a surrogate pair");
      return JSON.stringify(value);
    case "boolean":
      return String(value);
    default: {
      if (value === null) return "null";
      if (isList(value)) return `[${value.map(canonicalJson).join(",")}]`;
      const members = Object.keys(value)
        .sort()
        .flatMap((name) => {
          const member = value[name];
          return member === undefined ? [] : [`${canonicalJson(name)}:${canonicalJson(member)}`];
        });
      return `{${members.join(",")}}`;
    }
  }
}

const isList = (value: object): value is readonly JsonData[] => Array.isArray(value);

/** Where two documents differ: JSON pointers with both values, at most `most` of them. */
export function differences(
  one: JsonData | undefined,
  other: JsonData | undefined,
  most = 20,
  at = "",
): string[] {
  const show = (value: JsonData | undefined) =>
    value === undefined ? "absent" : canonicalJson(value).slice(0, 200);
  if (one !== null && other !== null && typeof one === "object" && typeof other === "object") {
    const found: string[] = [];
    const a = one as Readonly<Record<string, JsonData | undefined>>;
    const b = other as Readonly<Record<string, JsonData | undefined>>;
    if (Array.isArray(one) === Array.isArray(other)) {
      for (const name of [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()) {
        if (found.length >= most) break;
        found.push(...differences(a[name], b[name], most - found.length, `${at}/${name}`));
      }
      return found;
    }
  }
  return show(one) === show(other) && typeof one === typeof other
    ? []
    : [`${at}: ${show(one)}, now ${show(other)}`];
}
