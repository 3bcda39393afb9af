internal import ControlPlane
internal import Gateway
internal import HTTP
internal import JournalService
internal import Lineage
internal import MetaManager
internal import MetricsExporter
internal import Observability
internal import OpenTelemetry
internal import PeerTransport
internal import QueryProcessor
internal import StorageNode

/// Every metric that a process of this program can show, whatever its role and settings.
///
/// Made by the same declarations that a node makes; a test scrapes nodes and finds nothing that is not here.
enum DeclaredMetrics {
    static var all: [MetricDeclaration] {
        let registry = MetricsRegistry()
        _ = LogControl(registry: registry) { _ in }
        _ = SpanSink(capacity: 1, registry: registry)
        _ = SpanExportMetrics(registry)
        _ = ProcessMetrics(registry, version: Build.version, revision: Build.revision)
        _ = RequestMetrics(registry)
        _ = CanaryMetrics(registry)
        _ = CertificateMetrics(registry)
        _ = ControlMetrics(registry)
        _ = CoverageMetrics(registry)
        _ = FanOutMetrics(registry)
        _ = HTTPMetrics(registry)
        _ = JournalMetrics(registry)
        _ = LineageMetrics(registry)
        _ = MetaMetrics(registry)
        _ = NodeMetrics(registry)
        _ = PeerMetrics(registry)
        _ = QueryMetrics(registry)
        _ = RaftReporting(registry)
        _ = ResultCacheMetrics(registry)
        _ = StorageMetrics(registry)
        _ = WireMetrics(registry)
        return registry.declarations
    }
}
