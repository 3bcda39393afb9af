// Run in the console's own page: its modules that need no page, against cases written out. Returns what did not come out as wanted.
(async () => {
  const health = await import("/console/health.js");
  const metrics = await import("/console/metrics.js");
  const { parseFilter } = await import("/console/filter.js");
  const { project } = await import("/console/pca.js");
  const { steps, niceScale } = await import("/console/timeline.js");
  const format = await import("/console/format.js");
  const failures = [];
  let count = 0;
  const same = (name, got, wanted) => {
    count += 1;
    if (JSON.stringify(got) !== JSON.stringify(wanted)) failures.push(`${name}: got ${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`);
  };
  const holds = (name, condition, got) => { count += 1; if (!condition) failures.push(`${name}: ${JSON.stringify(got)}`); };

  // Three nodes as they should be, and what can be wrong with them.
  const node = (id, change = {}) => ({
    id: String(id), name: `node-${id}`, roles: ["all"], zone: "", state: "active", condition: "ready", peer_address: `10.0.0.${id}:7402`,
    http_address: `10.0.0.${id}:7401`, lag_entries: "0", lag_bytes: "0", lag_ms: "40", disk_free_bytes: "50", disk_total_bytes: "100",
    uptime_ms: "1", problem: "", shards: 2, leads: [], ...change,
  });
  const copy = (id, change = {}) => ({ node: String(id), state: "live", condition: "ready", points: "10", applied_offset: "5", progress: 1, remaining_ms: "0", ...change });
  const overview = (change = {}) => ({
    cluster_id: "c", map_epoch: "3", controller: "1", metadata_reachable: true, node: "1", problems: [],
    nodes: [node(1), node(2), node(3)],
    partitions: ["data-0", "sys-0"].map((partition) => ({ partition, leader: "1", term: "1", voters: ["1", "2", "3"], learners: [], wanted: 3, committed_offset: "5" })),
    shards: [{ collection_id: "9", tenant: "default", collection: "p", shard: 0, partition: "data-0", wanted: 2, replicas: [copy(1), copy(2)] }],
    ...change,
  });
  const line = (change, budgets) => { const v = health.verdict(overview(change), budgets); return [v.level, v.headline, v.findings.length]; };
  const gone = { condition: "", problem: "it does not answer" };
  same("all well", line({}), ["good", "Everything is as it should be", 0]);
  same("a node gone", line({ nodes: [node(1), node(2), node(3, gone)], problems: ["node 3 does not answer"] }), ["warn", "node-3 does not answer", 1]);
  holds("and its risk", health.verdict(overview({ nodes: [node(1), node(2), node(3, gone)] })).advice.includes("one more lost node would stop writes"));
  const leaderless = overview().partitions.map((each) => ({ ...each, leader: "0" }));
  same("two nodes gone", line({
    nodes: [node(1, { problem: "journal: no leader of data-0, sys-0" }), node(2, gone), node(3, gone)], partitions: leaderless,
    shards: [{ ...overview().shards[0], replicas: [copy(1), copy(2, { condition: "" })] }],
    problems: ["data-0 has no leader", "sys-0 has no leader", "cannot be had now: data-0: no leader is known"],
  }).slice(0, 2), ["bad", "No journal partition has a leader: writes there are refused"]);
  same("an election", line({ partitions: [leaderless[0], overview().partitions[1]] }), ["bad", "data-0 has no leader: writes there are refused", 1]);
  same("etcd gone", line({ metadata_reachable: false, controller: "0", problems: ["the metadata store: no answer; this is the last map known, and nothing is repaired"] }),
    ["warn", "etcd does not answer: reads and writes go on, but nothing is repaired", 1]);
  same("nobody decides", line({ controller: "0", problems: ["no node decides for the cluster at the moment"] }), ["warn", "No node decides for the cluster, so nothing is repaired", 1]);
  same("behind", line({ nodes: [node(1), node(2, { lag_entries: "1200", lag_ms: "90", lag_bytes: "10" }), node(3)] }), ["warn", "node-2 replays 1,200 entries (10 B, 90 ms) behind its journal", 1]);
  same("cut off", line({ nodes: [node(1), node(2, { lag_ms: "700" }), node(3)] }), ["warn", "node-2 has heard nothing of a leader of its journal for 700 ms", 1]);
  same("an idle cluster", line({ nodes: [node(1), node(2, { lag_ms: "60" }), node(3)] }).slice(0, 1), ["good"]);
  same("a full disk", line({ nodes: [node(1), node(2, { disk_free_bytes: "4" }), node(3)] }), ["bad", "node-2 has 4 % of its disk free (4 B)", 1]);
  same("a copy missing", line({ shards: [{ ...overview().shards[0], replicas: [copy(1)] }], problems: ["shard p/0 has 1 of 2 copies ready"] }),
    ["warn", "1 of 1 shard has fewer copies than wanted (p/0)", 1]);
  same("no copy", line({ shards: [{ ...overview().shards[0], replicas: [copy(1, { condition: "lost" })] }] }), ["bad", "p/0: no copy is ready, so searches there fail", 1]);
  same("drained", line({ nodes: [node(1), node(2), node(3, { state: "drained" })] }), ["good", "Everything is as it should be", 1]);
  same("what is new to the console", line({ problems: ["the moon is full"] }), ["warn", "the moon is full", 1]);
  same("burning", line({}, [{ index: 1, name: "interactive", remaining: 0.5, burn: { "1h": 20 } }]), ["warn", "Tier 1 (interactive) burns its error budget at 20.0 times the rate it may", 1]);
  same("a node alone", health.verdict({ cluster_id: "", nodes: [node(1)], partitions: [], shards: [], problems: [] }).headline, "Everything is as it should be");
  same("a node with fixed peers", health.verdict({ cluster_id: "", nodes: [node(2)], partitions: overview().partitions, shards: [], problems: [] }).headline, "This node is as it should be");
  same("a node alone that starts", health.verdict({
    cluster_id: "", nodes: [node(1, { condition: "replaying", problem: "replay: 5 entries behind" })], problems: ["this node is replaying", "replay: 5 entries behind"],
  }).findings.map((each) => each.what), ["This node: replay: 5 entries behind"]);
  same("nothing known of it", health.findings({}), []);

  // Filters, as the command line reads them.
  same("one term", parseFilter("section=games"), { must: [{ key: "section", match: { value: "games" } }] });
  same("several", parseFilter(" section = games  installed_kib<=1000 "), { must: [{ key: "section", match: { value: "games" } }, { key: "installed_kib", range: { lte: 1000 } }] });
  same("either, and not", parseFilter("a=x|2 b!=\"two words\""), { must: [{ key: "a", match: { any: ["x", 2] } }], must_not: [{ key: "b", match: { value: "two words" } }] });
  same("null", parseFilter("a=null b=true c=007"), { must: [{ is_null: { key: "a" } }, { key: "b", match: { value: true } }, { key: "c", match: { value: "007" } }] });
  same("JSON", parseFilter('{"must":[]}'), { must: [] });
  same("nothing", parseFilter("  "), null);
  for (const wrong of ["games", "a<b", "=x", "a=", "{"]) {
    let said = null;
    try { parseFilter(wrong); } catch (error) { said = error.message; }
    holds(`"${wrong}" is refused`, said !== null, said);
  }

  // The text format of Prometheus.
  const page = ["# HELP x y", "vecraft_request_total{tier=\"batch\",operation=\"upsert\",status=\"OK\"} 90",
    "vecraft_request_total{tier=\"batch\",operation=\"up}s\\\"ert\",status=\"INTERNAL\"} 10 1700000000", "vecraft_error_budget_remaining{tier=\"batch\"} 0.25",
    "vecraft_slo_burn_rate{tier=\"batch\",window=\"1h\"} 2.5", "vecraft_request_totals 7", "broken{ 3",
    ...[["0.1", 50], ["0.2", 98], ["+Inf", 100]].map(([le, n]) => `vecraft_request_duration_seconds_bucket{tier="batch",operation="upsert",le="${le}"} ${n}`)].join("\n");
  const levels = new metrics.ServiceLevels();
  const batch = levels.take(page, 0)[2];
  same("counts", [batch.ever.total, batch.ever.failed, batch.remaining, batch.burn], [100, 10, 0.25, { "5m": null, "1h": 2.5, "6h": null }]);
  same("p99 beyond the last bound", batch.ever.p99, { value: 0.2, bound: true });
  const later = levels.take(page.replace("} 90", "} 190").replace("le=\"0.1\"} 50", "le=\"0.1\"} 150").replace("} 98", "} 198").replace("} 100", "} 200"), 10_000)[2];
  same("between two pages", [later.recent.total, later.recent.failed, later.seconds], [100, 0, 10]);
  holds("p99 between two pages", Math.abs(later.recent.p99.value - 0.099) < 1e-9, later.recent.p99);
  same("no metrics at all", new metrics.ServiceLevels().take("", 0)[1].ever, { total: 0, failed: 0, p99: null });

  // A cloud that is long in one direction, wide in another, and flat in the rest.
  const n = 400, d = 20, data = new Float32Array(n * d);
  const noise = (i) => Math.sin(i * 12.9898) * 43758.5453 % 1;
  for (let i = 0; i < n; i++) { data[i * d + 3] = 10 * noise(i + 1); data[i * d + 7] = 3 * noise(i + 1000); data[i * d + 11] = 0.01 * noise(i + 3000) + 5; }
  const kept = Float32Array.from(data);
  const { x, y, explained } = project(data, n, d);
  holds("two directions say all", explained[0] + explained[1] > 0.9999 && explained[0] > explained[1], explained);
  const distance = (a, b) => Math.hypot(...Array.from({ length: d }, (_, j) => kept[a * d + j] - kept[b * d + j]));
  holds("distances stay", [[0, 1], [5, 300], [17, 44]].every(([a, b]) => Math.abs(distance(a, b) - Math.hypot(x[a] - x[b], y[a] - y[b])) < 0.02), null);
  holds("equal points", project(new Float32Array(30), 10, 3).explained.every((part) => part === 0), null);

  // Stamps beyond 2^53, and an entry's way.
  same("a stamp", format.hlcTime("117697120082067458"), "2026-11-29 01:25:28.596 UTC");
  const at = (ms, counter = 0) => String((1795915528000n + BigInt(ms)) << 16n | BigInt(counter));
  same("steps", steps({
    spans: [{ name: "appended", start_hlc: at(5), end_hlc: at(9) }, { name: "received", start_hlc: at(0, 1), end_hlc: at(0, 2) }, { name: "routed", start_hlc: at(0, 2), end_hlc: at(0, 3) }],
    receipts: [{ replica: "b", applied_hlc: at(30) }, { replica: "a", applied_hlc: at(12) }, { replica: "never", applied_hlc: "0" }, {}],
  }).map((step) => [step.name, step.where, step.from, step.to]),
  [["received", "gateway", 0, 0], ["routed", "gateway", 0, 0], ["appended", "journal", 5, 9], ["applied", "a", 12, 12], ["applied", "b", 30, 30]]);
  same("no steps", steps({}), []);
  same("scales", [1, 8, 9, 26, 1000].map((last) => { const { step, end } = niceScale(last); return [step, end]; }), [[1, 1], [1, 8], [2, 10], [5, 30], [200, 1000]]);
  return { count, failures };
})()
