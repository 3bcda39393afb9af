internal import CPlatform
internal import ControlPlane
internal import Etcd
internal import FileStore
internal import Foundation
internal import GRPC
internal import Gateway
internal import HLC
internal import HTTP
internal import JournalService
internal import JournalStore
internal import Lineage
internal import Logging
internal import MetaManager
internal import Metadata
internal import Metrics
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import Placement
internal import Primitives
internal import QueryProcessor
internal import Raft
internal import ServiceHost
internal import StorageNode
internal import Synchronization

/// All services of one process, put together in the order in which they need each other, and taken apart in reverse.
final class ServedNode: Sendable {
    let settings: Settings
    let registry: MetricsRegistry
    let readiness: Readiness
    let addresses = Addresses()
    let files = PosixFileStore()
    let group: MultiThreadedEventLoopGroup
    let log = Logger(label: "vecraft")
    let waiting = WaitingFor()
    /// By the steady clock: a wall clock that is set back must not make a node older than it is, or younger than nothing.
    let startedMilliseconds = SystemTime.steadyNanoseconds / 1_000_000

    private static let loopTurnMicroseconds: UInt32 = 100

    /// Serves until a signal ends it.
    static func serve(_ settings: Settings, _ signals: TerminationSignals) async throws {
        if settings.cluster.runsItself {
            _ = try settings.clusterRoles()
        } else if settings.node.roles != [.all], settings.node.roles != [.journal] {
            throw VecraftError(
                .invalidArgument,
                "node.roles: outside a cluster that runs itself (cluster.etcd) a node has all roles, or is the journal alone: \"all\" or \"journal\"",
                field: "node.roles")
        }
        DescriptorLimit.raise()
        let registry = MetricsRegistry(isOn: settings.metrics.enabled)
        LogControl(level: settings.log.level, format: settings.log.format, registry: registry).bootstrap()
        MetricsSystem.bootstrap(MetricsBridge(registry))
        let node = ServedNode(settings, registry)
        let traces = try NodeTraces.begin(node)
        if settings.node.roles == [.journal], !settings.cluster.runsItself {
            return try await node.runJournal(signals, traces)
        }
        try await node.run(signals, traces)
    }

    private init(_ settings: Settings, _ registry: MetricsRegistry) {
        self.settings = settings
        self.registry = registry
        self.readiness = Readiness()
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: System.coreCount)
        // What they do takes some tens of microseconds, and somebody waits for it; builders of graphs run for long.
        for loop in self.group.makeIterator() { loop.execute { _ = vc_thread_turns(Self.loopTurnMicroseconds) } }
    }

    private func run(_ signals: TerminationSignals, _ traces: NodeTraces?) async throws {
        self.exportProcess()
        // Before all else: a start may take long, and who watches must not take the node for dead.
        let http = try self.httpServer(isStarting: true)
        let (failures, failed) = AsyncStream<any Error>.makeStream(bufferingPolicy: .bufferingNewest(1))
        // A task of its own, for it outlives the opening and is ended by the server's shutdown.
        let web = Task {
            do { try await self.serveHTTP(http) } catch {
                failed.yield(error)
                throw error
            }
        }
        let opened: Parts?
        do { opened = try await self.openUnlessStopped(signals, http, web, failures, traces?.tracer) } catch {
            await traces?.end()
            throw error
        }
        guard let parts = opened else { return await traces?.end() ?? () }
        let shutdown = ShutdownTrace(self.log)
        var failure: (any Error)?
        do {
            try await self.serve(parts, signals, shutdown)
        } catch {
            failure = error
        }
        await self.close(parts, shutdown, traces)
        if let failure { throw failure }
    }

    // MARK: Putting together

    struct Parts: Sendable {
        let journal: NodeJournal
        let journalReporting: JournalReporting
        let store: SQLiteMetadataStore
        let meta: MetaManager
        let storage: StorageNode
        let gateway: Gateway
        let grpc: GRPCServer
        let http: HTTPServer
        /// Runs `http`.
        let web: Task<Void, any Error>
        /// What scrapes ask first.
        let collectors: [CollectorHandle]
        /// Committed offsets at start: ready when they are applied.
        let goals: ReplayGoals
        /// In a cluster: builds the shards that the journal does not reach back to.
        let builder: ShardBuilder?
        /// In a cluster that runs itself.
        let member: ClusterMember?
        /// Of the data directory, there.
        let lock: (any FileLock)?

        var isBuilding: Bool { self.builder.map { !$0.isDone } ?? false }
        /// What the start is busy with.
        var progress: String {
            guard let builder, !builder.isDone else { return self.goals.description }
            return self.goals.isReached ? builder.description : "\(builder.description); \(self.goals)"
        }
    }

    /// A start may wait for other nodes; a signal ends that too, and so does a port that cannot be had.
    private func openUnlessStopped(
        _ signals: TerminationSignals, _ http: HTTPServer, _ web: Task<Void, any Error>,
        _ failures: AsyncStream<any Error>, _ tracer: SpanTracer?
    ) async throws -> Parts? {
        do {
            let parts = try await self.openInTime(signals, http, web, failures, tracer)
            if parts == nil { await self.stopHTTP(http, web) }
            return parts
        } catch {
            await self.stopHTTP(http, web)
            throw error
        }
    }

    private func stopHTTP(_ http: HTTPServer, _ web: Task<Void, any Error>) async {
        self.readiness.enter(.draining)
        await http.shutDown()
        _ = await web.result
    }

    private func openInTime(
        _ signals: TerminationSignals, _ http: HTTPServer, _ web: Task<Void, any Error>,
        _ failures: AsyncStream<any Error>, _ tracer: SpanTracer?
    ) async throws -> Parts? {
        guard self.settings.cluster.isClustered else { return try await self.open(http, web, tracer) }
        return try await withThrowingTaskGroup(of: Parts?.self) { group in
            group.addTask { try await self.open(http, web, tracer) }
            group.addTask {
                guard let signal = await signals.first() else {
                    // Cancelled: the other task decides.
                    return nil
                }
                self.log.notice("stopping before the start was done", metadata: ["signal": "\(signal.name)"])
                return nil
            }
            group.addTask {
                for await failure in failures { throw failure }
                return nil
            }
            defer { group.cancelAll() }
            do { return try await group.next() ?? nil } catch is CancellationError { return nil }
        }
    }

    func prepareDirectory() throws(VecraftError) -> String {
        let directory = self.settings.node.dataDirectory
        do throws(FileFault) {
            try self.files.createDirectory(directory)
            // What is there and no folder is found out now, and not by whoever first writes into it.
            _ = try self.files.list(directory)
        } catch {
            throw VecraftError(
                .invalidArgument, "node.data_directory: \(directory) cannot be used as a folder: \(error)",
                field: "node.data_directory")
        }
        return directory
    }

    /// - Parameter methods: What the listener for peers serves beside the journal's own.
    func openJournal(
        _ directory: String, methods: [String: GRPCMethod] = [:]
    ) async throws -> (NodeJournal, JournalReporting) {
        let reporting = self.journalReporting(directory)
        let journal = try await NodeJournal.open(
            self.settings, directory: directory, files: self.files, registry: self.registry, reporting: reporting,
            group: self.group, methods: methods)
        return (journal, reporting)
    }

    private func openJournal(
        _ directory: String, place: ClusterPlace?, methods: [String: GRPCMethod]
    ) async throws -> (NodeJournal, JournalReporting) {
        guard let place else { return try await self.openJournal(directory, methods: methods) }
        do { return try await self.openJournal(place, directory, methods) } catch {
            await place.leave()
            throw error
        }
    }

    func journalReporting(_ directory: String) -> JournalReporting {
        let reserve = self.settings.journal.reserveBytes
        return JournalReporting(JournalMetrics(self.registry)) { [files] in
            ((try? files.freeBytes(directory)) ?? 0) > reserve
        }
    }

    private func open(
        _ http: HTTPServer, _ web: Task<Void, any Error>, _ tracer: SpanTracer?
    ) async throws -> Parts {
        let directory = try self.prepareDirectory()
        let reads = PeerReads()
        let place = try await self.takePlace(directory)
        let shardTransfer = self.settings.shardTransfer(own: place?.member.id.rawValue)
        let transfer = ShardTransferService(shardTransfer)
        let peerLineage = PeerLineage()
        let methods = transfer.methods.merging(reads.methods) { own, _ in own }.merging(peerLineage.methods) { own, _ in
            own
        }
        let (journal, reporting) = try await self.openJournal(directory, place: place, methods: methods)
        let member = place?.member
        let clock = journal.clock
        self.registerJournalCheck(journal, reporting)
        let collectors = self.collectors(journal, reporting)
        do {
            try await journal.catchUp { [log, readiness] what in
                readiness.enter(.starting, progress: "waiting for the other nodes: \(what)")
                log.notice("waiting for the other nodes", metadata: ["for": "\(what)"])
            }
            let (store, copy) = try await self.openCatalogCopy(Paths.join(directory, "metadata.sqlite"), journal.client)
            let meta = MetaManager(journal: journal.client, copy: copy)
            try meta.load()
            let reached: (@Sendable () -> UInt64)? = journal.replicated == nil ? nil : { @Sendable in meta.reachedHLC }
            let placement: any ShardDirectory = member.map { $0.placement() } ?? self.placement(journal)
            var node = self.settings.storage.node
            node.buildsFromPeers = member != nil || !(journal.replicated?.clients.nodes ?? []).isEmpty
            let storage = try StorageNode(
                directory: directory, settings: node, journal: journal.client, clock: clock,
                files: self.files, metrics: StorageMetrics(self.registry), catalogReached: reached,
                shards: placement, tracer: tracer)
            try storage.start(Array(meta.catalog.byID.values)) { (ids) throws(VecraftError) in
                try meta.dropped(among: ids)
            }
            try meta.start(CatalogToStorage(storage))
            transfer.serve(storage)
            journal.replicated?.limitTrims { (partition) throws(VecraftError) in
                try await storage.trimLimit(of: partition)
            }
            peerLineage.reach(journal.replicated?.clients, member)
            let lineage = LineageService(
                journal: journal.client, meta: meta, storage: storage, replica: self.replicaName(member),
                metrics: LineageMetrics(self.registry), maxReplyBytes: self.settings.grpc.maxMessageBytes,
                peers: peerLineage, reads: self.readLog(directory))
            let gateway = self.gateway(journal, meta, storage, placement, reads, lineage, tracer)
            reads.start(gateway, over: journal.replicated?.clients)
            peerLineage.start(gateway)
            if let member, let clients = journal.replicated?.clients {
                member.hold(storage, meta, client: ShardTransferClient(clients, shardTransfer))
            }
            let grpc = try self.grpcServer(gateway, member)
            http.complete(with: self.answersClients ? gateway.routes() + self.clusterRoutes(gateway, member) : [])
            return Parts(
                journal: journal, journalReporting: reporting, store: store, meta: meta, storage: storage,
                gateway: gateway, grpc: grpc, http: http, web: web, collectors: collectors, goals: ReplayGoals(storage),
                builder: journal.replicated.map {
                    ShardBuilder(storage, ShardTransferClient($0.clients, shardTransfer))
                }, member: member, lock: place?.lock)
        } catch {
            await member?.close()
            await journal.close()
            await place?.store.close()
            throw error
        }
    }

    /// The copy of the catalog; one that cannot be trusted is put aside for an empty one, since the journal has it all.
    private func openCatalogCopy(
        _ path: String, _ journal: any JournalClient
    ) async throws(VecraftError) -> (SQLiteMetadataStore, CatalogCopy) {
        let metrics = MetaMetrics(self.registry)
        do throws(VecraftError) {
            return try await Self.catalogCopy(path, journal)
        } catch {
            guard [MetadataDamage.reason, "NOT_METADATA", "FORMAT_TOO_NEW"].contains(error.reason) else { throw error }
            let aside = try SQLiteMetadataStore.putAside(path)
            metrics.quarantined.increment()
            self.log.error(
                "the copy of the catalog cannot be trusted; it is put aside and made anew from the journal",
                metadata: ["error": "\(error)", "file": "\(aside)"])
            return try await Self.catalogCopy(path, journal)
        }
    }

    private static func catalogCopy(
        _ path: String, _ journal: any JournalClient
    ) async throws(VecraftError) -> (SQLiteMetadataStore, CatalogCopy) {
        let store = try SQLiteMetadataStore(path: path)
        do throws(VecraftError) {
            return (store, try await CatalogCopy(store, journal: journal))
        } catch {
            try? store.close()
            throw error
        }
    }

    /// Which nodes hold which shards.
    private func placement(_ journal: NodeJournal) -> any ShardDirectory {
        guard let replicated = journal.replicated else { return EverythingHere() }
        let cluster = self.settings.cluster
        guard cluster.shardReplicas > 0 else {
            return EverythingEverywhere { replicated.clients.nodes.map(\.rawValue) }
        }
        // One that joins later holds none: the others, who say so too, do not know of it.
        let nodes = cluster.addresses.keys.filter { !cluster.join || $0 != cluster.nodeID }.map { UInt64($0) }
        return FixedPlacement(own: UInt64(cluster.nodeID), nodes: nodes, replicas: cluster.shardReplicas)
    }

    private func gateway(
        _ node: NodeJournal, _ meta: MetaManager, _ storage: StorageNode, _ placement: any ShardDirectory,
        _ peers: PeerReads,
        _ lineage: LineageService, _ tracer: SpanTracer?
    ) -> Gateway {
        let journal = node.client
        let name = self.settings.node.name.isEmpty ? ProcessInfo.processInfo.hostName : self.settings.node.name
        var settings = GatewaySettings()
        settings.defaultTimeout = .milliseconds(self.settings.query.defaultTimeoutMilliseconds)
        settings.maxTimeout = .milliseconds(self.settings.query.maxTimeoutMilliseconds)
        settings.maxReplyBytes = self.settings.grpc.maxMessageBytes
        let slow = self.settings.log.slowQueryMilliseconds
        settings.slowQueryNanoseconds = slow == 0 ? .max : UInt64(slow) * 1_000_000
        settings.recentWriters = max(1, self.settings.gateway.recentWriters)
        let status = NodeStatus(
            node: name, version: Build.version, revision: Build.revision,
            roles: self.settings.node.roles.map(\.rawValue),
            startedMilliseconds: self.startedMilliseconds, grpcAddress: { self.addresses.grpc },
            httpAddress: { self.addresses.http }, source: NodeState(self.readiness, ReplayGoals(storage)))
        return Gateway(
            settings: settings, clock: node.clock, journal: journal, meta: meta, storage: storage,
            query: QueryProcessor(storage: storage, journal: journal, metrics: QueryMetrics(self.registry)),
            lineage: lineage,
            requestMetrics: RequestMetrics(self.registry), status: status, placement: placement,
            peers: peers, fanOutMetrics: FanOutMetrics(self.registry), cache: self.resultCache,
            coverage: self.settings.metrics.enabled ? WriteCoverage(journal, CoverageMetrics(self.registry)) : nil,
            tracer: tracer)
    }

    /// How lineage calls this node.
    private func replicaName(_ member: ClusterMember?) -> String {
        if !self.settings.node.name.isEmpty { return self.settings.node.name }
        if let member { return "node \(member.id.rawValue)" }
        // Several nodes of a cluster may share a machine.
        return self.settings.cluster.isClustered
            ? "node \(self.settings.cluster.nodeID)" : ProcessInfo.processInfo.hostName
    }

    /// Notes are no reason not to start: on a full disk the node serves without them, and says so.
    private func readLog(_ directory: String) -> ReadLog? {
        let bytes = self.settings.lineage.readLogBytes
        guard bytes > 0 else { return nil }
        do throws(VecraftError) {
            return try ReadLog(
                directory: Paths.join(directory, "reads"), files: self.files, limitBytes: bytes,
                metrics: LineageMetrics(self.registry))
        } catch {
            self.log.error("answered reads are not noted", metadata: ["error": "\(error.message)"])
            return nil
        }
    }

    private var resultCache: ResultCache? {
        let bytes = self.settings.query.resultCacheBytes
        return bytes > 0 ? ResultCache(bytes: bytes, ResultCacheMetrics(self.registry)) : nil
    }

    private func grpcServer(_ gateway: Gateway, _ member: ClusterMember?) throws -> GRPCServer {
        var settings = GRPCServerSettings()
        settings.maxMessageBytes = self.settings.grpc.maxMessageBytes
        settings.prepareForGateway()
        var methods = gateway.methods().merging(ClusterAPI.methods(member)) { own, _ in own }
        if member != nil {
            for name in ["AddReplica", "RemoveReplica"] {
                methods["/vecraft.internal.v1.Journal/\(name)"] = .unary {
                    (_, _, _) throws(VecraftError) -> GRPCUnaryOutcome in
                    throw VecraftError(
                        .failedPrecondition,
                        "who votes is for the cluster to say: see vecraft cluster drain, remove and join",
                        reason: "CLUSTER_RUNS_ITSELF")
                }
            }
        }
        if !self.answersClients {
            methods = methods.filter {
                !$0.key.hasPrefix("/vecraft.v1.Points/") && !$0.key.hasPrefix("/vecraft.v1.Collections/")
            }
        }
        return try GRPCServer(
            settings: settings, methods: methods,
            observer: WireMetrics(self.registry), group: self.group)
    }

    /// What a scrape asks of the journal first.
    func collectors(_ journal: NodeJournal, _ reporting: JournalReporting) -> [CollectorHandle] {
        var collectors = [self.registry.onScrape { reporting.collect(journal.client) }]
        if let replicated = journal.replicated {
            let raft = RaftReporting(self.registry)
            collectors.append(self.registry.onScrape { raft.collect(replicated) })
        }
        return collectors
    }

    /// Operators are answered from the start, everyone else once the gateway is there.
    ///
    /// - Parameter isStarting: A gateway comes later.
    func httpServer(isStarting: Bool) throws -> HTTPServer {
        var settings = HTTPServerSettings(host: self.settings.http.host, port: self.settings.http.port)
        settings.drainTimeout = .seconds(3)
        if !self.settings.http.tlsCertificate.isEmpty {
            settings.tls = try HTTPServerSettings.tls(
                certificate: self.settings.http.tlsCertificate, key: self.settings.http.tlsKey)
        }
        let host = self.settings.http.host
        return try HTTPServer(
            settings, routes: self.operatorRoutes() + (isStarting ? self.consoleRoutes : []), isStarting: isStarting,
            registry: self.registry,
            eventLoops: self.group,
            logger: Logger(label: "vecraft.http")
        ) { [addresses] port in addresses.bound(http: "\(host):\(port)") }
    }

    /// What operators and their tools ask.
    func operatorRoutes() -> [HTTPRoute] {
        let registry = self.registry
        let readiness = self.readiness
        @Sendable func answer(_ answer: Readiness.Answer) -> HTTPReply { .json(answer.json, status: answer.status) }
        let page = HTTPRoute(.get, "/metrics") { call in
            let format = ExpositionFormat(accept: call.header("accept"))
            return HTTPReply(contentType: format.contentType, body: ByteBuffer(bytes: registry.page(format)))
        }
        return (registry.isOn ? [page] : []) + [
            HTTPRoute(.get, "/livez") { _ in answer(readiness.livez) },
            HTTPRoute(.get, "/readyz") { _ in answer(readiness.readyz) },
            HTTPRoute(.get, "/healthz") { _ in answer(readiness.healthz) },
        ]
    }
}
