internal import ControlPlane
internal import Gateway
internal import JournalService
internal import JournalStore
internal import Logging
internal import MetaManager
internal import MetricsExporter
internal import Observability
internal import Placement
internal import Primitives
internal import Raft
internal import ServiceHost
internal import StorageNode

/// What goes on beside a node's work, until it is cancelled.
struct NodeWatch: Sendable {
    fileprivate var tasks: [Task<Void, Never>] = []
    fileprivate var collectors: [CollectorHandle] = []

    func cancel() {
        for task in self.tasks { task.cancel() }
        for collector in self.collectors { collector.cancel() }
    }
}

extension ServedNode {
    /// What every process shows, whatever its role: itself, its machine, its services, its certificates.
    func exportProcess() {
        _ = ProcessMetrics(self.registry, version: Build.version, revision: Build.revision)
        let readiness = self.readiness
        let hasGateway = self.answersClients && self.settings.node.roles != [.journal]
        let exporter = NodeExporter(NodeMetrics(self.registry), directory: self.settings.node.dataDirectory) {
            let results = readiness.results
            let isServing = readiness.state == .ready
            var services = results.map { NodeExporter.Service(Self.service(of: $0.name), isUp: $0.ok) }
            if hasGateway { services.append(.init("gateway", isUp: isServing)) }
            return (isServing && results.allSatisfy(\.ok), services)
        }
        self.registry.onScrape { exporter.collect() }
        self.exportCertificates()
    }

    /// The service that a readiness check speaks for.
    private static func service(of check: String) -> String {
        switch check {
        case "metadata": "meta"
        case "replay": "storage"
        case "cluster": "control"
        default: check
        }
    }

    private func exportCertificates() {
        var files: [(listener: String, file: String)] = []
        if !self.settings.grpc.tlsCertificate.isEmpty {
            files.append(("grpc", self.settings.grpc.tlsCertificate))
            if self.settings.cluster.isClustered { files.append(("peer", self.settings.grpc.tlsCertificate)) }
        }
        if !self.settings.http.tlsCertificate.isEmpty { files.append(("http", self.settings.http.tlsCertificate)) }
        guard !files.isEmpty else { return }
        let metrics = CertificateMetrics(self.registry)
        for (listener, file) in files {
            do throws(VecraftError) { try metrics.show(listener, file: file) } catch {
                // The listener itself will say so, and end the start.
                self.log.warning(
                    "no certificate to watch", metadata: ["listener": "\(listener)", "error": "\(error.message)"])
            }
        }
    }

    /// Service levels, the check of acknowledged writes and the canary: of a node that answers clients.
    func watch(_ parts: Parts) -> NodeWatch {
        guard self.answersClients, self.settings.metrics.enabled else { return NodeWatch() }
        var watch = NodeWatch()
        let requests = RequestMetrics(self.registry)
        let levels = ServiceLevelReporting(requests)
        watch.collectors.append(
            self.registry.onScrape {
                levels.collect()
                requests.show(Self.load(parts, self.settings))
            })
        watch.tasks.append(Self.every(ServiceLevelReporting.interval) { levels.collect() })
        watch.tasks.append(Self.every(.seconds(1)) { await parts.gateway.checkCoverage() })
        let seconds = self.settings.metrics.canarySeconds
        if seconds > 0 {
            let id = parts.member?.id.rawValue ?? UInt64(self.settings.cluster.nodeID)
            let canary = Canary(parts.gateway, node: "node-\(id)", CanaryMetrics(self.registry))
            let readiness = self.readiness
            watch.tasks.append(Task { await canary.run(every: .seconds(seconds)) { readiness.state == .ready } })
        }
        return watch
    }

    private static func every(_ interval: Duration, _ body: @escaping @Sendable () async -> Void) -> Task<Void, Never> {
        Task {
            while !Task.isCancelled {
                await body()
                do { try await Task.sleep(for: interval) } catch { return }
            }
        }
    }

    private static func load(_ parts: Parts, _ settings: Settings) -> NodeLoad {
        var load = NodeLoad()
        let queue = settings.journal.queueBytes
        load.places.append(
            .init(
                "journal", used: parts.journalReporting.longestQueue,
                limits: Dictionary(uniqueKeysWithValues: Tier.allCases.map { ($0, queue / 16 * QueueShare.of($0)) })))
        let waiting = parts.storage.partitions.map(\.waiters.waiting).max() ?? 0
        load.places.append(.init("storage", used: waiting, limits: [.interactive: AppliedWaiters.maxWaiting]))
        for (name, used, limit) in parts.gateway.load {
            let isWrites = name == "writes"
            load.places.append(
                .init(
                    isWrites ? "gateway" : name, used: used,
                    limits: isWrites ? [.interactive: limit, .batch: limit] : [.interactive: limit]))
        }
        load.isDiskFull = parts.journalReporting.isDiskFull
        load.hasFailedJournal = !parts.journalReporting.failed.isEmpty
        load.lacksLeader = parts.journal.replicated?.replicas.contains { !$0.status.isReady } ?? false
        load.isCatalogStopped = parts.meta.standstill != nil
        load.isReplayStopped = parts.storage.partitions.contains { $0.standstill != nil }
        for replay in parts.storage.partitions {
            let lag = replay.lag
            // A replica that has heard of nothing to apply is as fresh as its leader's last word, which is no lag of replay.
            if lag.entries > 0 { load.replayLagMilliseconds = max(load.replayLagMilliseconds, lag.milliseconds) }
        }
        return load
    }
}
