internal import FileStore
internal import Foundation
internal import GRPC
internal import Gateway
internal import HLC
internal import JournalService
internal import JournalStore
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import PeerTransport
internal import Primitives
internal import Raft
internal import ServiceHost
internal import Synchronization
internal import Wire

/// The journal of a node: alone, or one of a cluster's with its listener for the other nodes.
struct NodeJournal: Sendable {
    let client: any JournalClient
    let clock: HLCClock
    let replicated: ReplicatedJournal?
    private let host: PeerHost?
    private let alone: Journal?

    fileprivate init(
        client: any JournalClient, clock: HLCClock, replicated: ReplicatedJournal?, host: PeerHost?, alone: Journal?
    ) {
        self.client = client
        self.clock = clock
        self.replicated = replicated
        self.host = host
        self.alone = alone
    }

    /// Why the clock's bound could not be made durable, if so.
    var clockFault: FileFault? { self.alone?.clockFault ?? self.replicated?.home.clockFault }

    /// - Parameter methods: What the listener for peers serves beside the journal's own.
    static func open(
        _ settings: Settings, directory: String, files: any FileStore, registry: MetricsRegistry,
        reporting: JournalReporting,
        group: any EventLoopGroup, methods: [String: GRPCMethod]
    ) async throws(VecraftError) -> NodeJournal {
        let home = Paths.join(directory, "journal")
        guard settings.cluster.isClustered else {
            let journal = try Journal(
                directory: home, dataPartitions: settings.journal.dataPartitions, settings: settings.journal.store,
                files: files,
                maxClockOffset: UInt64(settings.clock.maxOffsetMilliseconds), observer: reporting)
            await Self.awaitTime(journal.clock)
            return NodeJournal(
                client: LocalJournal(journal), clock: journal.clock, replicated: nil, host: nil, alone: journal)
        }
        return try await Self.replica(settings, home, files, registry, reporting, group, methods)
    }

    private static func replica(
        _ settings: Settings, _ directory: String, _ files: any FileStore, _ registry: MetricsRegistry,
        _ reporting: JournalReporting, _ group: any EventLoopGroup, _ methods: [String: GRPCMethod]
    ) async throws(VecraftError) -> NodeJournal {
        let cluster = settings.cluster
        let node = ReplicaID(UInt64(cluster.nodeID))
        guard let own = PeerAddress(parsing: cluster.addresses[cluster.nodeID] ?? "") else {
            throw .invalid("cluster.peers", "the address of node \(node) is not host:port")
        }
        let given = Dictionary(uniqueKeysWithValues: cluster.addresses.map { (ReplicaID(UInt64($0.key)), $0.value) })
        let host = try await PeerHost.open(
            settings, node: node, at: own, given: given, dataPartitions: settings.journal.dataPartitions,
            directory: directory,
            files: files, registry: registry, group: group, methods: methods)
        let members = cluster.join ? Membership.none : Membership(voters: given.keys.sorted())
        return try await host.journal(settings, reporting) { _ in members }
    }

    /// After a crash the clock begins where no earlier process can have been, up to a second ahead of the time it is. Whoever hears from it
    /// takes that over, entries then bear times that are yet to come, and nobody knows how old they are. So that second is waited for
    /// before anybody hears of this node.
    static func awaitTime(_ clock: HLCClock) async {
        let ahead = clock.driftMilliseconds
        // A wall clock that was set back by more is not waited for.
        guard ahead > 0, ahead <= Int64(2 * HLCClock.boundAhead) else { return }
        Logger(label: "vecraft.clock").info(
            "waiting for the time that was promised before the crash", metadata: ["ms": "\(ahead)"])
        try? await Task.sleep(for: .milliseconds(ahead))
    }

    /// Waits until all that was committed when this process began is in its own log: only then are its collections known.
    ///
    /// - Parameter progress: Told what is waited for, now and then.
    func catchUp(_ progress: @Sendable (String) -> Void) async throws {
        guard let replicated = self.replicated else { return }
        for id in replicated.partitions {
            var goal: JournalOffset?
            while goal == nil {
                try Task.checkCancellation()
                do throws(VecraftError) {
                    goal = try await replicated.readIndex(id)
                } catch {
                    progress("\(id): \(error.message)")
                    try await Task.sleep(for: .milliseconds(100))
                }
            }
            var last = ContinuousClock.now
            while let goal, try replicated.replica(id).committed < goal {
                try await Task.sleep(for: .milliseconds(10))
                if last.duration(to: .now) > .seconds(2) {
                    last = .now
                    progress("\(id) at \(try replicated.replica(id).committed) of \(goal)")
                }
            }
        }
    }

    /// Hands leadership over and closes what it has.
    func close() async {
        await self.host?.close()
        self.alone?.close()
    }
}

/// A node's listener for the other nodes, and its calls to them; from before there is a journal to answer for.
final class PeerHost: Sendable {
    let node: ReplicaID
    let home: JournalHome
    let directory: PeerDirectory
    let clients: PeerClients
    private let links: PeerLinks
    private let server: GRPCServer
    private let opened: LateJournal
    private let files: any FileStore
    private let group: any EventLoopGroup

    private init(
        _ node: ReplicaID, _ home: JournalHome, _ directory: PeerDirectory, _ clients: PeerClients, _ links: PeerLinks,
        _ server: GRPCServer, _ opened: LateJournal, _ files: any FileStore, _ group: any EventLoopGroup
    ) {
        self.node = node
        self.home = home
        self.directory = directory
        self.clients = clients
        self.links = links
        self.server = server
        self.opened = opened
        self.files = files
        self.group = group
    }

    /// - Parameters:
    ///   - own: To listen on.
    ///   - given: Addresses that settings say; the cluster map gives them later.
    ///   - directory: Of the journal.
    ///   - methods: Served beside the journal's own.
    static func open(
        _ settings: Settings, node: ReplicaID, at own: PeerAddress, given: [ReplicaID: String], dataPartitions: Int,
        directory: String, files: any FileStore, registry: MetricsRegistry, group: any EventLoopGroup,
        methods: [String: GRPCMethod]
    ) async throws(VecraftError) -> PeerHost {
        let home = try JournalHome(
            directory: directory, dataPartitions: dataPartitions, files: files,
            maxClockOffset: UInt64(settings.clock.maxOffsetMilliseconds))
        do throws(VecraftError) {
            await NodeJournal.awaitTime(home.clock)
            let peers = try PeerDirectory(own: node, given: given, path: home.file("peers"), files: files)
            let tls = settings.grpc.tls
            let links = PeerLinks(
                own: node, settings: PeerSettings(clusterID: settings.cluster.id), group: group, tls: tls,
                metrics: PeerMetrics(registry), logger: Logger(label: "vecraft.peers"))
            let clients = PeerClients(tls: tls, group: group)
            peers.onChange { clients.setPeers($0) }
            var serving = GRPCServerSettings()
            serving.maxMessageBytes = settings.grpc.maxMessageBytes + (1 << 20)
            serving.prepareForPeers()
            let opened = LateJournal()
            let journals = PeerAPI.methods(links).merging(
                PeerJournalAPI.methods(opened)
            ) { own, _ in own }
            let server = try GRPCServer(
                settings: serving, methods: journals.merging(methods) { own, _ in own }, observer: nil, group: group)
            _ = try await server.start(host: own.host, port: own.port, tls: tls)
            return PeerHost(node, home, peers, clients, links, server, opened, files, group)
        } catch {
            home.close()
            throw error
        }
    }

    /// Opens the journal and lets the others in. Once.
    /// - Parameter members: Of a group that begins with this start.
    func journal(
        _ settings: Settings, _ reporting: JournalReporting, members: @escaping @Sendable (PartitionID) -> Membership
    ) async throws(VecraftError) -> NodeJournal {
        var raft = RaftSettings()
        raft.heartbeat = .milliseconds(settings.cluster.heartbeatMilliseconds)
        raft.electionTimeoutMin = .milliseconds(settings.cluster.electionTimeoutMilliseconds)
        raft.electionTimeoutMax = .milliseconds(2 * settings.cluster.electionTimeoutMilliseconds)
        do throws(VecraftError) {
            let journal = try ReplicatedJournal(
                home: self.home, node: self.node, members: .none, directory: self.directory,
                settings: settings.journal.store, raft: raft, files: self.files, links: self.links,
                clients: self.clients,
                timers: self.group, maxClockOffsetMilliseconds: UInt64(settings.clock.maxOffsetMilliseconds),
                observer: reporting, membersOf: members)
            self.opened.journal = journal
            journal.start()
            return NodeJournal(
                client: journal, clock: self.home.clock, replicated: journal, host: self, alone: nil)
        } catch {
            await self.close()
            throw error
        }
    }

    /// Hands leadership over and closes what there is.
    func close() async {
        if let journal = self.opened.journal {
            await journal.close()
        } else {
            await self.links.shutdown()
            await self.clients.close()
            self.home.close()
        }
        await self.server.drain(grace: .milliseconds(100))
    }
}

/// Reads of shards between nodes: what others ask of this one, from before there is a gateway to answer, and what it asks of them.
final class PeerReads: ShardPeers {
    private static let path = "/vecraft.internal.v1.ShardReads/Read"

    private struct State {
        var handler: GRPCUnaryHandler?
        var clients: PeerClients?
    }
    private let state = Mutex(State())

    func start(_ gateway: Gateway, over clients: PeerClients?) {
        self.state.withLock { $0 = State(handler: gateway.shardRead, clients: clients) }
    }

    var methods: [String: GRPCMethod] {
        [
            Self.path: .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
                guard let handler = self.state.withLock({ $0.handler }) else { throw Self.starting }
                return try handler(call, message, &out)
            }
        ]
    }

    func read(
        _ request: [UInt8], at node: UInt64, timeout: Duration, origin: ReadCaller,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void
    ) {
        var metadata = GRPCMetadata()
        if let trace = origin.trace { metadata.add("traceparent", trace.traceparent) }
        if let state = origin.traceState { metadata.add("tracestate", state) }
        if !origin.requestID.isEmpty { metadata.add("x-request-id", origin.requestID) }
        guard let clients = self.state.withLock({ $0.clients }) else { return completion(.failure(Self.starting)) }
        clients.unary(Self.path, request, at: ReplicaID(node), metadata: metadata, timeout: timeout) { result in
            completion(
                result.flatMap { reply in
                    reply.withUnsafeReadableBytes { raw in
                        Result { () throws(VecraftError) in try VecraftInternalV1.ShardReadResponse.decode(raw).reply }
                    }
                })
        }
    }

    private static let starting = VecraftError(
        .unavailable, "the node is starting", reason: "STARTING", retryAfter: .milliseconds(200))
}
