// Where a point comes from: every entry that wrote it, from the edge to the replicas.

import * as api from "./api.js";
import { $, h, say, table } from "./dom.js";
import { bytes, count, hlcCounter, hlcMilliseconds, hlcTime, many, num } from "./format.js";
import { atKey, offer } from "./collections.js";
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
    const answer = kind === "request" ? await api.requestLineage(id) : kind === "trace" ? await api.traceLineage(id) : await api.recordLineage(atKey(key), id);
    if (mine !== running) return;
    const entries = [...(answer.entries ?? [])].reverse();
    const what = kind === "point" ? `“${id}”` : `${kind} ${id}`;
    say(status, entries.length === 0 ? `The journal has no entry of ${what}.` : `${many(entries.length, "entry", "entries")} of ${what}, the newest first${answer.truncated ? "; older ones are left out" : ""}`);
    result.replaceChildren(
      ...(kind === "point" && entries.length > 0 ? [h("p", { class: "links" }, h("a", { href: likeAddress(key, id) }, "More like this"))] : []),
      ...entries.map((entry, i) => panel(entry, i, kind === "point" && !answer.truncated ? `Version ${entries.length - i} of ${entries.length}: ` : "", kind)));
  } catch (error) {
    if (mine !== running) return;
    say(status, `Refused: ${error.message}`);
    result.replaceChildren();
  }
}

function panel(entry, i, version, kind) {
  const operation = entry.points?.length === 1 ? entry.points[0].operation ?? entry.operation : entry.operation;
  const title = kind === "point" ? `${version}${operation}` : `${entry.operation} in ${entry.collection || entry.partition}`;
  const badge = entry.refused ? h("span", { class: "badge bad" }, "refused") : entry.current ? h("span", { class: "badge good" }, "stored now") : null;
  const content = [facts(entry), timelineFigure(entry), receiptTable(entry), pointChanges(entry)];
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
  if (entry.decision_json) list.push(["Decision", entry.decision_json]);
  if (entry.filter_json) list.push(["Filter", entry.filter_json]);
  if (entry.refused) list.push(["Refused", entry.refused]);
  return h("dl", { class: "facts ids" }, list.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
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
  return table("Receipts of replicas", [["Replica"], ["Applied at"], ["After the append, ms", true], ["With offsets"]], receipts.map((receipt) => ({
    cells: [String(receipt.replica ?? receipt.node ?? "unknown"), hlcTime(receipt.applied_hlc), String(hlcMilliseconds(receipt.applied_hlc) - base),
      String(receipt.first_offset ?? "") === String(receipt.last_offset ?? "") ? count(receipt.first_offset) : `${count(receipt.first_offset)} to ${count(receipt.last_offset)}`],
  })), { cards: true });
}

function pointChanges(entry) {
  const points = entry.points ?? [];
  if (points.length === 0) return null;
  return h("details", null, h("summary", null, points.length === 1 ? `What it wrote of ${points[0].id}` : `${many(points.length, "point")} of ${count(entry.point_count)}`),
    h("dl", { class: "pairs" }, points.slice(0, 100).map((point) => h("div", null, h("dt", null, point.id),
      h("dd", null, `${point.operation ?? ""} ${Object.entries(point.vectors ?? {}).map(([name, d]) => `${name || "vector"} of ${d}`).join(", ")} ${point.payload ? JSON.stringify(point.payload) : ""}`)))));
}
