// The short form of a filter, as `vecraft search --where` takes it, into the JSON of the API.

const OPERATORS = ["!=", "<=", ">=", "=", "<", ">"];
const RANGES = { "<": "lt", "<=": "lte", ">": "gt", ">=": "gte" };

/**
 * Terms with spaces between them, all of which must hold, or a filter as JSON.
 * @returns The filter; null for an empty text.
 * @throws Error with words for a person.
 */
export function parseFilter(text) {
  const trimmed = text.trim();
  if (trimmed === "") return null;
  if (trimmed.startsWith("{")) {
    try { return JSON.parse(trimmed); } catch { throw new Error("The filter begins as JSON, but is none."); }
  }
  const filter = {};
  for (const term of words(trimmed)) {
    const { condition, isNegated } = parseTerm(term);
    (filter[isNegated ? "must_not" : "must"] ??= []).push(condition);
  }
  return filter;
}

/** Split at spaces outside quotes; what stands around an operator belongs together. */
function words(text) {
  const joined = text.replace(/("[^"]*")|\s*(!=|<=|>=|=|<|>)\s*/g, (whole, quoted, operator) => quoted ?? operator);
  return joined.match(/(?:"[^"]*"|[^\s"])+/g) ?? [];
}

function parseTerm(term) {
  const split = term.search(/[!=<>]/);
  const operator = split < 0 ? undefined : OPERATORS.find((candidate) => term.startsWith(candidate, split));
  if (!operator) throw new Error(`“${term}” is no condition: wanted is field=value, with = != < <= > or >=.`);
  const key = term.slice(0, split), value = term.slice(split + operator.length);
  if (!key || !value) throw new Error(`“${term}”: the ${key ? "value" : "field"} is missing.`);
  if (operator in RANGES) {
    const bound = scalar(value);
    if (typeof bound !== "number") throw new Error(`“${term}”: ${operator} compares with a number.`);
    return { condition: { key, range: { [RANGES[operator]]: bound } }, isNegated: false };
  }
  const values = (value.match(/(?:"[^"]*"|[^|"])+/g) ?? []).map(scalar);
  if (values.length === 0) throw new Error(`“${term}”: the value is missing.`);
  const isNull = values.length === 1 && values[0] === null;
  const condition = isNull ? { is_null: { key } } : { key, match: values.length === 1 ? { value: values[0] } : { any: values } };
  return { condition, isNegated: operator === "!=" };
}

function scalar(text) {
  if (text.length >= 2 && text.startsWith("\"") && text.endsWith("\"")) return text.slice(1, -1);
  try {
    const value = JSON.parse(text);
    return value === null || ["number", "boolean"].includes(typeof value) ? value : text;
  } catch { return text; }
}
