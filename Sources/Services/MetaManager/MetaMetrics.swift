package import Observability

/// The catalog's metrics.
package struct MetaMetrics: Sendable {
    /// Of the metadata store: each was followed by a rebuilding from `sys-0`.
    package let quarantined: Counter

    package init(_ registry: MetricsRegistry) {
        self.quarantined = registry.counter(
            "vecraft_meta_quarantined_copies_total",
            help: "Copies of the catalog that could not be trusted, put aside and rebuilt from the journal.")
    }
}
