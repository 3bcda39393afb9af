import ClusterSupport
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Nodes that are all asked at once what they must ask each other.
    @Suite("Questions of lineage between nodes", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct LineageQuestionsTests {
        @Test(.timeLimit(.minutes(20))) func nodesThatAskEachOtherAllAnswer() async throws {
            let run = try await ClusterRun.start()
            let cluster = run.cluster
            for i in 0..<40 {
                let _: VecraftV1.UpsertResponse = try await cluster.call(
                    "vecraft.v1.Points/Upsert",
                    VecraftV1.UpsertRequest(
                        collection: ClusterRun.collection,
                        points: [VecraftV1.Point(id: "p\(i)", vector: .init(values: [1, 2, 3, Float(i)]))],
                        idempotencyKey: "p\(i)"))
            }
            // Nodes connect when they ask for the first time: not in the middle of what is tested.
            for node in cluster.nodes {
                try await eventually("node \(node.id) hears from the others") {
                    let answer: VecraftV1.VerifyResponse = try await node.call(
                        "vecraft.v1.Lineage/Verify", VecraftV1.VerifyRequest(), timeout: .seconds(60))
                    return answer.unansweredNodes.isEmpty
                }
            }
            // Each fills more turns than a node has, and each waits for the others'.
            let answers = try await withThrowingTaskGroup(of: VecraftV1.VerifyResponse.self) { group in
                for node in cluster.nodes {
                    for _ in 0..<16 {
                        group.addTask {
                            try await node.call(
                                "vecraft.v1.Lineage/Verify", VecraftV1.VerifyRequest(), timeout: .seconds(60))
                        }
                    }
                }
                var answers: [VecraftV1.VerifyResponse] = []
                for try await answer in group { answers.append(answer) }
                return answers
            }
            #expect(answers.count == 48)
            for answer in answers {
                #expect(answer.ok && answer.unansweredNodes.isEmpty && Set(answer.partitions.map(\.node)).count == 3)
            }

            // A page of one node is gone on with at another: the journal is the cluster's.
            let first: VecraftV1.LineageResponse = try await cluster[1].persistently(
                "vecraft.v1.Lineage/Between", VecraftV1.BetweenRequest(operations: ["upsert"], limit: 5),
                timeout: .seconds(30))
            #expect(first.entries.count == 5)
            for node in cluster.nodes {
                let second: VecraftV1.LineageResponse = try await node.persistently(
                    "vecraft.v1.Lineage/Between",
                    VecraftV1.BetweenRequest(operations: ["upsert"], limit: 5, pageToken: first.nextPageToken),
                    timeout: .seconds(30))
                #expect(second.entries.first?.offset == first.entries[4].offset + 1, "node \(node.id)")
            }
            await cluster.killAll()
        }
    }
}
