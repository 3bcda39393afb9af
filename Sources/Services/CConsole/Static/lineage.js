// Where a point comes from: every entry that wrote it, from the edge to the replicas.

import * as api from "./api.js";
import { $, h, say, table } from "./dom.js";
import { bytes, count, duration, hlcCounter, hlcMilliseconds, hlcTime, many, num, word } from "./format.js";
import { atKey, offer } from "./collections.js";
import { dash } from "./cluster.js";
import { likeAddress } from "./search.js";
import { drawTimeline, steps } from "./timeline.js";

/** Entries drawn open; the others unfold. */
const OPEN = 5;
let running = 0;

export const lineageView = {
  title: "Lineage",
  mount() {
    $("lineage-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const kind = $("lineage-kind").value;
      const query = new URLSearchParams({ k: kind, id: $("lineage-id").value.trim() });
      if (kind === "point") query.set("c", $("lineage-collection").value);
      if (location.hash === `#/lineage?${query}`) this.enter(query, null);
      else location.hash = `#/lineage?${query}`;
    });
    $("lineage-kind").addEventListener("change", showFields);
  },
  enter(parameters, store) {
    if (store) offer($("lineage-collection"), store, parameters.get("c") ?? undefined);
    if (!parameters.has("id")) return;
    $("lineage-kind").value = parameters.get("k") ?? "point";
    $("lineage-id").value = parameters.get("id");
    showFields();
    run(parameters.get("k") ?? "point", parameters.get("c") ?? $("lineage-collection").value, parameters.get("id"));
  },
  update(store) { offer($("lineage-collection"), store); },
};

function showFields() { $("lineage-collection-field").hidden = $("lineage-kind").value !== "point"; }

async function run(kind, key, id) {
  const mine = ++running;
  const status = $("lineage-status"), result = $("lineage-result");
  if (!id) { say(status, "An id is missing."); result.replaceChildren(); return; }
  say(status, "Asking the journal …");
  try {
    if (kind === "read") return await showRead(id, () => mine === running);
    const answer = kind === "request" ? await api.requestLineage(id) : kind === "trace" ? await api.traceLineage(id) : await api.recordLineage(atKey(key), id);
    if (mine !== running) return;
    const entries = [...(answer.entries ?? [])].reverse();
    const what = kind === "point" ? `“${id}”` : `${kind} ${id}`;
    say(status, entries.length === 0 ? `The journal has no entry of ${what}.` : `${many(entries.length, "entry", "entries")} of ${what}, the newest first${answer.truncated ? "; older ones are left out" : ""}${silence(answer)}`);
    result.replaceChildren(
      ...(kind === "point" && entries.length > 0 ? [h("p", { class: "links" }, h("a", { href: likeAddress(key, id) }, "More like this"))] : []),
      ...entries.map((entry, i) => panel(entry, i, kind === "point" && !answer.truncated ? `Version ${entries.length - i} of ${entries.length}: ` : "", kind)));
  } catch (error) {
    if (mine !== running) return;
    const isUnknown = kind === "read" && error.status === 404;
    say(status, isUnknown ? "This node keeps no log of reads." : `Refused: ${error.message}`);
    result.replaceChildren();
  }
}

/** Who was asked and did not answer: what it knows is missing. */
function silence(answer) {
  const nodes = answer.unanswered_nodes ?? [];
  return nodes.length === 0 ? "" : `; ${nodes.join(", ")} did not answer, so ${nodes.length === 1 ? "its" : "their"} receipts are missing`;
}

/** Which index version of each shard answered a read. */
async function showRead(id, isWanted) {
  const answer = await api.readLineage(id);
  if (!isWanted()) return;
  const reads = answer.reads ?? [];
  say($("lineage-status"), reads.length === 0 ? `No read under ${id} is remembered${silence(answer)}.` : `${many(reads.length, "read")} under ${id}${silence(answer)}`);
  $("lineage-result").replaceChildren(...reads.map((read) => h("article", { class: "panel", "aria-label": `Read ${id}` },
    h("div", { class: "panel-head" }, h("h3", null, `${read.operation || "read"} in ${read.collection || "a collection"}`), h("p", { class: "dim" }, hlcTime(read.hlc))),
    pairs([
      ["Answered by", read.node || "unknown"], ["Status", read.reason ? `${read.status}: ${read.reason}` : read.status || "unknown"], ["Level asked", word(read.requested, "CONSISTENCY_LEVEL_") || "unknown"],
      ["Level achieved", word(read.achieved, "CONSISTENCY_LEVEL_") || "unknown"], ["Staleness", read.status !== "OK" ? "unknown" : num(read.staleness_ms) === 0 ? "none" : `at most ${duration(read.staleness_ms)}`],
      ["Took", duration(num(read.duration_us) / 1000)], ["Principal", read.principal || "unknown"], ["Trace", read.trace_id || "none"],
    ]),
    table("Index versions that answered", [["Shard"], ["Replica"], ["Partition"], ["Applied up to", true]], (read.shards ?? []).map((shard) => ({
      cells: [String(num(shard.shard)), shard.replica || "unknown", shard.partition || "unknown", count(shard.index_version)],
    }))))));
}

function pairs(list) {
  return h("dl", { class: "facts ids" }, list.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function panel(entry, i, version, kind) {
  const operation = entry.points?.length === 1 ? entry.points[0].operation ?? entry.operation : entry.operation;
  const title = kind === "point" ? `${version}${operation}` : `${entry.operation} in ${entry.collection || entry.partition}`;
  const badge = entry.refused ? h("span", { class: "badge bad" }, "refused") : entry.current ? h("span", { class: "badge good" }, "stored now") : null;
  const content = [facts(entry), timelineFigure(entry), receiptTable(entry), changes(entry), pointChanges(entry)];
  if (i < OPEN) return h("article", { class: "panel entry", "aria-label": title }, h("div", { class: "panel-head" }, h("h3", null, title, " ", badge), h("p", { class: "dim" }, hlcTime(entry.hlc))), content);
  return h("details", { class: "panel entry" }, h("summary", null, title, " ", badge, " ", h("span", { class: "dim" }, hlcTime(entry.hlc))), content);
}

function facts(entry) {
  const request = entry.request_id ? h("a", { href: `#/lineage?${new URLSearchParams({ k: "request", id: entry.request_id })}` }, entry.request_id) : "none";
  const trace = entry.trace_id ? h("a", { href: `#/lineage?${new URLSearchParams({ k: "trace", id: entry.trace_id })}` }, entry.trace_id) : "none";
  const list = [
    ["Entry", `${entry.partition ?? "unknown"}, offset ${count(entry.offset)}, term ${count(entry.term)}`],
    ["HLC", `${String(entry.hlc ?? "0")} (counter ${hlcCounter(entry.hlc)})`],
    ["Principal", entry.principal || "unknown"],
    ["Request", request],
    ["Trace", trace],
    ["Tier", String(num(entry.tier))],
    ["Points in it", count(entry.point_count)],
    ["Size", bytes(entry.body_bytes)],
  ];
  if (entry.idempotency_key) list.push(["Idempotency key", entry.idempotency_key]);
  if (entry.ddl_json) list.push(["Schema", entry.ddl_json]);
  if (entry.decision_json) list.push(["Decision", entry.decision_json]);
  if (entry.filter_json) list.push(["Filter", entry.filter_json]);
  if (entry.refused) list.push(["Refused", entry.refused]);
  return pairs(list);
}

function timelineFigure(entry) {
  const all = steps(entry);
  if (all.length === 0) return h("p", { class: "empty" }, "The entry carries no spans.");
  const first = all[0];
  const words = all.map((step) => `${step.name}${step.where ? ` on ${step.where}` : ""} after ${step.from} ms`).join(", ");
  return h("figure", { class: "timeline" },
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Timeline" }, drawTimeline(all, `From ${first.name} to the replicas: ${words}`, $("lineage-result").clientWidth - 40)),
    h("details", null, h("summary", null, "The same as a table"),
      table("Steps of the entry", [["Step"], ["Where"], ["Begins, ms", true], ["Takes, ms", true], ["At"]], all.map((step) => ({
        cells: [step.name, step.where || "–", String(step.from), step.isMoment ? "–" : String(step.to - step.from), hlcTime(step.hlc)],
      })), { captionHidden: true })));
}

function receiptTable(entry) {
  const receipts = entry.receipts ?? [];
  if (receipts.length === 0) return h("p", { class: "note" }, "No replica has said that it applied the entry (receipts are kept for a while, and replicas that do not answer are not heard).");
  const base = hlcMilliseconds(entry.hlc);
  const hasShards = receipts.some((receipt) => receipt.shards?.length > 0);
  return table("Receipts of replicas", [["Replica"], ["Applied at"], ["After the append, ms", true], ["With offsets"], ...(hasShards ? [["Shards"]] : [])], receipts.map((receipt) => ({
    cells: [String(receipt.replica ?? receipt.node ?? "unknown"), hlcTime(receipt.applied_hlc), String(hlcMilliseconds(receipt.applied_hlc) - base),
      String(receipt.first_offset ?? "") === String(receipt.last_offset ?? "") ? count(receipt.first_offset) : `${count(receipt.first_offset)} to ${count(receipt.last_offset)}`,
      ...(hasShards ? [(receipt.shards ?? []).join(", ")] : [])],
  })), { cards: true });
}

/** What a version of one point has other than the one before, where the server says so. */
function changes(entry) {
  const point = entry.points?.length === 1 ? entry.points[0] : null;
  const rows = [
    ...(point?.payload_changes ?? []).map((change) => ({ cells: [change.path, change.before_json || dash("absent"), change.after_json || dash("absent")] })),
    ...(point?.vector_changes ?? []).map((change) => ({
      cells: [change.name ? `vector ${change.name}` : "vector", num(change.dimension_before) ? `${count(change.dimension_before)} components` : dash("absent"),
        num(change.dimension) ? `${count(change.changed_components)} of ${count(change.dimension)} components differ, by ${num(change.distance).toFixed(4)}` : dash("absent")],
    })),
  ];
  return rows.length === 0 ? null : table("What it changed", [["Field"], ["Before"], ["After"]], rows, { cards: true });
}

function pointChanges(entry) {
  const points = entry.points ?? [];
  if (points.length === 0) return null;
  return h("details", null, h("summary", null, points.length === 1 ? `What it wrote of ${points[0].id}` : `${many(points.length, "point")} of ${count(entry.point_count)}`),
    h("dl", { class: "pairs" }, points.slice(0, 100).map((point) => h("div", null, h("dt", null, point.id),
      h("dd", null, `${point.operation ?? ""} ${Object.entries(point.vectors ?? {}).map(([name, d]) => `${name || "vector"} of ${d}`).join(", ")} ${point.payload ? JSON.stringify(point.payload) : ""}`)))));
}
