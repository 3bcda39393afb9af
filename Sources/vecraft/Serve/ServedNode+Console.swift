internal import ControlPlane
internal import FileStore
internal import Foundation
internal import Gateway
internal import HTTP
internal import Primitives
internal import ServiceHost
internal import Wire

extension ServedNode {
    /// Served from the start on, so that it can show how far a start is.
    var consoleRoutes: [HTTPRoute] {
        self.settings.gateway.console && self.answersClients ? ConsoleRoutes.routes() : []
    }

    /// `GET /v1/cluster`: nodes, partitions, shards, and what is wrong, as `vecraft.v1.OverviewResponse`. A node that is
    /// in no cluster that runs itself answers for itself alone; `cluster_id` is then empty.
    func clusterRoutes(_ gateway: Gateway, _ member: ClusterMember?) -> [HTTPRoute] {
        let board = OverviewBoard { [self] () async throws(VecraftError) in
            if let member { return try await member.overview() }
            var overview = gateway.ownOverview()
            let directory = self.settings.node.dataDirectory
            let disk = try? FileManager.default.attributesOfFileSystem(forPath: directory)
            for index in overview.nodes.indices {
                overview.nodes[index].zone = self.settings.node.zone
                overview.nodes[index].diskFreeBytes = UInt64((try? self.files.freeBytes(directory)) ?? 0)
                overview.nodes[index].diskTotalBytes = (disk?[.systemSize] as? NSNumber)?.uint64Value ?? 0
            }
            return overview
        }
        return [
            HTTPRoute(.get, "/v1/cluster") { call in
                guard call.queryText.isEmpty else {
                    throw VecraftError.invalid("query", "\(call.route) takes no query parameters")
                }
                return .json(try await board.current())
            }
        ]
    }
}

/// Answers of one question to many who ask it at about the same time: a cluster's overview asks every node, and every
/// open console asks for it again and again.
///
/// At most one question is on its way. An answer serves for ``life``, which begins when it was asked for.
actor OverviewBoard {
    private static let life: Duration = .milliseconds(500)
    private typealias Asked = Task<[UInt8], any Error>
    private let ask: @Sendable () async throws(VecraftError) -> VecraftV1.OverviewResponse
    private var newest: (asked: Asked, since: ContinuousClock.Instant, isDone: Bool)?

    init(_ ask: @escaping @Sendable () async throws(VecraftError) -> VecraftV1.OverviewResponse) { self.ask = ask }

    /// The overview as JSON, with the fields that have their default.
    func current() async throws -> [UInt8] {
        if let newest, !newest.isDone || newest.since.duration(to: .now) < Self.life {
            return try await newest.asked.value
        }
        let ask = self.ask
        // Not a child: whoever asked first may leave while others wait. It ends by itself, each node's answer being awaited for a
        // bounded time.
        let asked = Asked { try await ask().json(includingDefaults: true) }
        self.newest = (asked, .now, false)
        defer { self.newest?.isDone = true }
        return try await asked.value
    }
}
