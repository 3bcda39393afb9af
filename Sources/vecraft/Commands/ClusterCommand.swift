package import ArgumentParser
internal import ControlPlane
internal import Etcd
internal import FileStore
internal import NIOPosix
internal import Primitives
internal import ServiceHost
internal import Wire

package struct ClusterCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "cluster", abstract: "Make a cluster that runs itself, look at it, change its nodes.",
        discussion: """
            With etcd beside it, a cluster knows its nodes and who holds what, and repairs itself:
              vecraft cluster init --etcd 127.0.0.1:2379
              vecraft serve --etcd 127.0.0.1:2379 --listen 10.0.0.1:7402 --data-directory d    # on each node
              vecraft cluster status
            """,
        subcommands: [
            ClusterInitCommand.self, ClusterJoinCommand.self, ClusterStatusCommand.self, ClusterDrainCommand.self,
            ClusterRemoveCommand.self, ClusterRebalanceCommand.self,
        ])

    package init() {}
}

package struct ClusterInitCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Make a cluster in etcd; its nodes join it by themselves.",
        discussion: "Safe to repeat. Other numbers than those it was made with are refused: they are for ever.")

    @OptionGroup package var format: OutputOptions
    @OptionGroup package var settings: SettingsOptions

    @Option(help: ArgumentHelp("Journal partitions for collections; a tenant's share one.", valueName: "count"))
    package var dataPartitions = 2

    @Option(
        help: ArgumentHelp(
            "Nodes that vote on each partition: 1, 3 or 5. It begins when so many are there.", valueName: "count"))
    package var voters = 3

    @Option(help: ArgumentHelp("Copies of each shard, 1 to 7.", valueName: "count"))
    package var replicas = 2

    @Option(
        help: ArgumentHelp(
            "Put a cluster back whose etcd lost it, from the data directory of its node with the newest map.",
            valueName: "folder"))
    package var from: String?

    package init() {}

    package func run() async throws {
        let document = try ClusterDocument(
            dataPartitions: self.dataPartitions, voters: self.voters, replicas: self.replicas)
        let settings = try self.settings.load().values
        guard settings.cluster.runsItself else {
            throw VecraftError.invalid("--etcd", "must be given: host:port of etcd's members")
        }
        let store = try EtcdMetadataStore(try settings.etcd(), group: MultiThreadedEventLoopGroup.singleton)
        do throws(VecraftError) {
            if let from = self.from {
                let epoch = try await ClusterDocument.restore(from: from, to: store, files: PosixFileStore())
                await store.close()
                return Console.print("Cluster \"\(settings.cluster.id)\" is put back, with its map of epoch \(epoch).")
            }
            try await document.write(store)
            await store.close()
        } catch {
            await store.close()
            throw error
        }
        self.format.write([
            "cluster": .string(settings.cluster.id), "data_partitions": .integer(Int64(self.dataPartitions)),
            "voters": .integer(Int64(self.voters)), "replicas": .integer(Int64(self.replicas)),
        ]) { _ in
            """
            Cluster "\(settings.cluster.id)" is made: \(Figures.count(self.dataPartitions, "data partition")), \(self.voters) voters each, \(self.replicas) copies of each shard.
            It begins when \(Figures.count(self.voters, "node")) \(self.voters == 1 ? "is" : "are") there:
              vecraft serve --etcd \(settings.cluster.etcd)\(settings.cluster.id == "vecraft" ? "" : " --cluster-id \(settings.cluster.id)") --listen HOST:PORT --data-directory FOLDER

            """
        }
    }
}

package struct ClusterJoinCommand: AsyncParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Run a node of the cluster: vecraft serve, with --etcd required.",
        discussion: "The node gets its id from the cluster and keeps it in its data directory.")

    @OptionGroup package var settings: SettingsOptions

    package init() {}

    package func run() async throws {
        let signals = TerminationSignals()
        let loaded = try self.settings.load()
        guard loaded.values.cluster.runsItself else {
            throw VecraftError.invalid("--etcd", "must be given: host:port of etcd's members")
        }
        try await ServedNode.serve(loaded.values, signals)
    }
}

package struct ClusterStatusCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show nodes, leaders, lags and replicas, and what is wrong.",
        discussion: "Ask any node. Ends with status 1 if something is wrong.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Flag(help: "Every shard with its copies, not only those with something wrong.")
    package var shards = false

    package init() {}

    package func run(on node: Node) async throws {
        let overview: VecraftV1.OverviewResponse = try await node.call(
            VecraftV1.Cluster.overview, VecraftV1.OverviewRequest())
        try self.global.format.write(try overview.tree()) { OverviewView(overview, allShards: self.shards).text($0) }
        if !overview.problems.isEmpty { throw QuietExit(.failure) }
    }
}

package struct ClusterDrainCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "drain", abstract: "Move everything off a node, which serves until that is done.",
        discussion: "Waits until the node holds nothing, or --timeout. Then: vecraft cluster remove.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Id of the node.")
    package var node: UInt64

    @Flag(help: "Do not wait.")
    package var noWait = false

    @Flag(help: "Take the drain back: the node may hold something again.")
    package var cancel = false

    package init() {}

    package func run(on node: Node) async throws {
        if self.cancel {
            let _: VecraftV1.NodeChangeResponse = try await node.call(
                VecraftV1.Cluster.cancelDrain, VecraftV1.CancelDrainRequest(node: self.node))
            return Console.print("Node \(self.node) is active again.")
        }
        let begun: VecraftV1.NodeChangeResponse
        do throws(VecraftError) {
            begun = try await node.call(VecraftV1.Cluster.drainNode, VecraftV1.DrainNodeRequest(node: self.node))
        } catch {
            // Asked again: it goes on.
            guard error.reason == "MAP_CHANGE_REFUSED",
                error.message.contains("draining") || error.message.contains("drained")
            else { throw error }
            begun = VecraftV1.NodeChangeResponse()
        }
        if self.noWait { return Console.print("Node \(self.node) is being drained (map of epoch \(begun.mapEpoch)).") }
        let end = ContinuousClock.now + (self.global.timeout?.duration ?? .seconds(600))
        while ContinuousClock.now < end {
            let overview: VecraftV1.OverviewResponse = try await node.call(
                VecraftV1.Cluster.overview, VecraftV1.OverviewRequest())
            guard let info = overview.nodes.first(where: { $0.id == self.node }) else {
                throw VecraftError(.notFound, "node \(self.node) is not in the cluster any more")
            }
            if info.state == "drained" {
                return Console.print("Node \(self.node) holds nothing; it can be stopped and removed.")
            }
            guard info.state == "draining" else {
                throw VecraftError(.aborted, "node \(self.node) is \(info.state): somebody took the drain back")
            }
            try await Task.sleep(for: .milliseconds(250))
        }
        throw VecraftError(
            .deadlineExceeded, "node \(self.node) is not drained yet; it goes on (vecraft cluster status)")
    }
}

package struct ClusterRemoveCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a drained node out of the cluster, for good.",
        discussion: "Its id is not given out again; with an empty folder it joins as a new node.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Id of the node.")
    package var node: UInt64

    package init() {}

    package func run(on node: Node) async throws {
        let _: VecraftV1.NodeChangeResponse = try await node.call(
            VecraftV1.Cluster.removeNode, VecraftV1.RemoveNodeRequest(node: self.node))
        Console.print("Node \(self.node) is removed.")
    }
}

package struct ClusterRebalanceCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "rebalance", abstract: "Wait until copies are spread evenly, and show what moves.",
        discussion: """
            A cluster evens itself out whenever nothing is missing: a new node gets its share without being asked. This watches
            it do so, and ends when nothing moves any more, or at --timeout (600 s).
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    package init() {}

    /// Nothing has moved for so long: longer than a node that was away once is given nothing (5 s).
    private static let quiet: Duration = .seconds(8)

    package func run(on node: Node) async throws {
        let end = ContinuousClock.now + (self.global.timeout?.duration ?? .seconds(600))
        var said: Set<String> = []
        var restedSince: ContinuousClock.Instant?
        while ContinuousClock.now < end {
            let overview: VecraftV1.OverviewResponse = try await node.call(
                VecraftV1.Cluster.overview, VecraftV1.OverviewRequest())
            for shard in overview.shards {
                for replica in shard.replicas where replica.state == "building" {
                    let line = "\(shard.collection)/\(shard.shard): a copy is made on node \(replica.node)"
                    if said.insert(line).inserted { Console.print(line) }
                }
            }
            let isMoving = overview.shards.contains { shard in
                shard.replicas.contains { $0.state != "live" } || shard.replicas.count != Int(shard.wanted)
            }
            if isMoving { restedSince = nil } else if restedSince == nil { restedSince = .now }
            if let restedSince, restedSince.duration(to: .now) > Self.quiet {
                let counts = overview.nodes.map { "node \($0.id): \(Figures.count($0.shards, "copy", "copies"))" }
                return Console.print("Nothing moves. " + counts.joined(separator: ", "))
            }
            try await Task.sleep(for: .milliseconds(200))
        }
        throw VecraftError(.deadlineExceeded, "copies are still being moved (vecraft cluster status)")
    }
}

/// A cluster as tables.
struct OverviewView {
    private let overview: VecraftV1.OverviewResponse
    private let allShards: Bool

    init(_ overview: VecraftV1.OverviewResponse, allShards: Bool) {
        self.overview = overview
        self.allShards = allShards
    }

    func text(_ terminal: Terminal) -> String {
        let overview = self.overview
        let style = terminal.style
        var text = "Cluster \(style.bold(TextWidth.printable(overview.clusterID))), map of epoch \(overview.mapEpoch), "
        text += overview.controller > 0 ? "node \(overview.controller) decides\n" : "nobody decides\n"
        for problem in overview.problems { text += "  \(style.red("!"))  \(TextWidth.printable(problem))\n" }
        if overview.problems.isEmpty { text += "  \(style.green("ok"))  everything is as it should be\n" }
        text += "\n" + self.nodes.render(terminal)
        text += "\n" + self.partitions.render(terminal)
        let shards = self.shown
        if !shards.isEmpty { text += "\n" + self.table(of: shards).render(terminal) }
        let rest = overview.shards.count - shards.count
        if rest > 0 { text += "\(Figures.count(rest, "shard")) with all copies (--shards shows them)\n" }
        return text
    }

    private var nodes: Table {
        var table = Table([
            .init("node", right: true), .init("name"), .init("roles", optional: true), .init("state"),
            .init("condition"), .init("zone", optional: true),
            .init("copies", right: true), .init("leads", flexible: true), .init("lag", right: true),
            .init("disk free", right: true, optional: true),
            .init("clients", optional: true), .init("up", right: true, optional: true),
        ])
        for node in self.overview.nodes {
            let lag = node.lagEntries == 0 ? "none" : "\(Figures.count(node.lagEntries)), \(node.lagMs) ms"
            table.add([
                "\(node.id)", TextWidth.printable(node.name),
                node.roles == ["all"] ? "" : node.roles.joined(separator: " "), node.state,
                node.condition.isEmpty ? "silent" : node.condition,
                TextWidth.printable(node.zone), "\(node.shards)", node.leads.joined(separator: " "),
                node.condition.isEmpty ? "" : lag,
                node.diskFreeBytes == 0 ? "" : Figures.bytes(node.diskFreeBytes),
                TextWidth.printable(node.clientAddress),
                node.uptimeMs == 0 ? "" : Figures.duration(.milliseconds(Int64(clamping: node.uptimeMs))),
            ])
        }
        return table
    }

    private var partitions: Table {
        var table = Table([
            .init("partition"), .init("leader", right: true), .init("term", right: true), .init("voters"),
            .init("learners"),
            .init("committed", right: true),
        ])
        func list(_ ids: [UInt64]) -> String { ids.map(\.description).joined(separator: " ") }
        for part in self.overview.partitions {
            table.add([
                part.partition, part.leader == 0 ? "none" : "\(part.leader)", "\(part.term)", list(part.voters),
                list(part.learners),
                Figures.count(part.committedOffset),
            ])
        }
        return table
    }

    private var shown: [VecraftV1.ShardInfo] {
        if self.allShards { return self.overview.shards }
        return self.overview.shards.filter { shard in
            shard.replicas.count != Int(shard.wanted)
                || shard.replicas.contains { $0.state != "live" || $0.condition != "ready" }
        }
    }

    private func table(of shards: [VecraftV1.ShardInfo]) -> Table {
        var table = Table([
            .init("shard"), .init("partition"), .init("points", right: true), .init("copies", flexible: true),
        ])
        for shard in shards {
            let name = shard.collection.isEmpty ? "\(shard.collectionID)" : TextWidth.printable(shard.collection)
            let points = shard.replicas.map(\.points).max() ?? 0
            table.add([
                "\(name)/\(shard.shard)", shard.partition, Figures.count(points),
                shard.replicas.map(Self.replica).joined(separator: ", "),
            ])
        }
        return table
    }

    private static func replica(_ replica: VecraftV1.ShardReplicaInfo) -> String {
        var text = "\(replica.node)"
        let condition = replica.condition.isEmpty ? "silent" : replica.condition
        if replica.state != "live" || condition != "ready" { text += " \(replica.state), \(condition)" }
        if replica.condition == "building" {
            text += " \(Figures.decimal(replica.progress * 100, 0)) %"
            if replica.remainingMs > 0 {
                text += ", \(Figures.duration(.milliseconds(Int64(clamping: replica.remainingMs)))) left"
            }
        }
        return text
    }
}
