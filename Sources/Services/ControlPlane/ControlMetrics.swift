package import Observability

/// Of the control plane, on every node; most say something only where the controller leads.
package struct ControlMetrics: Sendable {
    let isController: Gauge
    let epoch: Gauge
    let storeReachable: Gauge
    let decisions: CounterFamily
    let refused: Counter
    let blocked: Gauge
    let nodes: GaugeFamily
    let transitions: CounterFamily
    let replicas: GaugeFamily
    let missing: Gauge
    let planSeconds: Histogram

    package init(_ registry: MetricsRegistry) {
        self.isController = registry.gauge(
            "vecraft_control_is_controller", help: "1 while this node decides for the cluster.")
        self.epoch = registry.gauge("vecraft_control_map_epoch", help: "Epoch of the cluster map that this node knows.")
        self.storeReachable = registry.gauge(
            "vecraft_control_metadata_reachable", help: "1 while the metadata store (etcd) answers this node.")
        self.decisions = registry.counter(
            "vecraft_control_decisions_total", help: "Decisions written to the cluster map by this node, by kind.",
            labels: ["kind"])
        self.refused = registry.counter(
            "vecraft_control_refused_decisions_total",
            help: "Decisions that came too late: the map had changed meanwhile.")
        self.blocked = registry.gauge(
            "vecraft_control_blocked", help: "Things that are needed and cannot be had now, as the controller sees it.")
        self.nodes = registry.gauge(
            "vecraft_control_nodes", help: "Nodes of the cluster by health, as the controller sees it.",
            labels: ["health"])
        self.transitions = registry.counter(
            "vecraft_control_health_changes_total", help: "Changes of nodes' health, by what it became.",
            labels: ["health"])
        self.replicas = registry.gauge(
            "vecraft_control_shard_replicas", help: "Shard replicas in the cluster map, by state.", labels: ["state"])
        self.missing = registry.gauge(
            "vecraft_control_missing_replicas", help: "Copies that shards want and have not, as the controller sees it."
        )
        self.planSeconds = registry.histogram("vecraft_control_plan_seconds", help: "Time to make one plan.")
    }

    /// For the scrape.
    package func show(epoch: UInt64, isStoreReachable: Bool) {
        self.epoch.set(epoch)
        self.storeReachable.set(isStoreReachable ? 1 : 0)
    }
}
