import FileStore
import GRPC
import JournalFormat
import JournalService
import JournalStore
import NIOCore
import NIOPosix
import Observability
import PeerTransport
import Primitives
import Raft
import ShardEngine
import StorageNode
import Synchronization
import TestSupport
import Testing

/// One journal, and storage nodes with disks, servers and clients of their own.
final class BuildPlace: Sendable {
    static let schemas = [
        CollectionSchema(id: 1, tenant: "default", name: "docs", vectors: [VectorSchema(dimension: 24, metric: .l2)])
    ]
    static let shard = ShardID(collection: 1, shard: 0)

    struct Node: Sendable {
        let id: ReplicaID
        let storage: StorageNode
        let disk: FaultyFileStore
        let registry: MetricsRegistry
        let service: ShardTransferService
        let client: ShardTransferClient
        private let running: Running

        final class Running: Sendable {
            let state: Mutex<(server: GRPCServer, port: Int)>
            init(_ server: GRPCServer, _ port: Int) { self.state = Mutex((server, port)) }
        }

        init(
            _ id: ReplicaID, _ storage: StorageNode, _ disk: FaultyFileStore, _ registry: MetricsRegistry,
            _ service: ShardTransferService, _ client: ShardTransferClient, _ running: Running
        ) {
            self.id = id
            self.storage = storage
            self.disk = disk
            self.registry = registry
            self.service = service
            self.client = client
            self.running = running
        }

        var server: GRPCServer { self.running.state.withLock { $0.server } }
        var port: Int { self.running.state.withLock { $0.port } }
        func served(by server: GRPCServer, at port: Int) { self.running.state.withLock { $0 = (server, port) } }

        func awaitApplied(_ offset: JournalOffset) async throws {
            let waiters = try #require(self.storage.replay(.data(0))).waiters
            try await withCheckedThrowingContinuation { done in
                _ = waiters.wait(for: offset) { done.resume(with: $0.map { _ in }) }
            }
        }

        /// The value of one series; 0 if there is none.
        func count(_ series: String) -> Int {
            let page = String(decoding: self.registry.page(), as: UTF8.self)
            let line = page.split(separator: "\n").first { $0.hasPrefix(series + " ") }
            return line.flatMap { $0.split(separator: " ").last }.flatMap { Double($0) }.map { Int($0) } ?? 0
        }

        func failure() async throws -> VecraftError {
            do throws(VecraftError) {
                try await self.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: self.client)
            } catch {
                return error
            }
            throw NeverHappened("the build did not fail")
        }

        func expectFailure(_ reason: String) async throws {
            let error = try await self.failure()
            #expect(error.reason == reason, "\(error)")
            #expect(self.storage.replica(of: BuildPlace.shard) == nil)
        }
    }

    /// Every node knows all collections; it holds the shards of some.
    private struct Holding: ShardDirectory {
        let collections: Set<UInt64>
        func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64] { [] }
        func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool { self.collections.contains(schema.id) }
    }

    struct NeverHappened: Error { init(_ what: String) {} }

    let journal: LocalJournal
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    private let nodes = Mutex<[Node]>([])
    private let directory: TemporaryDirectory

    init() async throws {
        self.directory = try TemporaryDirectory()
        var settings = JournalSettings()
        settings.segmentBytes = 1 << 20
        settings.maxBatchBytes = 1 << 20
        self.journal = LocalJournal(
            try Journal(
                directory: self.directory.file("journal"), dataPartitions: 1, settings: settings,
                files: PosixFileStore()))
    }

    func node(
        _ id: UInt64, holding schemas: [CollectionSchema], delay: UInt64 = 0, bytesPerSecond: Int = 0,
        silence: Duration = .seconds(60), merges: Bool = true,
        disk: FaultyFileStore? = nil, journal: (any JournalClient)? = nil
    ) async throws -> Node {
        let disk = disk ?? FaultyFileStore(seed: id)
        let registry = MetricsRegistry()
        var settings = StorageSettings()
        settings.applyDelayMilliseconds = delay
        settings.buildsFromPeers = journal != nil
        settings.shard.segmentPoints = 200
        settings.shard.graphFrom = 100
        settings.shard.checkpointJournalBytes = 100_000
        if !merges {
            settings.shard.mergeFanIn = 64
            settings.shard.deletedRatio = 1
        }
        let storage = try StorageNode(
            directory: "/data", settings: settings, journal: journal ?? self.journal, clock: self.journal.journal.clock,
            files: disk,
            metrics: StorageMetrics(registry), shards: Holding(collections: Set(schemas.map(\.id))))
        try storage.start(Self.schemas) { (_) throws(VecraftError) in [] }
        var transfer = ShardTransferSettings(clusterID: "c", own: ReplicaID(id))
        transfer.bytesPerSecond = bytesPerSecond
        transfer.silenceLimit = silence
        transfer.askTimeout = .seconds(300)
        let service = ShardTransferService(transfer)
        service.serve(storage)
        let client = ShardTransferClient(
            PeerClients(tls: nil, group: self.loops, connectTimeout: .seconds(60)), transfer)
        let (server, port) = try await self.listen(service.methods)
        let node = Node(ReplicaID(id), storage, disk, registry, service, client, Node.Running(server, port))
        self.nodes.withLock { $0.append(node) }
        self.introduce()
        return node
    }

    private func listen(_ methods: [String: GRPCMethod]) async throws -> (GRPCServer, Int) {
        var settings = GRPCServerSettings()
        settings.prepareForPeers()
        let server = try GRPCServer(settings: settings, methods: methods, group: self.loops)
        return (server, try await server.start(host: "127.0.0.1", port: 0))
    }

    /// The node ends.
    func end(_ node: Node) async throws {
        self.nodes.withLock { $0.removeAll { $0.id == node.id } }
        try await self.close(node)
    }

    private func close(_ node: Node) async throws {
        node.service.serve(nil)
        await node.server.drain(grace: .zero)
        await node.client.clients.close()
        #expect(try await offThePool { node.storage.stop(within: .seconds(3_600)) })
    }

    private func introduce() {
        let nodes = self.nodes.withLock { $0 }
        let addresses = Dictionary(
            uniqueKeysWithValues: nodes.map { ($0.id, PeerAddress(host: "127.0.0.1", port: $0.port)) })
        for node in nodes { node.client.clients.setPeers(addresses.filter { $0.key != node.id }) }
    }

    /// The node listens elsewhere from now on.
    /// - Parameter bytesPerSecond: Another pace than before; 0: none.
    func serveAgain(_ node: Node, bytesPerSecond: Int? = nil) async throws {
        var service = node.service
        if let bytesPerSecond {
            var transfer = ShardTransferSettings(clusterID: "c", own: node.id)
            transfer.bytesPerSecond = bytesPerSecond
            service = ShardTransferService(transfer)
            service.serve(node.storage)
        }
        let (server, port) = try await self.listen(service.methods)
        await node.server.drain(grace: .zero)
        node.served(by: server, at: port)
        self.introduce()
    }

    /// And answers those who want a shard so.
    func serve(_ node: Node, fetch: @escaping GRPCFunction) async throws {
        var methods = node.service.methods
        methods["/vecraft.internal.v1.Shards/Fetch"] = .serverStreaming(fetch)
        let (server, port) = try await self.listen(methods)
        await node.server.drain(grace: .zero)
        node.served(by: server, at: port)
        self.introduce()
    }

    // MARK: Writing

    func write(count: Int) async throws {
        var rng = SeededRNG(seed: 77)
        for _ in 0..<count { try await self.write(using: &rng) }
    }

    /// One entry on few ids, so that order matters for all of them.
    func write(using rng: inout SeededRNG, rest: Duration = .zero) async throws {
        if rest > .zero { try await Task.sleep(for: rest) }
        let header = EntryHeader(
            partition: .data(0), tier: .batch, operation: .upsert, tenant: "default", collection: 1,
            trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
        let ids = (0..<4).map { _ in "p\(Int.random(in: 0..<900, using: &rng))" }
        if Int.random(in: 0..<4, using: &rng) == 0 {
            var header = header
            header.operation = .delete
            _ = try await self.journal.append(EncodedEntry.delete(header: header, ids: ids), to: .data(0))
            return
        }
        let vectors = ids.map { _ in (0..<24).map { _ in Float.random(in: -1...1, using: &rng) } }
        var size = UpsertSizer()
        for id in ids {
            size.point(idBytes: id.utf8.count, payloadBytes: nil)
            size.vector(nameBytes: 0, dimension: 24)
        }
        let entry = EncodedEntry.upsert(header: header, size: size) { writer in
            for (id, vector) in zip(ids, vectors) {
                [UInt8](id.utf8).withUnsafeBytes { writer.point(id: $0, payload: nil, vectors: 1) }
                vector.withUnsafeBufferPointer { values in
                    writer.vector(name: UnsafeRawBufferPointer(start: nil, count: 0), values: values)
                }
            }
        }
        _ = try await self.journal.append(entry, to: .data(0))
    }

    /// Nobody writes. Both have everything, and the same; also by the digest computed anew, and over the wire.
    func expectSameState(_ one: Node, _ other: Node) async throws {
        let end = try self.journal.position(.data(0)).committed
        for node in [one, other] { try await node.awaitApplied(end) }
        let expected = try #require(one.storage.state(of: Self.shard))
        #expect(expected.applied == end)
        #expect(expected.points > 0)
        for node in [one, other] {
            let kept = try #require(node.storage.state(of: Self.shard))
            let found = try #require(try await node.storage.recomputedState(of: Self.shard))
            for state in [kept, found] {
                #expect(state == expected, "node \(node.id)")
            }
        }
        let told = try await other.client.states([Self.shard], at: one.id, recompute: true)
        #expect(told.map(\.digest) == [expected.digest] && told.map(\.applied) == [end])
    }

    func close() async throws {
        for node in self.nodes.withLock({ $0 }) { try await self.close(node) }
        self.journal.journal.close()
        try await self.loops.shutdownGracefully()
    }
}

/// A journal as a node has it whose own begins later than the others'.
struct TrimmedJournal: JournalClient {
    let whole: LocalJournal
    let first: JournalOffset

    var partitions: [PartitionID] { self.whole.partitions }
    var isReplicated: Bool { false }
    func append(
        _ entry: EncodedEntry, to partition: PartitionID,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) { self.whole.append(entry, to: partition, completion: completion) }
    func readIndex(
        _ partition: PartitionID, completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) { self.whole.readIndex(partition, completion: completion) }
    func position(_ partition: PartitionID) throws(VecraftError) -> JournalPosition {
        var position = try self.whole.position(partition)
        if partition.kind == .data { position.first = self.first }
        return position
    }
    func read(
        _ partition: PartitionID, from offset: JournalOffset, maxBytes: Int
    ) throws(VecraftError) -> EntryBatch {
        guard partition.kind != .data || offset >= self.first else {
            throw VecraftError(.outOfRange, "\(offset) was trimmed", reason: "TRIMMED")
        }
        return try self.whole.read(partition, from: offset, maxBytes: maxBytes)
    }
    func find(
        _ keys: [LineageKey], in partition: PartitionID, below: JournalOffset, atLeast count: Int, deadline: UInt64
    ) throws(VecraftError) -> LineageHits {
        try self.whole.find(keys, in: partition, below: below, atLeast: count, deadline: deadline)
    }
    func offset(in partition: PartitionID, atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        try self.whole.offset(in: partition, atOrAfter: time)
    }
    func onCommit(
        _ partition: PartitionID, _ callback: @escaping @Sendable (JournalOffset) -> Void
    ) throws(VecraftError) -> Subscription { try self.whole.onCommit(partition, callback) }
    func status(_ partition: PartitionID) throws(VecraftError) -> JournalPartitionStatus {
        try self.whole.status(partition)
    }
    func verify(_ partition: PartitionID, deadline: UInt64) throws(VecraftError) -> PartitionReport {
        try self.whole.verify(partition, deadline: deadline)
    }
}
