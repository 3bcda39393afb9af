import Foundation
import GRPC
import Primitives
import Synchronization
import TestSupport
import Testing
import Wire

/// Kills a node at random moments under concurrent upserts, deletes, reads and searches, and checks after each restart that
/// no acknowledged write was lost, undone or doubled.
///
/// Each worker owns its keys and writes one at a time, so a key's history is known but for the one write that was in the air
/// when the node died: that one may have happened or not, and whichever is seen after the restart then stays true.
@Suite("Torture", .serialized)
struct TortureTests {
    static let rounds = Int(ProcessInfo.processInfo.environment["VECRAFT_TORTURE_ROUNDS"] ?? "") ?? 20
    static let seed = UInt64(ProcessInfo.processInfo.environment["VECRAFT_TORTURE_SEED"] ?? "") ?? 20_261_122
    static let workers = 6
    static let keysEach = 40
    static let dimension = 8

    @Test(.timeLimit(.minutes(60))) func noAcknowledgedWriteIsLostOrResurrected() async throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/data"
        var rng = SeededRNG(seed: Self.seed)
        let settings = ["storage.segment_points=200", "storage.checkpoint_bytes=1MiB", "journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB", "log.level=warning"]
        var histories = (0..<Self.workers).map { worker in
            (0..<Self.keysEach).map { KeyHistory(key: "w\(worker)-k\($0)") }
        }
        var acknowledged = 0
        for round in 0..<Self.rounds {
            let note = Comment(rawValue: "seed \(Self.seed), round \(round)")
            let node = try await TestNode(path, settings: settings)
            if round == 0 { try await node.create("c", dimension: Self.dimension, indexes: [("worker", .keyword)]) }
            try await Self.check(node, &histories, note)
            let delay = Duration.milliseconds(Int.random(in: 20...600, using: &rng))
            let seeds = (0..<Self.workers).map { _ in rng.next() }
            let before = histories
            histories = await withTaskGroup(of: (Int, [KeyHistory])?.self) { group in
                for worker in 0..<Self.workers {
                    group.addTask { (worker, await Self.work(node, worker, before[worker], seeds[worker], note)) }
                }
                group.addTask {
                    try? await Task.sleep(for: delay)
                    try? await offThePool { node.server.kill() }
                    return nil
                }
                var after = before
                for await done in group { if let (worker, history) = done { after[worker] = history } }
                return after
            }
            await node.client.close()
            acknowledged += zip(histories, before).map { a, b in
                zip(a, b).map { $0.acknowledged - $1.acknowledged }.reduce(0, +)
            }.reduce(0, +)
        }
        let node = try await TestNode(path, settings: settings)
        try await Self.check(node, &histories, "last")
        let verified: VecraftV1.VerifyResponse = try await node.call("Lineage/Verify", VecraftV1.VerifyRequest())
        #expect(verified.ok)
        #expect(await node.stop() == 0)
        print("torture: \(Self.rounds) kills, \(acknowledged) acknowledged writes, seed \(Self.seed)")
        #expect(acknowledged > Self.rounds)
    }

    /// Every key holds what its history allows; the count is exactly the keys that live.
    private static func check(_ node: TestNode, _ histories: inout [[KeyHistory]], _ note: Comment) async throws {
        var live: UInt64 = 0
        for worker in histories.indices {
            let keys = histories[worker].map(\.key)
            let reply = try await node.get("c", keys, read: .init(consistency: .strong))
            var found: [String: Int] = [:]
            for stored in reply.points {
                #expect(found[stored.id] == nil, note)
                found[stored.id] = try Self.number(stored.payload)
            }
            for i in histories[worker].indices {
                let key = histories[worker][i].key
                let allowed = histories[worker][i].allowed
                #expect(
                    allowed.contains(found[key]),
                    "\(note): \(key) holds \(String(describing: found[key])), allowed \(allowed)")
                histories[worker][i].settle(found[key])
                if found[key] != nil { live += 1 }
            }
        }
        #expect(try await node.count("c") == live, note)
    }

    private static func number(_ payload: VecraftV1.Payload?) throws -> Int {
        let json = try JSONValue(parsing: payload?.json ?? [])
        return Int(json["n"]?.integerValue ?? -1)
    }

    /// Writes, reads back and searches until the node dies.
    private static func work(
        _ node: TestNode, _ worker: Int, _ start: [KeyHistory], _ seed: UInt64, _ note: Comment
    ) async -> [KeyHistory] {
        var keys = start
        var rng = SeededRNG(seed: seed)
        while true {
            let i = Int.random(in: 0..<keys.count, using: &rng)
            let isDelete = Int.random(in: 0..<4, using: &rng) == 0
            let number = keys[i].begin(delete: isDelete)
            let vector = randomVector(Self.dimension, using: &rng)
            do {
                if isDelete {
                    try await node.delete("c", [keys[i].key])
                } else {
                    try await node.upsert(
                        "c", [point(keys[i].key, vector, payload: "{\"n\":\(number),\"worker\":\"w\(worker)\"}")])
                }
                keys[i].acknowledge()
                switch Int.random(in: 0..<3, using: &rng) {
                case 0:
                    // Read your writes, by the gateway's memory of this address.
                    let reply = try await node.get("c", [keys[i].key])
                    let seen = try reply.points.first.map { try Self.number($0.payload) }
                    #expect(seen == (isDelete ? nil : number), note)
                case 1:
                    let reply = try await node.get("c", [keys[i].key], read: .init(consistency: .strong))
                    let seen = try reply.points.first.map { try Self.number($0.payload) }
                    #expect(seen == (isDelete ? nil : number), note)
                default:
                    let filter = VecraftV1.Filter(must: [.init(test: .hasID(.init(values: [keys[i].key])))])
                    let reply: VecraftV1.SearchResponse = try await node.call(
                        "Points/Search",
                        VecraftV1.SearchRequest(
                            collection: "c", vector: .init(values: vector), limit: 3, filter: filter,
                            read: .init(consistency: .strong)))
                    #expect(reply.hits.map(\.id) == (isDelete ? [] : [keys[i].key]), note)
                }
            } catch {
                return keys
            }
        }
    }
}

/// What one key may hold. `nil` stands for "no such point".
struct KeyHistory: Sendable {
    let key: String
    private(set) var acknowledged = 0
    private var next = 1
    private var settled: Int?
    /// The write in the air: what it would leave.
    private var pending: Int??

    init(key: String) { self.key = key }

    var allowed: [Int?] { self.pending.map { [self.settled, $0] } ?? [self.settled] }

    mutating func begin(delete: Bool) -> Int {
        let number = self.next
        self.next += 1
        self.pending = .some(delete ? nil : number)
        return number
    }

    mutating func acknowledge() {
        if let pending = self.pending { self.settled = pending }
        self.pending = .none
        self.acknowledged += 1
    }

    mutating func settle(_ seen: Int?) {
        self.settled = seen
        self.pending = .none
    }
}
