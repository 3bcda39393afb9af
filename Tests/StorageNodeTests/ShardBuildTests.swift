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
import Wire

/// Shards made from another node's, over real connections, while clients write.
@Suite struct ShardBuildTests {
    // MARK: Catching up and joining

    /// Writers never stop. Each shard is built anew several times; whether it comes to a replay that is ahead of it or behind, it has
    /// every entry once, which two replicas at one offset show by their digest.
    @Test(arguments: [0, 150]) func aShardJoinsReplayWithoutGapOrDoubling(delay: UInt64) async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas)
        // Its replay is held back, so that what comes is ahead of it; or not, and then it is behind.
        let second = try await place.node(2, holding: [], delay: delay)
        let schema = BuildPlace.schemas[0]
        try await place.write(count: 300)
        try await withThrowingTaskGroup(of: Void.self) { group in
            let done = Flag()
            for writer in 0..<3 {
                group.addTask {
                    var rng = SeededRNG(seed: UInt64(writer))
                    while !done.isUp { try await place.write(using: &rng, rest: .milliseconds(3)) }
                }
            }
            for round in 0..<6 {
                try await second.storage.build(schema, from: ReplicaID(1), over: second.client)
                let replica = try #require(second.storage.replica(of: BuildPlace.shard))
                // It is fed from now on.
                let committed = try place.journal.position(.data(0)).committed
                try await second.awaitApplied(committed)
                #expect(replica.engine.applied >= committed, "round \(round)")
                if round < 5 { second.storage.remove(BuildPlace.shard) }
            }
            done.raise()
            try await group.waitForAll()
        }
        try await place.expectSameState(first, second)
        try await place.close()
    }

    /// The transfer takes longer than many batches of replay.
    @Test func aSlowTransferIsCaughtUpFromTheJournal() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas, bytesPerSecond: 120_000)
        let second = try await place.node(2, holding: [])
        try await place.write(count: 1_500)
        try await first.awaitApplied(try place.journal.position(.data(0)).committed)
        let isBuilt = Flag()
        let seen = Seen()
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                var rng = SeededRNG(seed: 9)
                while !isBuilt.isUp { try await place.write(using: &rng, rest: .milliseconds(3)) }
            }
            group.addTask {
                while !isBuilt.isUp {
                    let now = second.storage.buildProgress
                    second.storage.collect()
                    if let now = now.first, now.phase == .receiving { seen.note(now) }
                    try await Task.sleep(for: .milliseconds(5))
                }
            }
            try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
            isBuilt.raise()
            try await group.waitForAll()
        }
        let progress = seen.all
        #expect(progress.count > 3)
        #expect(
            zip(progress, progress.dropFirst()).allSatisfy {
                $0.bytesHere <= $1.bytesHere && $0.filesHere <= $1.filesHere
            })
        #expect(
            progress.allSatisfy { $0.bytes > 0 && $0.files > 0 && $0.bytesHere <= $0.bytes && $0.node == ReplicaID(1) })
        #expect(progress.contains { $0.remainingSeconds != nil })
        try await place.expectSameState(first, second)
        second.storage.collect()
        let page = String(decoding: second.registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_storage_transfers_total{direction=\"in\",outcome=\"done\"} 1"))
        #expect(!page.contains("vecraft_storage_transfer_progress_ratio{"), "of a shard that is here")
        try await place.close()
    }

    // MARK: At the start

    /// A node that was away comes back to a journal that begins behind its shard. One other node is too far behind as well, one has
    /// it: that one is found, once it serves.
    @Test func aShardBehindTheJournalIsBuiltAtTheStart() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas)
        let away = try await place.node(3, holding: BuildPlace.schemas)
        try await place.write(count: 40)
        try await away.awaitApplied(40)
        try await place.end(away)
        try await place.write(count: 200)
        _ = try await place.node(2, holding: BuildPlace.schemas, delay: 3_600_000)
        try await first.awaitApplied(240)
        first.service.serve(nil)
        let journal = TrimmedJournal(whole: place.journal, first: 100)
        let back = try await place.node(3, holding: BuildPlace.schemas, disk: away.disk, journal: journal)
        #expect(back.storage.missingShards == [BuildPlace.shard])
        #expect(back.storage.replica(of: BuildPlace.shard) == nil)
        #expect(back.storage.absence(of: 1).reason == "SHARD_BUILDING")
        #expect(back.storage.absence(of: 2).reason == "COLLECTION_DROPPED")
        #expect(back.disk.exists("/data/shards/1-0/MANIFEST"), "what it had stays until there is better")
        #expect(try await back.storage.trimLimit(of: .data(0)) == 0, "nobody knows yet what it will need")
        let builder = ShardBuilder(back.storage, back.client)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await builder.run() }
            try await eventually("it says why not yet") {
                let text = builder.description
                return text.contains("node 1: the node is starting or ending")
                    && text.contains("node 2 is at 0, the journal begins at 100")
            }
            #expect(!builder.isDone)
            first.service.serve(first.storage)
            try await place.write(count: 50)
            try await group.waitForAll()
        }
        #expect(builder.isDone)
        #expect(builder.description == "")
        try await place.expectSameState(first, back)
        #expect(try await back.storage.trimLimit(of: .data(0)) == 290)
        // The next start finds it like any other.
        try await place.end(back)
        let again = try await place.node(3, holding: BuildPlace.schemas, disk: away.disk, journal: journal)
        #expect(again.storage.missingShards == [])
        try await place.expectSameState(first, again)
        try await place.close()
    }

    @Test func aBuilderThatIsStoppedEnds() async throws {
        let place = try await BuildPlace()
        try await place.write(count: 40)
        let journal = TrimmedJournal(whole: place.journal, first: 30)
        let alone = try await place.node(1, holding: BuildPlace.schemas, journal: journal)
        let builder = ShardBuilder(alone.storage, alone.client)
        async let end: Void = builder.run()
        try await eventually("it looks for a node") { builder.description.contains("no other node is known") }
        builder.stop()
        await end
        #expect(!builder.isDone)
        try await place.close()
    }

    /// What is on disk of all shards may be forgotten by the journal, and nothing else.
    @Test func aTrimIsLimitedByTheShards() async throws {
        let place = try await BuildPlace()
        let node = try await place.node(1, holding: BuildPlace.schemas)
        try await place.write(count: 30)
        try await node.awaitApplied(30)
        #expect(try await node.storage.trimLimit(of: .data(0)) == 30)
        let engine = try #require(node.storage.replica(of: BuildPlace.shard)).engine
        #expect(engine.statistics.checkpointed == 30)
        node.disk.setCapacity(node.disk.usedBytes)
        try await place.write(count: 30)
        try await node.awaitApplied(60)
        await #expect(throws: VecraftError.self) { try await node.storage.trimLimit(of: .data(0)) }
        node.disk.setCapacity(1 << 30)
        #expect(try await node.storage.trimLimit(of: .data(0)) == 60)
        #expect(try await node.storage.trimLimit(of: .sys) == .max)
        try await place.close()
    }

    // MARK: What breaks off

    @Test func aTransferGoesOnWithTheFilesThatAreThere() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas, bytesPerSecond: 30_000, merges: false)
        let second = try await place.node(2, holding: [])
        try await place.write(count: 1_500)
        try await first.awaitApplied(try place.journal.position(.data(0)).committed)
        let id = BuildPlace.shard
        try await eventually("its segments are sealed, and their files stay as they are", within: .seconds(300)) {
            let statistics = first.storage.replica(of: BuildPlace.shard)!.engine.statistics
            return statistics.sealedSegments >= statistics.segments - 1
        }
        let total = try await offThePool {
            let snapshot = try first.storage.replica(of: id)!.engine.openSnapshot()
            defer { snapshot.release() }
            return snapshot.files.count
        }
        async let broken = Result {
            try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
        }
        try await eventually("some files are there") { (second.storage.buildProgress.first?.filesHere ?? 0) >= 2 }
        await first.server.drain(grace: .zero)
        let outcome = await broken
        #expect(throws: VecraftError.self) { try outcome.get() }
        let before = second.count("vecraft_storage_transfer_files_total{direction=\"in\"}")
        #expect(before >= 2 && before < total)
        #expect(second.disk.paths.contains { $0.hasPrefix("/data/shards/1-0.incoming/") })
        #expect(second.storage.replica(of: id) == nil)
        // The node comes back at another port; nothing was written meanwhile.
        try await place.serveAgain(first, bytesPerSecond: 0)
        try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
        #expect(second.count("vecraft_storage_transfer_files_total{direction=\"in\"}") == total, "no file came twice")
        #expect(!second.disk.paths.contains { $0.contains(".incoming") })
        try await place.expectSameState(first, second)
        try await place.close()
    }

    @Test func aDroppedCollectionIsNotBuilt() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas, bytesPerSecond: 20_000)
        let second = try await place.node(2, holding: [])
        try await place.write(count: 800)
        try await first.awaitApplied(try place.journal.position(.data(0)).committed)
        async let build = Result {
            try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
        }
        try await eventually("it has begun") { (second.storage.buildProgress.first?.bytesHere ?? 0) > 0 }
        await #expect(throws: VecraftError.self) {
            try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
        }
        second.storage.drop(BuildPlace.schemas[0])
        let outcome = await build
        do { try outcome.get() } catch { #expect((error as? VecraftError)?.reason == "BUILD_CANCELLED") }
        #expect(throws: (any Error).self) { try outcome.get() }
        #expect(second.storage.replica(of: BuildPlace.shard) == nil)
        #expect(second.storage.buildProgress == [])
        #expect(second.disk.paths.filter { $0.hasPrefix("/data/shards/") } == [])
        try await place.close()
    }

    // MARK: What does not hold

    @Test func aDamagedChunkIsRefused() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas)
        let second = try await place.node(2, holding: [])
        // Less than a segment, which nobody seals, maps or merges while its file is damaged.
        try await place.write(count: 40)
        try await first.awaitApplied(try place.journal.position(.data(0)).committed)
        let engine = try #require(first.storage.replica(of: BuildPlace.shard)).engine
        try await place.serve(first) { (call) throws(VecraftError) in
            _ = try await call.request()
            let snapshot = try engine.openSnapshot()
            defer { snapshot.release() }
            try await call.send(VecraftInternalV1.ShardPart(part: .manifest(snapshot.manifest)).encode())
            var bytes = [UInt8](repeating: 0, count: Int(snapshot.files[0].bytes))
            let outcome = bytes.withUnsafeMutableBytes { raw in
                Result { () throws(VecraftError) in try snapshot.read(file: 0, at: 0, into: raw) }
            }
            try outcome.get()
            let checksum = bytes.withUnsafeBytes { shardChecksum($0) }
            bytes[bytes.count / 2] ^= 16
            let chunk = VecraftInternalV1.ShardChunk(file: 0, offset: 0, data: bytes, checksum: checksum)
            try await call.send(VecraftInternalV1.ShardPart(part: .chunk(chunk)).encode())
        }
        try await second.expectFailure("CHECKSUM")
        #expect(second.disk.paths.filter { $0.hasPrefix("/data/shards/") } == [], "no file that is not whole and right")
        // What is damaged on the sender's disk is found there.
        try await place.serveAgain(first)
        let name = try await offThePool {
            let snapshot = try engine.openSnapshot()
            defer { snapshot.release() }
            return snapshot.files[0].name
        }
        first.disk.flip("/data/shards/1-0/" + name, byte: 80)
        let error = try await second.failure()
        #expect(["SOURCE_DAMAGED", "CHECKSUM"].contains(error.reason), "\(error)")
        first.disk.flip("/data/shards/1-0/" + name, byte: 80)
        try await second.storage.build(BuildPlace.schemas[0], from: ReplicaID(1), over: second.client)
        try await place.expectSameState(first, second)
        try await place.close()
    }

    @Test func aSilentSenderIsGivenUp() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas)
        let second = try await place.node(2, holding: [], silence: .milliseconds(200))
        let gate = AsyncStream<Void>.makeStream()
        try await place.serve(first) { (call) throws(VecraftError) in
            call.onCancel { gate.continuation.finish() }
            for await _ in gate.stream {}
        }
        try await second.expectFailure("TRANSFER_SILENT")
        try await place.close()
    }

    @Test func strangersAreRefused() async throws {
        let place = try await BuildPlace()
        let first = try await place.node(1, holding: BuildPlace.schemas)
        let second = try await place.node(2, holding: [])
        let id = BuildPlace.shard
        func reason(_ client: ShardTransferClient, _ ids: [ShardID]) async -> String? {
            do throws(VecraftError) {
                _ = try await client.states(ids, at: ReplicaID(1))
                return nil
            } catch {
                return error.reason
            }
        }
        let other = ShardTransferClient(
            second.client.clients, ShardTransferSettings(clusterID: "another", own: ReplicaID(2)))
        #expect(await reason(other, [id]) == "OTHER_CLUSTER")
        // Node 3's address leads to node 1.
        second.client.clients.setPeers([ReplicaID(3): PeerAddress(host: "127.0.0.1", port: first.port)])
        do throws(VecraftError) {
            _ = try await second.client.states([id], at: ReplicaID(3))
            Issue.record("node 1 answered for node 3")
        } catch {
            #expect(error.reason == "OTHER_NODE")
        }
        second.client.clients.setPeers([ReplicaID(1): PeerAddress(host: "127.0.0.1", port: first.port)])
        let states = try await second.client.states([], at: ReplicaID(1))
        #expect(states.map(\.shard) == [id])
        #expect(try await second.client.states([ShardID(collection: 9, shard: 0)], at: ReplicaID(1)) == [])
        let stranger = CollectionSchema(
            id: 9, tenant: "default", name: "none", vectors: [VectorSchema(dimension: 4, metric: .l2)])
        do throws(VecraftError) {
            try await second.storage.build(stranger, from: ReplicaID(1), over: second.client)
            Issue.record("built from nothing")
        } catch {
            #expect(error.reason == "SHARD_NOT_HERE")
        }
        first.service.serve(nil)
        #expect(await reason(second.client, [id]) == "NOT_READY")
        try await place.close()
    }

    // MARK: Values

    @Test func aPaceIsKeptByAllTogetherAndSavesNothingUp() {
        var pace = TransferPace(bytesPerSecond: 1_000_000)
        #expect(pace.take(500_000, now: 5_000_000_000) == 0)
        #expect(pace.take(250_000, now: 5_000_000_000) == 500_000_000)
        #expect(pace.take(1, now: 5_600_000_000) == 150_000_000)
        // Idle for long: no more than any other moment.
        #expect(pace.take(1_000_000, now: 60_000_000_000) == 0)
        #expect(pace.take(1, now: 60_000_000_000) == 1_000_000_000)
        var free = TransferPace(bytesPerSecond: 0)
        #expect(free.take(1 << 40, now: 1) == 0 && free.take(1, now: 1) == 0)
    }

    @Test func progressIsSaidInAFewWords() {
        var progress = ShardBuildProgress(shard: BuildPlace.shard, collection: "docs")
        #expect(progress.description == "building shard docs/0: looking for a node that has it")
        progress.node = ReplicaID(2)
        progress.phase = .receiving
        progress.bytes = 1_000
        progress.bytesHeld = 130
        progress.bytesHere = 430
        progress.elapsed = .milliseconds(6_300)
        #expect(progress.description == "building shard docs/0 from node 2: 43 %, 12 s left")
        #expect(Int(progress.rate) == 47)
        progress.phase = .catchingUp
        progress.applied = 7
        progress.goal = 20
        #expect(progress.description == "building shard docs/0 from node 2: replaying, at 7 of 20")
    }
}

extension Result where Failure == any Error {
    /// The outcome of an asynchronous body.
    init(_ body: () async throws -> Success) async {
        do { self = .success(try await body()) } catch { self = .failure(error) }
    }
}

private final class Flag: Sendable {
    private let state = Atomic(false)
    var isUp: Bool { self.state.load(ordering: .relaxed) }
    func raise() { self.state.store(true, ordering: .relaxed) }
}

private final class Seen: Sendable {
    private let state = Mutex<[ShardBuildProgress]>([])
    var all: [ShardBuildProgress] { self.state.withLock { $0 } }
    func note(_ progress: ShardBuildProgress) { self.state.withLock { $0.append(progress) } }
}
