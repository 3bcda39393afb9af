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
    private let peers: GRPCServer?
    private let alone: Journal?

    /// Why the clock's bound could not be made durable, if so.
    var clockFault: FileFault? { self.alone?.clockFault ?? self.replicated?.home.clockFault }

    /// - Parameter methods: What the listener for peers serves beside the journal's own.
    static func open(
        _ settings: Settings, directory: String, files: any FileStore, registry: MetricsRegistry, reporting: JournalReporting,
        group: any EventLoopGroup, methods: [String: GRPCMethod]
    ) async throws(VecraftError) -> NodeJournal {
        let home = Paths.join(directory, "journal")
        guard settings.cluster.isClustered else {
            let journal = try Journal(
                directory: home, dataPartitions: settings.journal.dataPartitions, settings: settings.journal.store, files: files,
                maxClockOffset: UInt64(settings.clock.maxOffsetMilliseconds), observer: reporting)
            return NodeJournal(
                client: LocalJournal(journal), clock: journal.clock, replicated: nil, peers: nil, alone: journal)
        }
        return try await Self.replica(settings, home, files, registry, reporting, group, methods)
    }

    private static func replica(
        _ settings: Settings, _ directory: String, _ files: any FileStore, _ registry: MetricsRegistry,
        _ reporting: JournalReporting, _ group: any EventLoopGroup, _ methods: [String: GRPCMethod]
    ) async throws(VecraftError) -> NodeJournal {
        let cluster = settings.cluster
        let node = ReplicaID(UInt64(cluster.nodeID))
        let home = try JournalHome(
            directory: directory, dataPartitions: settings.journal.dataPartitions, files: files,
            maxClockOffset: UInt64(settings.clock.maxOffsetMilliseconds))
        let given = Dictionary(uniqueKeysWithValues: cluster.addresses.map { (ReplicaID(UInt64($0.key)), $0.value) })
        let peers = try PeerDirectory(own: node, given: given, path: home.file("peers"), files: files)
        let tls = settings.grpc.tls
        let links = PeerLinks(
            own: node, settings: PeerSettings(clusterID: cluster.id), group: group, tls: tls,
            metrics: PeerMetrics(registry),
            logger: Logger(label: "vecraft.peers"))
        var raft = RaftSettings()
        raft.heartbeat = .milliseconds(cluster.heartbeatMilliseconds)
        raft.electionTimeoutMin = .milliseconds(cluster.electionTimeoutMilliseconds)
        raft.electionTimeoutMax = .milliseconds(2 * cluster.electionTimeoutMilliseconds)
        let journal = try ReplicatedJournal(
            home: home, node: node, members: cluster.join ? .none : Membership(voters: given.keys.sorted()), directory: peers,
            settings: settings.journal.store, raft: raft, files: files, links: links,
            clients: PeerClients(tls: tls, group: group), timers: group,
            maxClockOffsetMilliseconds: UInt64(settings.clock.maxOffsetMilliseconds), observer: reporting)
        var serving = GRPCServerSettings()
        serving.maxMessageBytes = settings.grpc.maxMessageBytes + (1 << 20)
        serving.prepareForPeers()
        do throws(VecraftError) {
            let journals = PeerAPI.methods(links).merging(PeerJournalAPI.methods(journal)) { own, _ in own }
            let server = try GRPCServer(
                settings: serving, methods: journals.merging(methods) { own, _ in own }, observer: nil, group: group)
            guard let own = PeerAddress(parsing: cluster.addresses[cluster.nodeID] ?? "") else {
                throw .invalid("cluster.peers", "the address of node \(node) is not host:port")
            }
            _ = try await server.start(host: own.host, port: own.port, tls: tls)
            journal.start()
            return NodeJournal(
                client: journal, clock: home.clock, replicated: journal, peers: server, alone: nil)
        } catch {
            await journal.close()
            throw error
        }
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
        if let replicated = self.replicated {
            await replicated.close()
            await self.peers?.drain(grace: .milliseconds(100))
        }
        self.alone?.close()
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
        _ request: [UInt8], at node: UInt64, timeout: Duration,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void
    ) {
        guard let clients = self.state.withLock({ $0.clients }) else { return completion(.failure(Self.starting)) }
        clients.unary(Self.path, request, at: ReplicaID(node), timeout: timeout) { result in
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
