import ClusterSupport
import Foundation
import Primitives
import Synchronization
import TestSupport
import Wire

/// A little of everything that clients do, at all nodes and all levels, so that all metrics move.
final class MonitoredLoad: Sendable {
    static let collection = "things"
    private static let levels: [VecraftV1.ConsistencyLevel] = [.eventual, .bounded, .readYourWrites, .strong]
    /// A client rests this long between its calls; leaves the nodes some of a small machine's time.
    private static let rest: Duration = .milliseconds(20)

    private let cluster: TestCluster
    private let isOver = Atomic<Bool>(false)
    /// Calls that were answered; the others met a node that was down.
    private let answered = Atomic<Int>(0)

    init(_ cluster: TestCluster) { self.cluster = cluster }

    /// Loads the cluster while `body` runs.
    func run(while body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await self.write() }
            for level in Self.levels { group.addTask { await self.read(level) } }
            group.addTask { await self.look() }
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
            self.isOver.store(true, ordering: .relaxed)
            try await group.waitForAll()
            try outcome.get()
        }
        guard self.answered.load(ordering: .relaxed) > 100 else {
            throw CommandFailure(description: "only \(self.answered.load(ordering: .relaxed)) calls were answered")
        }
    }

    /// Calls again and again, each time at the next node; what fails is tried no more.
    private func client(_ call: (Int, ClusterNode) async throws -> Void) async {
        for round in 0... {
            if self.isOver.load(ordering: .relaxed) { return }
            let node = self.cluster.nodes[round % self.cluster.nodes.count]
            if node.isRunning, (try? await call(round, node)) != nil { self.answered.add(1, ordering: .relaxed) }
            try? await Task.sleep(for: Self.rest)
        }
    }

    private static func vector(_ seed: Int) -> VecraftV1.Vector {
        VecraftV1.Vector(values: (0..<8).map { Float((seed &* 31 &+ $0 &* 17) % 101) })
    }

    private func write() async {
        let note = String(repeating: "a text of some length. ", count: 20)
        await self.client { round, node in
            let points = (0..<32).map { index in
                VecraftV1.Point(
                    id: "p\((round * 32 + index) % 4000)", vector: Self.vector(round * 32 + index),
                    payload: VecraftV1.Payload(json: Array("{\"note\":\"\(note)\"}".utf8)))
            }
            let _: VecraftV1.UpsertResponse = try await node.call(
                "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: Self.collection, points: points),
                timeout: .seconds(5))
            guard round % 20 == 19 else { return }
            let _: VecraftV1.DeleteResponse = try await node.call(
                "vecraft.v1.Points/Delete", VecraftV1.DeleteRequest(collection: Self.collection, ids: ["p\(round)"]),
                timeout: .seconds(5))
        }
    }

    private func read(_ level: VecraftV1.ConsistencyLevel) async {
        let read = VecraftV1.ReadOptions(consistency: level)
        await self.client { round, node in
            let _: VecraftV1.SearchResponse = try await node.call(
                "vecraft.v1.Points/Search",
                VecraftV1.SearchRequest(
                    collection: Self.collection, vector: Self.vector(round % 7), limit: 5, read: read),
                timeout: .seconds(5))
            let _: VecraftV1.CountResponse = try await node.call(
                "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: Self.collection, read: read),
                timeout: .seconds(5))
            let _: VecraftV1.GetResponse = try await node.call(
                "vecraft.v1.Points/Get",
                VecraftV1.GetRequest(collection: Self.collection, ids: ["p\(round % 50)"], read: read),
                timeout: .seconds(5))
        }
    }

    /// What people ask: lineage and the list of collections, over HTTP.
    private func look() async {
        await self.client { round, node in
            for path in ["", "/\(Self.collection)/points/p\(round % 50)/lineage"] {
                guard await node.answer("/v1/collections\(path)") != nil else {
                    throw CommandFailure(description: "no answer")
                }
            }
            try await Task.sleep(for: .milliseconds(300))
        }
    }
}
