internal import GRPC
internal import Observability
internal import Primitives
internal import Synchronization

/// Metrics of the gRPC wire, by method: every method served and "unknown".
final class WireMetrics: GRPCObserver {
    private final class Method: Sendable {
        let duration: Histogram
        let running: Gauge
        let total: [Counter]

        init(duration: Histogram, running: Gauge, total: [Counter]) {
            self.duration = duration
            self.running = running
            self.total = total
        }
    }
    private let durations: HistogramFamily
    private let runnings: GaugeFamily
    private let totals: CounterFamily
    private let connections: Gauge
    private let refused: Counter
    private let received: Counter
    private let sent: Counter
    private let methods = Mutex<[Method]>([])

    init(_ registry: MetricsRegistry) {
        self.durations = registry.histogram(
            "vecraft_grpc_request_duration_seconds", help: "Time from a call's headers to its status, by method.",
            labels: ["method"])
        self.runnings = registry.gauge("vecraft_grpc_requests_running", help: "Calls being served, by method.", labels: ["method"])
        self.totals = registry.counter(
            "vecraft_grpc_requests_total", help: "Calls answered, by method and status.", labels: ["method", "code"])
        self.connections = registry.gauge("vecraft_grpc_connections", help: "Open connections.")
        self.refused = registry.counter(
            "vecraft_grpc_connections_refused_total", help: "Connections turned away because too many were open.")
        self.received = registry.counter("vecraft_grpc_received_bytes_total", help: "Bytes of request messages.")
        self.sent = registry.counter("vecraft_grpc_sent_bytes_total", help: "Bytes of reply messages.")
    }

    func prepare(methods: [String]) {
        let made = methods.map { path in
            Method(
                duration: self.durations.with(path), running: self.runnings.with(path),
                total: VecraftError.Code.allCases.map { self.totals.with(path, $0.name) })
        }
        self.methods.withLock { $0 = made }
    }

    func connectionOpened() { self.connections.add(1) }
    func connectionClosed(bytesIn: Int, bytesOut: Int) { self.connections.add(-1) }
    func connectionRefused() { self.refused.increment() }
    func callStarted(method: Int) { self.methods.withLock { $0[method] }.running.add(1) }

    func callFinished(method: Int, code: VecraftError.Code, seconds: Double, bytesIn: Int, bytesOut: Int) {
        let handles = self.methods.withLock { $0[method] }
        handles.running.add(-1)
        handles.duration.observe(seconds)
        handles.total[code.rawValue].increment()
        self.received.increment(by: UInt64(bytesIn))
        self.sent.increment(by: UInt64(bytesOut))
    }
}
