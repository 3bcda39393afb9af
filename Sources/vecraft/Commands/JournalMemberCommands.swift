package import ArgumentParser
internal import Primitives
internal import Wire

// Who replicates the journal's partitions.

package struct JournalAddReplicaCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "add-replica", abstract: "Add a node to the groups that replicate the journal.",
        discussion: """
            Start the new node first, with the others in --peers, and with --join. It gets the journal, then votes.
            Waits up to 600 s for that, or --timeout; one that never answers is not added. Ask any node; safe to repeat.
              vecraft journal add-replica 4 --at 10.0.0.4:7500
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Id of the node to be added.")
    package var node: UInt64

    @Option(help: ArgumentHelp("Where the new node listens for the others.", valueName: "host:port"))
    package var at: String

    @Option(help: ArgumentHelp("Only this partition; may be repeated. (default: all)", valueName: "name"))
    package var partition: [String] = []

    package init() {}

    /// Catching up takes as long as it takes, unless the caller says otherwise.
    package var patience: Duration { self.global.timeout?.duration ?? .seconds(600) }

    package func run(on node: Node) async throws {
        var patient = node
        patient.timeout = self.patience
        let reply: VecraftInternalV1.MembersResponse = try await patient.call(
            VecraftInternalV1.Journal.addReplica,
            VecraftInternalV1.AddReplicaRequest(nodeID: self.node, address: self.at, partitions: self.partition))
        try MembersView.write(reply.partitions, self.global)
    }
}

package struct JournalRemoveReplicaCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "remove-replica", abstract: "Take a node out of the groups that replicate the journal.",
        discussion: "Ask any node, best one that stays. The removed node's id must not come back with other data.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "Id of the node to be removed.")
    package var node: UInt64

    @Option(help: ArgumentHelp("Only this partition; may be repeated. (default: all)", valueName: "name"))
    package var partition: [String] = []

    package init() {}

    package func run(on node: Node) async throws {
        let reply: VecraftInternalV1.MembersResponse = try await node.call(
            VecraftInternalV1.Journal.removeReplica,
            VecraftInternalV1.RemoveReplicaRequest(nodeID: self.node, partitions: self.partition))
        try MembersView.write(reply.partitions, self.global)
    }
}

package struct JournalTransferCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "transfer", abstract: "Hand the leadership of a partition to another node.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The partition, such as data-0.")
    package var partition: String

    @Argument(help: "Id of the node that shall lead.")
    package var node: UInt64

    package init() {}

    package func run(on node: Node) async throws {
        let _: VecraftInternalV1.TransferLeadershipResponse = try await node.call(
            VecraftInternalV1.Journal.transferLeadership,
            VecraftInternalV1.TransferLeadershipRequest(partition: self.partition, nodeID: self.node))
        Console.print("Node \(self.node) takes over \(self.partition).")
    }
}

package struct JournalTrimCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "trim", abstract: "Forget a partition's oldest entries, on the node that is asked.",
        discussion: """
            Whole segments are removed, and none that holds what this node's own shards have not on disk. What is forgotten can
            no longer be asked by lineage, and a node whose shard has not applied it builds that from another's when it starts.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The partition, such as data-0.")
    package var partition: String

    @Option(help: ArgumentHelp("The last offset to forget; it must be committed.", valueName: "offset"))
    package var through: UInt64

    package init() {}

    package func run(on node: Node) async throws {
        let reply: VecraftInternalV1.TrimResponse = try await node.call(
            VecraftInternalV1.Journal.trim,
            VecraftInternalV1.TrimRequest(partition: self.partition, through: self.through))
        Console.print(
            "\(self.partition) forgets what whole segments hold through \(self.through), in the background; it begins at \(reply.firstOffset) now."
        )
    }
}

/// Partitions with who replicates them, for people and for programs.
enum MembersView {
    static func write(_ partitions: [VecraftInternalV1.PartitionInfo], _ global: GlobalOptions) throws(VecraftError) {
        let json = JSONValue.array(try partitions.map { part throws(VecraftError) in try part.tree() })
        global.format.write(json) { Self.table(partitions).render($0) }
    }

    static func table(_ partitions: [VecraftInternalV1.PartitionInfo]) -> Table {
        var table = Table([
            .init("partition"), .init("leader"), .init("term", right: true), .init("this node"), .init("first", right: true, optional: true),
            .init("committed", right: true), .init("last", right: true), .init("members", flexible: true),
        ])
        for part in partitions {
            let role = part.failure.isEmpty ? part.role + (part.recovering ? ", recovering" : "") : "stopped: \(part.failure)"
            table.add([
                part.partition,
                part.leader == 0 ? part.replica == 0 ? "this node, alone" : "none" : "node \(part.leader)",
                "\(part.term)", role, "\(part.firstOffset)",
                "\(part.committedOffset)", "\(part.lastOffset)", part.members.map(Self.member).joined(separator: ", "),
            ])
        }
        return table
    }

    private static func member(_ member: VecraftInternalV1.MemberInfo) -> String {
        var text = "\(member.nodeID)"
        if !member.voter { text += member.outgoing ? " leaving" : " learning" }
        if member.lagEntries > 0 { text += " (-\(member.lagEntries))" }
        return text
    }
}
