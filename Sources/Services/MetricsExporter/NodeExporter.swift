internal import Glibc
package import Observability
internal import Synchronization

/// The machine a node runs on, and its services, as Prometheus sees them.
package struct NodeMetrics: Sendable {
    package let cpuUtilization: GaugeFamily
    package let cpuSeconds: CounterFamily
    package let memory: GaugeFamily
    package let disk: GaugeFamily
    package let diskIO: CounterFamily
    package let network: CounterFamily
    package let serviceUp: GaugeFamily
    package let ready: GaugeFamily

    package init(_ registry: MetricsRegistry) {
        self.cpuUtilization = registry.gauge(
            "vecraft_node_cpu_utilization_ratio",
            help:
                "Part of the CPUs in use since the last reading: of those the process's cgroup may use, else of the machine.",
            labels: [])
        self.cpuSeconds = registry.counter(
            "vecraft_node_cpu_seconds_total", help: "CPU time of the machine, by what it was spent on.",
            labels: ["mode"])
        self.memory = registry.gauge(
            "vecraft_node_memory_bytes",
            help: "Memory that the process may use, by the cgroup's limit or the machine's.",
            labels: ["state"])
        self.disk = registry.gauge(
            "vecraft_node_disk_bytes", help: "The file system with the data directory.", labels: ["state"])
        self.diskIO = registry.counter(
            "vecraft_node_disk_io_bytes_total", help: "Bytes that this process caused storage to read and write.",
            labels: ["direction"])
        self.network = registry.counter(
            "vecraft_node_network_bytes_total",
            help: "Bytes of the machine's network interfaces; of the loopback if there is no other.",
            labels: ["direction"])
        self.serviceUp = registry.gauge(
            "vecraft_node_service_up", help: "1 while a service of the node finds nothing wrong with itself.",
            labels: ["service"])
        self.ready = registry.gauge(
            "vecraft_node_ready", help: "1 while /readyz says that requests may be sent.", labels: [])
    }
}

/// Reads the machine when somebody scrapes, at most once in ``minimumAge``.
package final class NodeExporter: Sendable {
    package struct Service: Sendable, Equatable {
        package var name: String
        package var isUp: Bool
        package init(_ name: String, isUp: Bool) {
            self.name = name
            self.isUp = isUp
        }
    }

    package static let minimumAge: UInt64 = 1_000_000_000

    private struct State {
        var reading: NodeReading
        /// Monotonic nanoseconds.
        var at: UInt64
        var isShown = false
    }

    private let metrics: NodeMetrics
    private let directory: String
    private let root: String
    private let services: @Sendable () -> (ready: Bool, services: [Service])
    private let state: Mutex<State>

    /// - Parameters:
    ///   - directory: The data directory.
    ///   - root: Where `proc` and `sys` are; "" for the system's own.
    ///   - services: Must answer at once from what is known.
    package init(
        _ metrics: NodeMetrics, directory: String, root: String = "", now: UInt64 = SystemTime.monotonicNanoseconds,
        services: @escaping @Sendable () -> (ready: Bool, services: [Service])
    ) {
        self.metrics = metrics
        self.directory = directory
        self.root = root
        self.services = services
        self.state = Mutex(State(reading: NodeReading(root: root), at: now))
    }

    /// For the scrape.
    package func collect(now: UInt64 = SystemTime.monotonicNanoseconds) {
        let (ready, services) = self.services()
        self.metrics.ready.with([]).set(ready ? 1 : 0)
        for service in services { self.metrics.serviceUp.with(service.name).set(service.isUp ? 1 : 0) }
        self.state.withLock { state in
            let age = now - min(state.at, now)
            guard age >= Self.minimumAge || !state.isShown else { return }
            let reading = NodeReading(root: self.root)
            self.show(reading, since: state.reading, nanoseconds: age)
            state = State(reading: reading, at: now, isShown: true)
        }
    }

    private func show(_ reading: NodeReading, since earlier: NodeReading, nanoseconds: UInt64) {
        if let part = reading.cpuUtilization(since: earlier, seconds: Double(nanoseconds) / 1e9) {
            self.metrics.cpuUtilization.with([]).set(part)
        }
        if let cpu = reading.cpu {
            let second = Double(sysconf(Int32(_SC_CLK_TCK)))
            for (mode, ticks) in [
                ("user", cpu.user), ("system", cpu.system), ("iowait", cpu.iowait), ("steal", cpu.steal),
                ("idle", cpu.idle),
            ] { self.metrics.cpuSeconds.with(mode).mirror(seconds: Double(ticks) / second) }
        }
        if let memory = reading.memory {
            self.metrics.memory.with("total").set(memory.total)
            self.metrics.memory.with("available").set(memory.available)
            self.metrics.memory.with("used").set(memory.total - min(memory.available, memory.total))
        }
        if let disk = NodeReading.disk(self.directory) {
            self.metrics.disk.with("total").set(disk.total)
            self.metrics.disk.with("free").set(disk.free)
        }
        if let storage = reading.storage {
            self.metrics.diskIO.with("read").mirror(storage.read)
            self.metrics.diskIO.with("written").mirror(storage.written)
        }
        if let network = reading.network {
            self.metrics.network.with("received").mirror(network.received)
            self.metrics.network.with("sent").mirror(network.sent)
        }
    }
}
