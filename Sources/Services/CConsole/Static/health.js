// From what a cluster says of itself to the one line at the top: what is wrong, and what to do. No page, no network: facts in, words out.

import { big, num, many, duration, bytes, percent } from "./format.js";

/** Replay lag that is worth a word, and that is too much (design: flow control). */
const LAG = { warning: { ms: 200, entries: 1000, bytes: 5e6 }, critical: { ms: 500, entries: 5000, bytes: 10e6 } };
/** Of the disk, free. */
const DISK = { warning: 0.15, critical: 0.05 };
/** Burn over an hour from which a tier's budget is gone in two days. */
const BURN = 14.4;

/** "node-3 (node 3)", or "node 3" if its name says no more. */
export function nodeName(node, id) {
  if (!node) return `node ${id}`;
  return node.name && node.name !== `node-${node.id}` ? `${node.name} (node ${node.id})` : node.name || `node ${node.id}`;
}

export function isAlone(overview) { return !overview.cluster_id; }

/** Nodes that a node with fixed peers (cluster.peers) knows of, of which it speaks for itself alone; 1 for a node that is alone. */
export function peerCount(overview) {
  return Math.max(1, new Set((overview.partitions ?? []).flatMap((partition) => partition.voters ?? []).map(String)).size);
}

export function answers(node) { return Boolean(node?.condition); }

/** "good", "warn" or "bad". An idle leader closes its time some tens of milliseconds late: that is no lag. */
export function lagLevel(node) {
  const [ms, entries, size] = [num(node.lag_ms), num(node.lag_entries), num(node.lag_bytes)];
  const beyond = (limit) => ms >= limit.ms || entries >= limit.entries || size >= limit.bytes;
  return beyond(LAG.critical) ? "bad" : beyond(LAG.warning) ? "warn" : "good";
}

export function nodeLevel(node) {
  if (!answers(node)) return "bad";
  if (node.problem || node.condition !== "ready") return "warn";
  return node.state === "active" || node.state === "" ? "good" : "warn";
}

export function diskLevel(node) {
  const total = num(node.disk_total_bytes);
  if (total === 0) return "good";
  const free = num(node.disk_free_bytes) / total;
  return free < DISK.critical ? "bad" : free < DISK.warning ? "warn" : "good";
}

export function isGoodCopy(replica) { return replica.state === "live" && replica.condition === "ready"; }

/** Voters of a partition that answer. One that the overview does not speak of is not known to be silent. */
export function votersThere(partition, nodes) {
  return (partition.voters ?? []).filter((id) => {
    const node = nodes.find((each) => String(each.id) === String(id));
    return !node || answers(node);
  }).length;
}

export function partitionLevel(partition, nodes) {
  if (num(partition.leader) === 0) return "bad";
  return votersThere(partition, nodes) < num(partition.wanted) ? "warn" : "good";
}

/** One voter fewer, and nobody can lead. */
function isAtRisk(partition, nodes) {
  const voters = (partition.voters ?? []).length;
  return voters > 1 && (votersThere(partition, nodes) - 1) * 2 <= voters;
}

export function shardLevel(shard) {
  const good = (shard.replicas ?? []).filter(isGoodCopy).length;
  return good === 0 ? "bad" : good < num(shard.wanted) ? "warn" : "good";
}

function shardName(shard) { return `${shard.collection || shard.collection_id}/${num(shard.shard)}`; }

function list(names, most = 3) {
  if (names.length <= most) return names.join(", ");
  return `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}

/** All that is not as it should be, the worst first: {level, what, todo}. */
export function findings(overview, budgets = []) {
  const found = [];
  const add = (level, what, todo) => found.push({ level, what, todo });
  const nodes = overview.nodes ?? [], partitions = overview.partitions ?? [], shards = overview.shards ?? [];
  const byID = new Map(nodes.map((node) => [String(node.id), node]));
  const name = (id) => nodeName(byID.get(String(id)), id);
  const silent = nodes.filter((node) => !answers(node));
  const silentNames = list(silent.map((node) => nodeName(node, node.id)));
  const alone = isAlone(overview);

  const dead = shards.filter((shard) => shardLevel(shard) === "bad");
  if (dead.length > 0) {
    const building = dead.some((shard) => (shard.replicas ?? []).some((replica) => replica.condition === "building"));
    add("bad", `${list(dead.map(shardName))}: no copy is ready, so searches there fail`,
      silent.length > 0 ? `Bring ${silentNames} back.` : building ? "Wait: copies are being made." : "Wait while the node replays its journal; its log says how far it is.");
  }
  const leaderless = partitions.filter((partition) => num(partition.leader) === 0);
  if (leaderless.length > 0) {
    const without = leaderless.filter((partition) => votersThere(partition, nodes) * 2 <= (partition.voters ?? []).length);
    const which = leaderless.length === partitions.length && partitions.length > 1 ? "No journal partition has a leader"
      : `${list(leaderless.map((p) => p.partition))} ${leaderless.length === 1 ? "has" : "have"} no leader`;
    add("bad", `${which}: writes there are refused`,
      without.length > 0 ? `Bring ${silentNames} back: a majority of the voters does not answer.` : "An election takes less than a second. If this stays, see the logs of the voters.");
  }
  if (silent.length > 0) {
    const affected = partitions.some((p) => num(p.leader) === 0) || dead.length > 0;
    const risk = partitions.some((partition) => isAtRisk(partition, nodes));
    const it = silent.length === 1 ? "it" : "they";
    add(affected ? "bad" : "warn", `${silentNames} ${silent.length === 1 ? "does" : "do"} not answer`,
      `Start vecraft there again${silent.length === 1 && silent[0].peer_address ? ` (${silent[0].peer_address})` : ""}, or see why ${it} hang${it === "it" ? "s" : ""}.`
      + (affected ? "" : risk ? " Reads and writes go on, but one more lost node would stop writes." : " Reads and writes go on."));
  }
  if (overview.metadata_reachable === false) {
    add("warn", "etcd does not answer: reads and writes go on, but nothing is repaired", "Bring a majority of etcd's members back. What is shown is the last map known.");
  } else if (!alone && num(overview.controller) === 0) {
    add("warn", "No node decides for the cluster, so nothing is repaired", "One takes over within seconds. If this stays, see whether nodes with the control role run.");
  }
  for (const node of nodes) {
    if (!answers(node)) continue;
    const who = alone ? "This node" : nodeName(node, node.id);
    if (node.problem && !(leaderless.length > 0 && /^journal: no leader of [^;]*$/.test(node.problem))) add("warn", `${who}: ${node.problem}`, "Its log says more.");
    if (!node.problem && node.condition !== "ready") add("warn", `${who} is ${node.condition}`, node.condition === "draining" ? "It is being stopped." : "Wait: it serves when it has replayed its journal.");
    if (node.state === "draining") add("info", `${who} is being drained: ${many(node.shards, "copy", "copies")} left`, `When it is drained, stop it and run: vecraft cluster remove ${node.id}`);
    if (node.state === "drained") add("info", `${who} is drained and holds nothing`, `Stop it and run: vecraft cluster remove ${node.id}`);
    if (node.state === "joining") add("info", `${who} is joining`, "Wait: it becomes active by itself.");
    const lag = lagLevel(node);
    if (lag !== "good" && num(node.lag_entries) === 0) {
      if (leaderless.length === 0) add("warn", `${who} has heard nothing of a leader of its journal for ${duration(node.lag_ms)}`, "See the network between it and the leaders: how far it is behind is not known.");
    } else if (lag !== "good") {
      add("warn", `${who} replays ${many(node.lag_entries, "entry", "entries")} (${bytes(node.lag_bytes)}, ${duration(node.lag_ms)}) behind its journal`,
        lag === "bad" ? "Write less, or see what its CPU and disk are busy with: strong reads there wait." : "It should catch up by itself; if the lag grows, writes are faster than this node.");
    }
    const disk = diskLevel(node);
    if (disk !== "good") {
      add(disk, `${who} has ${percent(num(node.disk_free_bytes) / num(node.disk_total_bytes))} of its disk free (${bytes(node.disk_free_bytes)})`, "Make room, or add a node: when the disk is full, writes are refused.");
    }
  }
  const thin = shards.filter((shard) => shardLevel(shard) === "warn");
  if (thin.length > 0) {
    const made = thin.flatMap((shard) => (shard.replicas ?? []).filter((replica) => replica.state === "building"));
    const left = Math.max(0, ...made.map((replica) => num(replica.remaining_ms)));
    add("warn", `${thin.length} of ${many(shards.length, "shard")} ${thin.length === 1 ? "has" : "have"} fewer copies than wanted (${list(thin.map(shardName))})`,
      made.length > 0 ? `Nothing: ${many(made.length, "copy is", "copies are")} being made${left > 0 ? `, ${duration(left)} to go` : ""}.`
        : silent.length > 0 ? "They come back with the node; if it stays away (cluster.down_after_ms), they are made again on others." : "They are made again as soon as a node has room for them.");
  }
  const few = partitions.filter((partition) => num(partition.leader) !== 0 && (partition.voters ?? []).length < num(partition.wanted));
  if (few.length > 0) {
    add("warn", `${list(few.map((p) => `${p.partition} has ${(p.voters ?? []).length} of ${num(p.wanted)} voters`))}`, "Add a node, or wait for one that comes back: voters are chosen by themselves.");
  }
  for (const tier of budgets) {
    if (tier.remaining !== null && tier.remaining < 0) add("warn", `The error budget of tier ${tier.index} (${tier.name}) is used up`, "See Budgets: which requests fail, or are late.");
    else if (tier.burn["1h"] > BURN) add("warn", `Tier ${tier.index} (${tier.name}) burns its error budget at ${tier.burn["1h"].toFixed(1)} times the rate it may`, "See Budgets: which requests fail, or are late.");
  }
  // What the cluster says, and nothing above did, in its own words.
  const said = [/does not answer/, /has no leader/, /copies ready$/, /voters$/, /^the metadata store/, /^no node decides/, /^node \d+: /, /^this node is /, /^cannot be had now: /];
  const blocked = (overview.problems ?? []).map((problem) => /^cannot be had now: (\S+): (.*)$/.exec(problem)).filter((match) => match && !(leaderless.length > 0 && match[2] === "no leader is known"));
  if (blocked.length > 0) {
    const reasons = [...new Set(blocked.map((match) => match[2].replace(/\bn(\d+)\b/g, (_, id) => name(id))))];
    add("warn", `${list(blocked.map((match) => match[1]), 6)}: nothing better can be had now`, `${list(reasons)}. Add a node, or bring back what is missing.`);
  }
  const own = alone ? nodes.flatMap((node) => (node.problem ?? "").split("; ")) : [];
  for (const problem of overview.problems ?? []) {
    if (!said.some((pattern) => pattern.test(problem)) && !own.includes(problem)) add("warn", problem, "");
  }
  const rank = { bad: 0, warn: 1, info: 2 };
  return found.map((finding, i) => ({ ...finding, i })).sort((a, b) => rank[a.level] - rank[b.level] || a.i - b.i);
}

/** The line at the top: {level, headline, advice, findings}. */
export function verdict(overview, budgets) {
  const found = findings(overview, budgets);
  const worst = found[0];
  if (!worst || worst.level === "info") {
    const headline = isAlone(overview) && peerCount(overview) > 1 ? "This node is as it should be" : "Everything is as it should be";
    return { level: "good", headline, advice: (worst ? `${worst.what}. ` : "") + summary(overview), findings: found };
  }
  const more = found.length - 1;
  return { level: worst.level, headline: worst.what, advice: worst.todo + (more > 0 ? ` (${many(more, "more finding")} under Cluster)` : ""), findings: found };
}

function summary(overview) {
  const shards = overview.shards ?? [], partitions = overview.partitions ?? [];
  const peers = peerCount(overview);
  const parts = [!isAlone(overview) ? many(overview.nodes.length, "node") : peers > 1 ? `One of ${peers} nodes with fixed peers; each speaks for itself` : "One node alone"];
  parts.push(`${many(partitions.length, "journal partition")}, all led`);
  if (shards.length > 0) parts.push(isAlone(overview) ? many(shards.length, "shard") : `${many(shards.length, "shard")}, all copies ready`);
  const behind = (overview.nodes ?? []).reduce((most, node) => big(node.lag_entries) > most ? big(node.lag_entries) : most, 0n);
  parts.push(behind === 0n ? "no replay lag" : `replay lag ${many(Number(behind), "entry", "entries")}`);
  return parts.join(" · ");
}

/** While the node does not give an overview: what `readyz` says, or that nothing answers. */
export function absence(error, ready) {
  if (error.status === 401 || error.status === 403) return { level: "warn", headline: "The node does not let this page ask", advice: error.message, findings: [] };
  if (ready?.ready) return { level: "warn", headline: "The state of the cluster cannot be asked", advice: `${error.message}. The node itself says that it is ready.`, findings: [] };
  if (ready) {
    const failing = (ready.checks ?? []).filter((check) => !check.ok).map((check) => `${check.name}: ${check.detail}`);
    const state = ready.status ?? "not ready";
    return { level: "warn", headline: `This node is ${state}`, advice: [ready.progress, ...failing].filter(Boolean).join(" · ") || "Wait: the page goes on by itself.", findings: [] };
  }
  return { level: "bad", headline: "This node does not answer", advice: `${error.message}. See that its process runs (vecraft health), or open the console of another node. Asking again by itself.`, findings: [] };
}
