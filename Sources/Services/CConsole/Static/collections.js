// What collections there are: schema, points, shards and copies, codes, memory. And the lists to choose one from.

import { $, h, show, table } from "./dom.js";
import { bytes, count, hlcTime, many, num, word } from "./format.js";
import { isAlone, isGoodCopy, shardLevel } from "./health.js";
import { sign } from "./cluster.js";

/** Shown at once, at most. */
const MOST = 100;

/** Key of a collection in lists and addresses: "name", or "tenant/name". */
export function keyOf(collection) { return collection.tenant === "default" ? collection.name : `${collection.tenant}/${collection.name}`; }

export function atKey(key) {
  const cut = key.indexOf("/");
  return cut < 0 ? { tenant: "default", name: key } : { tenant: key.slice(0, cut), name: key.slice(cut + 1) };
}

export function find(store, key) { return store.collections.find((collection) => keyOf(collection) === key); }

/** Vectors of a collection: [{name, ...VectorConfig}], the unnamed one first. */
export function vectorsOf(collection) {
  const config = collection?.config ?? {};
  const named = Object.entries(config.vectors ?? {}).map(([name, vector]) => ({ name, ...vector }));
  return (config.vector ? [{ name: "", ...config.vector }] : []).concat(named);
}

/** Puts the collections into a <select>, keeping what is chosen. `wanted`: the key to choose, if it is there. */
export function offer(select, store, wanted) {
  const keys = store.collections.map(keyOf);
  const value = wanted ?? select.value;
  // Named by an address before anybody said what there is.
  if (value && !keys.includes(value) && (wanted || !store.areCollectionsKnown)) keys.push(value);
  const present = [...select.options].map((option) => option.value);
  if (keys.join("\n") !== present.join("\n")) {
    select.replaceChildren(...keys.map((key) => h("option", { value: key }, key.replace("/", " / "))));
    select.disabled = keys.length === 0;
  }
  if (keys.includes(value)) select.value = value;
}

/** The vectors of the chosen collection; the field is there only if there is a choice. */
export function offerVectors(field, select, collection) {
  const names = vectorsOf(collection).map((vector) => vector.name);
  field.hidden = names.length < 2;
  if (names.join("\n") === [...select.options].map((option) => option.value).join("\n")) return;
  select.replaceChildren(...names.map((name) => h("option", { value: name }, name || "(unnamed)")));
}

export const collectionsView = {
  title: "Collections",
  update(store) {
    const body = $("collections-body");
    if (!store.areCollectionsKnown) { show(body, h("p", { class: "empty" }, store.collectionsError ? store.collectionsError.message : "Asking the node …")); return; }
    if (store.collections.length === 0) {
      show(body, h("p", { class: "empty" }, "There are none yet. ", h("code", null, "vecraft collection create NAME --dimension 384"), " makes one."));
      return;
    }
    show(body,
      store.collectionsError && h("p", { class: "note" }, `Not new: ${store.collectionsError.message}`),
      store.collections.slice(0, MOST).map((collection) => panel(collection, store)),
      store.collections.length > MOST && h("p", { class: "note" }, `The first ${MOST} of ${many(store.collections.length, "collection")}.`));
  },
};

function panel(collection, store) {
  const key = keyOf(collection);
  const shards = (store.overview?.shards ?? []).filter((shard) => String(shard.collection_id) === String(collection.id));
  const status = collection.status ?? {};
  const points = shards.reduce((sum, shard) => sum + Math.max(0, ...(shard.replicas ?? []).map((r) => num(r.points))), 0);
  const ready = shards.reduce((sum, shard) => sum + (shard.replicas ?? []).filter(isGoodCopy).length, 0);
  const wanted = shards.reduce((sum, shard) => sum + num(shard.wanted), 0);
  const worst = shards.some((s) => shardLevel(s) === "bad") ? "bad" : shards.some((s) => shardLevel(s) === "warn") ? "warn" : "good";
  const alone = store.overview ? isAlone(store.overview) : true;
  const indexes = collection.config?.payload_indexes ?? [];
  const facts = [
    ["Points", count(shards.length > 0 ? points : status.points)],
    ["Shards", count(collection.config?.shards || 1)],
    ["Copies", shards.length === 0 ? "unknown" : sign(worst, `${ready} of ${wanted} ready`)],
    ["Linked in graphs", num(status.total_vectors) > 0 ? `${count(status.indexed_vectors)} of ${count(status.total_vectors)}` : "none yet"],
    [alone ? "Memory" : "Memory here", bytes(status.memory_bytes)],
    [alone ? "Disk" : "Disk here", bytes(status.disk_bytes)],
    ["Segments", count(status.segments)],
    ["Deleted rows", count(status.deleted_rows)],
    ["Journal", `${collection.partition}, applied ${count(status.applied_offset)} of ${count(status.committed_offset)}`],
    ["Made", hlcTime(collection.created).replace(/\.\d+ UTC/, " UTC")],
  ];
  if (num(status.recoding_segments) > 0) facts.push(["New codes", sign("warn", `${many(status.recoding_segments, "segment")} still to be written`)]);
  return h("article", { class: "panel", "aria-label": `Collection ${key}` },
    h("div", { class: "panel-head" }, h("h3", null, key.replace("/", " / ")),
      h("p", { class: "links" },
        h("a", { href: `#/search?c=${encodeURIComponent(key)}` }, "Search"), " ",
        h("a", { href: `#/picture?c=${encodeURIComponent(key)}` }, "Picture"))),
    h("dl", { class: "facts" }, facts.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)))),
    table(`Vectors of ${key}`, [["Vector"], ["Components", true], ["Distance"], ["Codes"], ["Graph"]], vectorsOf(collection).map((vector) => ({
      cells: [vector.name || "(unnamed)", count(vector.dimension), word(vector.distance, "DISTANCE_"), word(vector.quantisation, "QUANTISATION_") || "auto",
        `m ${num(vector.hnsw?.m) || 16}, ef construction ${num(vector.hnsw?.ef_construction) || 200}`],
    })), { cards: true, captionHidden: true }),
    h("p", { class: "indexes" }, h("span", { class: "dim" }, "Payload indexes: "), indexes.length === 0 ? "none" : indexes.map((index) => `${index.field} (${word(index.type, "FIELD_TYPE_")})`).join(", ")));
}
