// A collection's vectors in two dimensions. Fetched when asked for, and only as many as a page and a node bear.

import * as api from "./api.js";
import { $, h, say, table } from "./dom.js";
import { many, num, percent } from "./format.js";
import { atKey, find, offer, offerVectors, vectorsOf } from "./collections.js";
import { likeAddress, lineageAddress } from "./search.js";
import { project } from "./pca.js";

/** Points, and numbers in all their vectors, at most: 1.5 million are about 15 MB of JSON. */
const MOST_POINTS = 2000, MOST_NUMBERS = 1_500_000;
const PAGE = 500, COLOURS = 8, ROWS = 200, MARGIN = 18;

/** What is drawn: {key, points: [{id, label, payload}], x, y, places: [{px, py}]}. */
let drawn = null;
let at = -1, chosen = -1, running = null;

export const pictureView = {
  title: "Picture",
  mount(store) {
    $("picture-form").addEventListener("submit", (event) => {
      event.preventDefault();
      draw(store, $("picture-collection").value, $("picture-using").value);
    });
    $("picture-collection").addEventListener("change", () => this.update(store));
    $("picture-colour").addEventListener("change", () => paint());
    const canvas = $("picture-canvas");
    canvas.addEventListener("pointermove", (event) => point(nearest(event), false));
    canvas.addEventListener("pointerleave", () => point(-1, false));
    // What is marked, and not what a rounded place is nearest to.
    canvas.addEventListener("click", (event) => choose(at >= 0 ? at : nearest(event)));
    canvas.addEventListener("keydown", key);
    canvas.addEventListener("focus", () => { if (drawn && at < 0) point(chosen >= 0 ? chosen : 0, true); });
    canvas.addEventListener("blur", () => point(-1, false));
    new ResizeObserver(() => paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
  },
  enter(parameters, store) {
    const key = parameters.get("c");
    offer($("picture-collection"), store, key ?? undefined);
    if (key && drawn?.key !== key) draw(store, key, "");
  },
  update(store) {
    offer($("picture-collection"), store);
    offerVectors($("picture-using-field"), $("picture-using"), find(store, $("picture-collection").value));
  },
  repaint() { paint(); },
};

async function draw(store, key, using) {
  running?.abort();
  const mine = running = new AbortController();
  const status = $("picture-status");
  if (!key) { say(status, "There is no collection to draw."); return; }
  say(status, "Fetching vectors …");
  try {
    const { points, data, d, whole } = await sample(store, key, using, mine.signal, (n) => say(status, `Fetching vectors: ${n} …`));
    if (running !== mine) return;
    if (points.length < 3) { say(status, `${many(points.length, "point")} with such a vector: too few for a picture.`); $("picture-body").hidden = true; return; }
    const { x, y, explained } = project(data, points.length, d);
    drawn = { key, points, x, y, places: [] };
    [at, chosen] = [-1, -1];
    const part = whole > points.length ? `the first ${points.length.toLocaleString("en-GB")} by id of ${many(whole, "point")}` : many(points.length, "point");
    say(status, `${part[0].toUpperCase()}${part.slice(1)}, ${d} components; the two directions show ${percent(explained[0] + explained[1], 1)} of their variance`);
    $("picture-canvas").setAttribute("aria-label", `Picture of ${part} of ${key} in two dimensions`);
    offerColours(points);
    $("picture-body").hidden = false;
    choose(-1);
    fillTable();
    paint();
  } catch (error) {
    if (running !== mine) return;
    say(status, `Refused: ${error.message}`);
  }
}

/** Points with their vectors, in the order of their ids, which is all that a scroll can give. */
async function sample(store, key, using, signal, progress) {
  const where = atKey(key), collection = find(store, key);
  const vectors = vectorsOf(collection);
  const vector = vectors.find((each) => each.name === using) ?? vectors[0];
  const wanted = vector ? Math.max(50, Math.min(MOST_POINTS, Math.floor(MOST_NUMBERS / Math.max(1, num(vector.dimension))))) : MOST_POINTS;
  const points = [];
  let rows = [], d = num(vector?.dimension), token = "";
  do {
    const page = await api.scroll(where, { page_size: Math.min(PAGE, wanted - points.length), page_token: token || undefined, with_vectors: true, read: { consistency: "eventual" } }, { signal });
    for (const each of page.points ?? []) {
      const values = using ? each.vectors?.[using] : each.vector ?? each.vectors?.[vector?.name ?? ""];
      if (!Array.isArray(values)) continue;
      d ||= values.length;
      if (values.length !== d || points.length >= wanted) continue;
      const payload = each.payload ?? {};
      points.push({ id: each.id, payload, label: String(payload.description ?? payload.title ?? payload.text ?? payload.name ?? "").slice(0, 120) });
      rows.push(values);
    }
    progress(points.length);
    token = page.next_page_token;
  } while (token && points.length < wanted);
  const data = new Float32Array(points.length * d);
  rows.forEach((values, i) => data.set(values, i * d));
  rows = null;
  // Only to say what part of all it is.
  const whole = token ? num((await api.count(where, { read: { consistency: "eventual" } }, { signal })).count) : points.length;
  return { points, data, d, whole };
}

/** Payload fields with few different values are worth a colour. */
function offerColours(points) {
  const fields = new Map();
  for (const { payload } of points) {
    for (const [name, value] of Object.entries(payload)) {
      if (!["string", "boolean"].includes(typeof value)) continue;
      if (!fields.has(name)) fields.set(name, new Set());
      fields.get(name).add(value);
    }
  }
  const names = [...fields].filter(([, values]) => values.size >= 2 && values.size <= 80).map(([name]) => name).sort();
  const select = $("picture-colour"), before = select.value;
  select.replaceChildren(h("option", { value: "" }, "nothing"), ...names.map((name) => h("option", { value: name }, name)));
  select.value = names.includes(before) ? before : names.includes("section") ? "section" : names[0] ?? "";
}

/** Which colour each point has: index below COLOURS for the commonest values, COLOURS for the others. */
function colours(field) {
  if (!field) return { of: () => 0, legend: [] };
  const counts = new Map();
  for (const { payload } of drawn.points) if (payload[field] !== undefined) counts.set(payload[field], (counts.get(payload[field]) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLOURS).map(([value]) => value);
  const index = new Map(common.map((value, i) => [value, i]));
  const legend = common.map((value) => `${value} (${counts.get(value)})`);
  if (counts.size > COLOURS) legend.push(`${counts.size - COLOURS} others`);
  return { of: (payload) => index.get(payload[field]) ?? COLOURS, legend };
}

function paint() {
  const canvas = $("picture-canvas");
  if (!drawn || canvas.clientWidth === 0) return;
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.documentElement);
  const palette = Array.from({ length: COLOURS + 1 }, (_, i) => style.getPropertyValue(`--dot-${i}`).trim());
  const ink = style.getPropertyValue("--text").trim(), line = style.getPropertyValue("--line").trim();
  const { of, legend } = colours($("picture-colour").value);
  place(width, height);
  pen.strokeStyle = line;
  pen.beginPath();
  const origin = spot(0, 0);
  pen.moveTo(0, origin.py); pen.lineTo(width, origin.py);
  pen.moveTo(origin.px, 0); pen.lineTo(origin.px, height);
  pen.stroke();
  drawn.points.forEach((each, i) => {
    pen.fillStyle = palette[of(each.payload)];
    pen.beginPath();
    pen.arc(drawn.places[i].px, drawn.places[i].py, 2.6, 0, 2 * Math.PI);
    pen.fill();
  });
  for (const [i, radius] of [[chosen, 8], [at, 6]]) {
    if (i < 0) continue;
    pen.strokeStyle = ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(drawn.places[i].px, drawn.places[i].py, radius, 0, 2 * Math.PI);
    pen.stroke();
  }
  const list = $("picture-legend");
  const wanted = legend.join("\n");
  if (list.dataset.shown !== wanted) {
    list.dataset.shown = wanted;
    list.replaceChildren(...legend.map((words, i) => h("li", { class: `dot-${Math.min(i, COLOURS)}` }, h("span", { class: "dot", "aria-hidden": "true" }), words)));
  }
}

let spot = () => ({ px: 0, py: 0 });

function place(width, height) {
  const range = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);
  const [x0, x1] = range(drawn.x), [y0, y1] = range(drawn.y);
  const fit = (v, low, high, size) => MARGIN + (size - 2 * MARGIN) * (high > low ? (v - low) / (high - low) : 0.5);
  spot = (x, y) => ({ px: fit(x, x0, x1, width), py: height - fit(y, y0, y1, height) });
  drawn.places = drawn.points.map((_, i) => spot(drawn.x[i], drawn.y[i]));
}

function nearest(event) {
  if (!drawn) return -1;
  const box = $("picture-canvas").getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  let best = -1, least = 24 ** 2;
  drawn.places.forEach((place, i) => {
    const distance = (place.px - px) ** 2 + (place.py - py) ** 2;
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}

/** Marks a point without choosing it. `aloud`: says it to a screen reader too, which a moving pointer must not do. */
function point(i, aloud) {
  if (!drawn || i === at) return;
  at = i;
  const mark = $("picture-mark");
  mark.hidden = i < 0;
  if (i >= 0) {
    mark.replaceChildren(h("b", null, drawn.points[i].id), " ", drawn.points[i].label);
    const { px, py } = drawn.places[i];
    mark.classList.toggle("left", px > $("picture-canvas").clientWidth / 2);
    mark.classList.toggle("above", py > $("picture-canvas").clientHeight / 2);
    mark.style.setProperty("--x", `${px}px`);
    mark.style.setProperty("--y", `${py}px`);
    if (aloud) say($("picture-point"), `${drawn.points[i].id}: ${drawn.points[i].label || "no description"}`);
  }
  paint();
}

function choose(i) {
  chosen = i;
  const actions = $("picture-actions");
  actions.hidden = i < 0;
  if (i < 0) { say($("picture-point"), ""); actions.replaceChildren(); paint(); return; }
  const { id, label } = drawn.points[i];
  say($("picture-point"), `Chosen: ${id}${label ? ` — ${label}` : ""}`);
  actions.replaceChildren(h("a", { class: "button", href: likeAddress(drawn.key, id) }, `More like ${id}`), " ", h("a", { class: "button", href: lineageAddress(drawn.key, id) }, `Lineage of ${id}`));
  paint();
}

/** Arrows go to the nearest point that lies that way. */
function key(event) {
  if (!drawn) return;
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const last = drawn.points.length - 1;
  if (ways[event.key]) point(beside(at < 0 ? 0 : at, ways[event.key]), true);
  else if (event.key === "Home") point(0, true);
  else if (event.key === "End") point(last, true);
  else if (event.key === "Enter" || event.key === " ") { if (at >= 0) choose(at); }
  else if (event.key === "Escape") choose(-1);
  else return;
  event.preventDefault();
}

function beside(from, [dx, dy]) {
  const start = drawn.places[from];
  let best = from, least = Infinity;
  drawn.places.forEach((place, i) => {
    const along = (place.px - start.px) * dx + (place.py - start.py) * dy;
    if (along <= 0.5) return;
    const aside = Math.abs((place.px - start.px) * dy) + Math.abs((place.py - start.py) * dx);
    const distance = along + 2 * aside;
    if (distance < least) [best, least] = [i, distance];
  });
  return best;
}

function fillTable() {
  const rows = drawn.points.slice(0, ROWS).map((each, i) => ({
    cells: [h("a", { href: likeAddress(drawn.key, each.id) }, each.id), each.label || "–", drawn.x[i].toFixed(3), drawn.y[i].toFixed(3)],
  }));
  const caption = `The first ${many(rows.length, "point")} of the picture`;
  $("picture-table").querySelector("div").replaceChildren(...table(caption, [["Point"], ["Description"], ["First direction", true], ["Second direction", true]], rows).children);
}
