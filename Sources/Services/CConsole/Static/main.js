// Asks the node again and again, keeps what it says, and shows the view that the address names.

import * as api from "./api.js";
import { $, say } from "./dom.js";
import { verdict, absence, isAlone, nodeName } from "./health.js";
import { ServiceLevels } from "./metrics.js";
import { clusterView } from "./cluster.js";
import { collectionsView } from "./collections.js";
import { searchView } from "./search.js";
import { pictureView } from "./picture.js";
import { lineageView } from "./lineage.js";
import { budgetsView } from "./budgets.js";

/** Milliseconds between two questions, and the longest pause while nobody answers. */
const EVERY = { cluster: 2000, collections: 10_000, metrics: 5000, most: 10_000 };
/** Tenants whose collections are listed, at most. */
const MOST_TENANTS = 50;

const store = {
  /** The newest overview, when it came (Date), and why there is no newer one. */
  overview: null, at: null, error: null, ready: null,
  /** [{tenant, name, ...Collection}], and why they are not known. */
  collections: [], collectionsError: null, areCollectionsKnown: false,
  /** Of ServiceLevels; null until the first page, and where there is none. */
  levels: null, levelsError: null,
};
const serviceLevels = new ServiceLevels();
const views = { cluster: clusterView, collections: collectionsView, search: searchView, picture: pictureView, lineage: lineageView, budgets: budgetsView };
let view = "";

/** One question at a time, again after a pause that grows while it fails; none while the page is hidden. */
class Poll {
  #timer = 0; #isAsking = false; #failures = 0;
  constructor(every, ask) { this.every = every; this.ask = ask; }
  async now() {
    if (this.#isAsking || document.hidden) return;
    clearTimeout(this.#timer);
    this.#isAsking = true;
    // A mistake of ours in one answer must not end the asking.
    const ok = await this.ask().catch((error) => { console.error(error); return false; });
    this.#isAsking = false;
    this.#failures = ok ? 0 : this.#failures + 1;
    const pause = Math.min(this.every * 2 ** Math.min(this.#failures, 8), Math.max(this.every, EVERY.most));
    // A short breath more each time, so that many consoles do not ask in step.
    this.#timer = setTimeout(() => this.now(), pause * (0.95 + Math.random() * 0.1));
  }
  stop() { clearTimeout(this.#timer); }
}

async function askCluster() {
  try {
    store.overview = await api.cluster();
    [store.at, store.error, store.ready] = [new Date(), null, null];
  } catch (error) {
    store.error = error;
    store.ready = error.status > 0 ? await api.readiness().catch(() => null) : null;
  }
  showVerdict();
  update();
  return store.error === null;
}

async function askCollections() {
  const tenants = new Set(["default", ...(store.overview?.shards ?? []).map((shard) => shard.tenant).filter(Boolean)]);
  try {
    const lists = await Promise.all([...tenants].sort().slice(0, MOST_TENANTS).map(async (tenant) => {
      const answer = await api.collections(tenant);
      return (answer.collections ?? []).map((collection) => ({ tenant, ...collection }));
    }));
    [store.collections, store.collectionsError, store.areCollectionsKnown] = [lists.flat(), null, true];
  } catch (error) {
    store.collectionsError = error;
  }
  update();
  return store.collectionsError === null;
}

async function askMetrics() {
  try {
    [store.levels, store.levelsError] = [serviceLevels.take(await api.metricsPage(), Date.now()), null];
  } catch (error) {
    store.levelsError = error;
  }
  update();
  return store.levelsError === null;
}

const polls = [new Poll(EVERY.cluster, askCluster), new Poll(EVERY.collections, askCollections), new Poll(EVERY.metrics, askMetrics)];
const [clusterPoll, collectionsPoll] = polls;

function showVerdict() {
  const said = store.error ? absence(store.error, store.ready) : verdict(store.overview, store.levels ?? []);
  store.findings = said.findings;
  const box = $("verdict");
  const wanted = `verdict ${said.level}`;
  if (box.className !== wanted) box.className = wanted;
  say($("headline"), said.headline);
  say($("advice"), said.advice);
  say($("asked"), store.at ? `${store.error ? "Last answer" : "As of"} ${store.at.toLocaleTimeString("en-GB")}` : "");
  document.title = `${said.level === "good" ? "" : "! "}${store.overview ? whose() : "Vecraft DB"} · ${views[view]?.title ?? ""}`;
  if (store.overview) say($("whose"), whose());
}

function whose() {
  const overview = store.overview;
  const own = (overview.nodes ?? []).find((node) => String(node.id) === String(overview.node));
  const name = nodeName(own, overview.node);
  return isAlone(overview) ? name : `cluster ${overview.cluster_id}, asked ${name}`;
}

function update() {
  try { views[view]?.update(store); } catch (error) { console.error(error); }
}

/** The view and its parameters, from "#/search?c=packages". */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { name: views[path] ? path : "cluster", parameters: new URLSearchParams(query ?? "") };
}

function go(moveFocus) {
  // The skip link is no view.
  if (location.hash === "#main") return;
  const { name, parameters } = place();
  const isOther = name !== view;
  view = name;
  for (const key of Object.keys(views)) $(key).hidden = key !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  views[name].enter?.(parameters, store);
  update();
  showTitle();
  if (isOther && moveFocus) {
    $(`${name}-title`).focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }
}

function showTitle() { if (store.overview || store.error) showVerdict(); }

function themes() {
  const button = $("theme"), root = document.documentElement;
  const order = ["system", "light", "dark"];
  const name = () => root.dataset.theme ?? "system";
  const tell = () => { button.textContent = `Theme: ${name()}`; };
  button.addEventListener("click", () => {
    const next = order[(order.indexOf(name()) + 1) % order.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try { localStorage.setItem("vecraft-theme", next); } catch { /* it is for this page alone, then */ }
    tell();
    views.picture.repaint();
  });
  tell();
}

themes();
for (const each of Object.values(views)) each.mount?.(store);
window.addEventListener("hashchange", () => go(true));
document.addEventListener("visibilitychange", () => {
  for (const poll of polls) { if (document.hidden) poll.stop(); else poll.now(); }
});
go(false);
await clusterPoll.now();
for (const poll of polls.slice(1)) poll.now();
// What was known too late for the first list: tenants of collections that the cluster named.
if (store.overview) collectionsPoll.now();
