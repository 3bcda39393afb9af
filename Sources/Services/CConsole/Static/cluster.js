// Nodes, who leads what, where copies are, and all that is not as it should be.

import { $, h, show, table } from "./dom.js";
import { bytes, count, duration, many, num, percent } from "./format.js";
import { answers, diskLevel, isAlone, isGoodCopy, lagLevel, nodeLevel, nodeName, partitionLevel, peerCount, shardLevel, votersThere } from "./health.js";

const SIGNS = { good: "✓", warn: "!", bad: "✕", info: "i" };
/** Shards in one row of the map; the rest go on below. */
const SHARDS_A_ROW = 64;
/** Maps of copies shown at once, at most. */
const MOST_COLLECTIONS = 50;

/** A state by shape and colour, and in words. */
export function sign(level, words, isWordsUnseen = false) {
  return h("span", { class: `state ${level}` },
    h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[level]), " ",
    h("span", { class: isWordsUnseen ? "unseen" : null }, words));
}

export const clusterView = {
  title: "Cluster",
  update(store) {
    const overview = store.overview;
    if (!overview) { show($("cluster-body"), h("p", { class: "empty" }, store.error ? "Nothing is known yet." : "Asking the node …")); return; }
    show($("cluster-body"),
      store.error && h("p", { class: "note" }, `This is what was known at ${store.at.toLocaleTimeString("en-GB")}.`),
      findingsList(store.findings ?? []),
      facts(overview),
      h("h3", null, "Nodes"), nodes(overview),
      isAlone(overview) && peerCount(overview) > 1
        && h("p", { class: "note" }, "This node is one of several with fixed peers (cluster.peers) and speaks for itself alone: open the console of each."),
      h("h3", null, "Journal partitions"), partitions(overview),
      h("h3", null, "Copies of shards"), copies(overview));
  },
};

function findingsList(findings) {
  // A single one stands at the top already.
  if (findings.length < 2) return null;
  return h("div", { class: "findings" },
    h("h3", null, "What is not as it should be"),
    h("ul", null, findings.map((finding) => h("li", { class: finding.level },
      sign(finding.level, finding.level === "bad" ? "Broken:" : finding.level === "warn" ? "Warning:" : "Note:", true), " ",
      h("strong", null, finding.what), finding.todo ? h("span", null, ` — ${finding.todo}`) : null))));
}

function facts(overview) {
  const alone = isAlone(overview);
  const own = (overview.nodes ?? [])[0];
  const list = alone
    ? [["Mode", peerCount(overview) > 1 ? `one of ${peerCount(overview)} nodes with fixed peers` : "one node alone"], ["Version", own?.version || "unknown"], ["Up for", duration(own?.uptime_ms)]]
    : [["Cluster", overview.cluster_id], ["Decides", num(overview.controller) ? `node ${overview.controller}` : "nobody"],
      ["Map", `epoch ${count(overview.map_epoch)}`], ["etcd", overview.metadata_reachable ? "answers" : "does not answer"]];
  return h("dl", { class: "facts" }, list.map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))));
}

function nodes(overview) {
  const alone = isAlone(overview);
  const columns = [["Node"], ["State"], ["Zone"], ["Roles"], ["Leads"], ["Copies", true], ["Replay lag", true], ["Disk free", true], ["Up", true], ["HTTP"]];
  const rows = (overview.nodes ?? []).map((node) => {
    const there = answers(node);
    const lag = lagLevel(node), disk = diskLevel(node);
    const words = !there ? "does not answer" : [node.condition, node.state === "active" ? "" : node.state].filter(Boolean).join(", ");
    return {
      class: nodeLevel(node),
      cells: [
        h("span", null, h("b", null, node.name || `node ${node.id}`), " ", h("span", { class: "dim" }, `id ${node.id}`)),
        sign(nodeLevel(node), words),
        node.zone || dash("no zone"),
        (node.roles ?? []).join(" ") || dash("no roles"),
        (node.leads ?? []).length > 0 ? node.leads.join(" ") : dash("nothing"),
        count(node.shards),
        there ? (lag === "good" ? lagWords(node) : sign(lag, lagWords(node))) : dash("unknown"),
        there && num(node.disk_total_bytes) > 0 ? withLevel(disk, `${bytes(node.disk_free_bytes)} (${percent(num(node.disk_free_bytes) / num(node.disk_total_bytes))})`) : dash("unknown"),
        there ? duration(node.uptime_ms) : dash("unknown"),
        consoleLink(node, overview, alone),
      ],
    };
  });
  return table("Nodes", columns, rows, { cards: true, captionHidden: true });
}

function withLevel(level, words) { return level === "good" ? words : sign(level, words); }

function lagWords(node) {
  if (num(node.lag_entries) === 0) return lagLevel(node) === "good" ? "none" : `unknown for ${duration(node.lag_ms)}`;
  return `${count(node.lag_entries)} (${duration(node.lag_ms)})`;
}

function consoleLink(node, overview, alone) {
  if (!node.http_address) return dash("unknown");
  if (alone || String(node.id) === String(overview.node)) return h("span", null, node.http_address, h("span", { class: "dim" }, " this page"));
  return h("a", { href: `${location.protocol}//${node.http_address}/console/` }, node.http_address);
}

/** Nothing to show, said in words to who cannot see that. */
export function dash(words) { return h("span", { class: "dim" }, h("span", { "aria-hidden": "true" }, "–"), h("span", { class: "unseen" }, words)); }

function partitions(overview) {
  const nodes = overview.nodes ?? [];
  const known = new Set(nodes.map((node) => String(node.id)));
  const all = overview.partitions ?? [];
  const others = [...new Set(all.flatMap((p) => [...(p.voters ?? []), ...(p.learners ?? [])]).map(String))].filter((id) => !known.has(id)).map((id) => ({ id, condition: "unknown" }));
  const seats = [...nodes, ...others];
  const columns = [["Partition"], ["State"], ...seats.map((node) => [nodeName(node, node.id)]), ["Term", true], ["Committed", true]];
  const rows = all.map((partition) => {
    const level = partitionLevel(partition, nodes);
    const voters = (partition.voters ?? []).map(String);
    const words = num(partition.leader) === 0 ? "no leader" : level === "good" ? "led" : `led, ${votersThere(partition, nodes)} of ${num(partition.wanted)} voters`;
    return {
      class: level,
      cells: [
        partition.partition, sign(level, words),
        ...seats.map((node) => {
          const id = String(node.id), silent = !answers(node);
          if (String(partition.leader) === id) return seat("leader", silent);
          if (voters.includes(id)) return seat("voter", silent);
          if ((partition.learners ?? []).map(String).includes(id)) return seat("learner", silent);
          return dash("no part");
        }),
        count(partition.term), count(partition.committed_offset),
      ],
    };
  });
  return table("Journal partitions: who leads and who votes", columns, rows, { captionHidden: true });
}

function seat(role, silent) {
  return h("span", { class: `seat ${role}${silent ? " silent" : ""}` }, role, silent ? h("span", { class: "unseen" }, ", does not answer") : null);
}

function copies(overview) {
  const shards = overview.shards ?? [];
  if (shards.length === 0) return h("p", { class: "empty" }, isAlone(overview) && peerCount(overview) > 1 ? "This node holds none." : "There are no collections yet.");
  const nodes = overview.nodes ?? [];
  const collections = new Map();
  for (const shard of shards) {
    const key = String(shard.collection_id);
    if (!collections.has(key)) collections.set(key, []);
    collections.get(key).push(shard);
  }
  // Those with something wrong first, so that they are among what is shown.
  const rank = { bad: 0, warn: 1, good: 2 };
  const worst = (all) => Math.min(...all.map((shard) => rank[shardLevel(shard)]));
  const sorted = [...collections.values()].map((all, i) => ({ all, i })).sort((a, b) => worst(a.all) - worst(b.all) || a.i - b.i).map(({ all }) => all);
  const rest = sorted.length - MOST_COLLECTIONS;
  return [sorted.slice(0, MOST_COLLECTIONS).flatMap((all) => {
    const rows = [];
    for (let from = 0; from < all.length; from += SHARDS_A_ROW) rows.push(all.slice(from, from + SHARDS_A_ROW));
    return rows.map((part, i) => grid(part, nodes, i, rows.length, all.length));
  }), rest > 0 && h("p", { class: "note" }, `${many(rest, "more collection")}, none of them worse: vecraft cluster status --shards shows all.`)];
}

/** Rows are nodes, columns are shards: a full square is a copy that is ready. */
function grid(shards, nodes, i, parts, whole) {
  const first = shards[0];
  const name = (first.tenant && first.tenant !== "default" ? first.tenant + " / " : "") + (first.collection || first.collection_id);
  const thin = shards.filter((shard) => shardLevel(shard) !== "good").length;
  const title = `${name}${parts > 1 ? ` (${i + 1} of ${parts})` : ""}`;
  const words = `${many(whole, "shard")}, ${num(first.wanted) === 1 ? "one copy each" : `${num(first.wanted)} copies each`}, ${first.partition}`;
  const caption = `${title}: ${words}`;
  const worst = thin === 0 ? "good" : shards.some((shard) => shardLevel(shard) === "bad") ? "bad" : "warn";
  const made = h("table", { class: "grid", "aria-label": caption },
    h("thead", null, h("tr", null, h("td", null), shards.map((shard) => h("th", { scope: "col" }, h("span", { class: "unseen" }, "shard "), String(num(shard.shard)))))),
    h("tbody", null, nodes.map((node) => h("tr", null,
      h("th", { scope: "row" }, nodeName(node, node.id)),
      shards.map((shard) => h("td", null, square((shard.replicas ?? []).find((replica) => String(replica.node) === String(node.id)), node)))))),
    h("tfoot", null, h("tr", null, h("th", { scope: "row" }, "points"), shards.map((shard) => h("td", null, count(Math.max(0, ...(shard.replicas ?? []).map((r) => num(r.points)))))))));
  return [
    h("p", { class: "grid-title" }, h("b", null, title), ` ${words} `, sign(worst, thin > 0 ? `${many(thin, "shard")} with too few` : "all ready")),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption }, made),
  ];
}

function square(replica, node) {
  if (!replica) return h("span", { class: "copy none" }, h("span", { class: "unseen" }, "no copy"));
  const silent = !answers(node);
  const condition = silent ? "does not answer" : replica.condition || "unknown";
  const kind = silent ? "lost" : isGoodCopy(replica) ? "ready" : replica.condition === "building" || replica.state === "building" ? "building"
    : replica.condition === "lost" || replica.condition === "failed" ? "lost" : "late";
  const progress = kind === "building" ? ` ${percent(num(replica.progress))}` : "";
  const words = `${condition}${replica.state === "live" ? "" : `, ${replica.state}`}${progress}`;
  const title = silent ? words : `${words}; ${many(replica.points, "point")}, applied ${count(replica.applied_offset)}`;
  const marks = { ready: "", building: "◔", late: "…", lost: "✕" };
  return h("span", { class: `copy ${kind}`, title }, h("span", { "aria-hidden": "true" }, marks[kind]), h("span", { class: "unseen" }, title));
}
