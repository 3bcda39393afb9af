// Points by id, and those like a chosen one, with what the answer says of itself: level achieved, staleness, index version.

import * as api from "./api.js";
import { $, h, say, table } from "./dom.js";
import { count, duration, hlcTime, many, num, plainDistance, word } from "./format.js";
import { parseFilter } from "./filter.js";
import { atKey, find, offer, offerVectors } from "./collections.js";

/** Points looked at for a part of an id: pages of so many, so many pages. */
const PAGE = 1000, PAGES = 5;
/** Opaque, of the newest answer: what was seen once stays seen. */
let session = "";
let running = null;

export const searchView = {
  title: "Search",
  mount(store) {
    $("search-form").addEventListener("submit", (event) => {
      event.preventDefault();
      location.hash = address({});
    });
    $("search-level").addEventListener("change", () => { $("search-staleness").disabled = $("search-level").value !== "bounded"; });
    $("search-collection").addEventListener("change", () => this.update(store));
  },
  enter(parameters, store) {
    const key = parameters.get("c");
    offer($("search-collection"), store, key ?? undefined);
    if (parameters.has("q") || parameters.has("like")) {
      $("search-text").value = parameters.get("q") ?? "";
      $("search-filter").value = parameters.get("f") ?? "";
      if (parameters.has("l")) $("search-level").value = parameters.get("l");
      if (parameters.has("ms")) $("search-staleness").value = parameters.get("ms");
      $("search-staleness").disabled = $("search-level").value !== "bounded";
      if (parameters.has("n")) $("search-limit").value = parameters.get("n");
      const wanted = parameters.get("u");
      run(key ?? $("search-collection").value, parameters.get("like"), wanted);
    }
  },
  update(store) {
    offer($("search-collection"), store);
    offerVectors($("search-using-field"), $("search-using"), find(store, $("search-collection").value));
  },
};

/** What the form says, as an address; so that "back" leads to the search before. */
function address({ like, key }) {
  const query = new URLSearchParams();
  query.set("c", key ?? $("search-collection").value);
  query.set("q", $("search-text").value.trim());
  if (like !== undefined) query.set("like", like);
  if ($("search-filter").value.trim()) query.set("f", $("search-filter").value.trim());
  query.set("l", $("search-level").value);
  if ($("search-level").value === "bounded") query.set("ms", $("search-staleness").value);
  query.set("n", $("search-limit").value);
  if ($("search-using").value) query.set("u", $("search-using").value);
  return `#/search?${query}`;
}

export function likeAddress(key, id) {
  return `#/search?${new URLSearchParams({ c: key, q: id, like: id, l: $("search-level").value, n: $("search-limit").value })}`;
}

export function lineageAddress(key, id) { return `#/lineage?${new URLSearchParams({ k: "point", c: key, id })}`; }

function readOptions() {
  const read = { consistency: $("search-level").value };
  if (read.consistency === "bounded") read.max_staleness_ms = clamp($("search-staleness"), 1, 3_600_000, 1000);
  if (session) read.session_token = session;
  return read;
}

function clamp(input, least, most, otherwise) {
  const n = Math.round(Number(input.value));
  return Number.isFinite(n) && n !== 0 ? Math.min(most, Math.max(least, n)) : otherwise;
}

async function run(key, like, using) {
  running?.abort();
  const mine = running = new AbortController();
  const status = $("search-status"), result = $("search-result");
  if (!key) { say(status, "There is no collection to search in."); return; }
  say(status, "Asking …");
  result.setAttribute("aria-busy", "true");
  try {
    const filter = parseFilter($("search-filter").value);
    const limit = clamp($("search-limit"), 1, 100, 10);
    const at = atKey(key);
    const answer = like
      ? await similar(at, key, like, using ?? $("search-using").value, filter, limit, mine.signal)
      : await byID(at, $("search-text").value.trim(), filter, limit, mine.signal);
    if (running !== mine) return;
    if (answer.info?.session_token) session = answer.info.session_token;
    say(status, answer.words);
    result.replaceChildren(facts(answer), answer.rows.length > 0 ? hits(answer, key) : h("p", { class: "empty" }, "No point."));
  } catch (error) {
    if (running !== mine) return;
    say(status, `Refused: ${error.message}`);
    result.replaceChildren();
  } finally {
    if (running === mine) result.removeAttribute("aria-busy");
  }
}

async function similar(at, key, id, using, filter, limit, signal) {
  const found = await api.points(at, { ids: [id], with_vectors: true, without_payload: true, read: readOptions() }, { signal });
  const point = found.points?.[0];
  if (!point) throw new Error(`there is no point “${id}” in ${key}.`);
  const vector = using ? point.vectors?.[using] : point.vector ?? Object.values(point.vectors ?? {})[0];
  if (!vector) throw new Error(`“${id}” has no vector${using ? ` “${using}”` : ""}.`);
  const name = using || (point.vector ? "" : Object.keys(point.vectors ?? {})[0]);
  // One more, for the point itself is among the nearest, unless the filter leaves it out.
  const requestID = api.newRequestID();
  const answer = await api.search(at, { vector, using: name, limit: limit + 1, filter: filter ?? undefined, read: readOptions() }, { signal, requestID });
  const rows = (answer.hits ?? []).filter((hit) => hit.id !== id).slice(0, limit);
  return { ...answer, rows, requestID, isRanked: true, words: `${many(rows.length, "point")} nearest to “${id}”${filter ? ", of those that match the filter" : ""}` };
}

async function byID(at, text, filter, limit, signal) {
  if (text && !filter) {
    const exact = await api.points(at, { ids: [text], read: readOptions() }, { signal });
    if (exact.points?.length > 0) return { ...exact, rows: exact.points, words: `The point “${text}”` };
  }
  const wanted = text.toLowerCase();
  const rows = [];
  let looked = 0, token = "", last = null;
  for (let page = 0; page < PAGES && rows.length < limit; page++) {
    last = await api.scroll(at, { filter: filter ?? undefined, page_size: wanted ? PAGE : limit, page_token: token || undefined, read: readOptions() }, { signal });
    for (const point of last.points ?? []) {
      looked += 1;
      if (rows.length < limit && matches(point, wanted)) rows.push(point);
    }
    token = last.next_page_token;
    if (!token || !wanted) break;
  }
  const scope = wanted ? ` whose id or description has “${text}”, among the first ${many(looked, "point")}` : " in order of their ids";
  return { ...last, rows, words: `${many(rows.length, "point")}${scope}${filter ? " that match the filter" : ""}` };
}

function matches(point, wanted) {
  if (!wanted || point.id.toLowerCase().includes(wanted)) return true;
  return Object.values(point.payload ?? {}).some((value) => typeof value === "string" && value.toLowerCase().includes(wanted));
}

/** What the answer says of itself. */
function facts(answer) {
  const info = answer.info ?? {};
  const version = (info.index_version ?? []).map((part) => `${part.partition} at ${count(part.offset)}`).join(", ");
  const achieved = word(info.achieved, "CONSISTENCY_LEVEL_");
  const list = [
    ["Level asked", word(info.requested, "CONSISTENCY_LEVEL_") || "unknown"],
    ["Level achieved", achieved || "unknown"],
    ["Staleness", num(info.staleness_ms) === 0 ? "none" : `at most ${duration(info.staleness_ms)}`],
    ["Index version", version || "unknown"],
    ["Waited for the replica", info.sync_performed ? "yes" : "no"],
    ["From the cache", info.cache_hit ? "yes" : "no"],
    ["Time in the server", duration(num(info.server_time_us) / 1000)],
  ];
  if (answer.plan?.strategy) list.push(["Done by", `${answer.plan.strategy}, ${count(answer.plan.visited)} distances`]);
  if (answer.plan?.unindexed?.length > 0) list.push(["Fields without index", answer.plan.unindexed.join(", ")]);
  if (info.missing_shards?.length > 0) list.push(["Shards missing", info.missing_shards.join(", ")]);
  if (answer.requestID) list.push(["Request", h("a", { href: `#/lineage?${new URLSearchParams({ k: "read", id: answer.requestID })}` }, answer.requestID)]);
  return h("dl", { class: "facts answer", id: "search-facts" }, list.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function hits(answer, key) {
  const farthest = Math.max(1e-9, ...answer.rows.map((row) => num(row.distance)));
  const columns = [["Id"], ...(answer.isRanked ? [["Distance", true]] : []), ["Payload"], ["Version"], ["Then"]];
  return table("Points found", columns, answer.rows.map((row) => ({
    cells: [
      h("code", null, row.id),
      ...(answer.isRanked ? [h("span", { class: "distance" }, meter(num(row.distance) / farthest), plainDistance(row.distance))] : []),
      payload(row.payload),
      h("span", { class: "dim" }, hlcTime(row.version).replace(/\.\d+ UTC/, "")),
      h("span", { class: "links" },
        h("a", { href: likeAddress(key, row.id), "aria-label": `More like ${row.id}` }, "More like this"), " ",
        h("a", { href: lineageAddress(key, row.id), "aria-label": `Lineage of ${row.id}` }, "Lineage")),
    ],
  })), { cards: true, captionHidden: true });
}

/** A bar as long as the part; its figure stands beside it. */
export function meter(part, level = "plain") {
  const bar = h("span", { class: `meter ${level}`, "aria-hidden": "true" }, h("span"));
  bar.firstChild.style.width = `${Math.max(0, Math.min(1, part)) * 100}%`;
  return bar;
}

/** The first words that are not the id, and all of it behind a fold. */
function payload(value) {
  const entries = Object.entries(value ?? {});
  if (entries.length === 0) return h("span", { class: "dim" }, "empty");
  const text = value.description ?? value.title ?? value.text ?? value.name ?? entries.map(([k, v]) => `${k} ${typeof v === "object" ? JSON.stringify(v) : v}`).join(", ");
  return h("details", null, h("summary", null, String(text).slice(0, 160)),
    h("dl", { class: "pairs" }, entries.slice(0, 60).map(([name, v]) => h("div", null, h("dt", null, name), h("dd", null, typeof v === "object" ? JSON.stringify(v) : String(v))))));
}
