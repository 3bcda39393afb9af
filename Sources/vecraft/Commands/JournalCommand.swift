package import ArgumentParser
internal import Primitives
internal import Wire

package struct JournalCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "journal", abstract: "Look at the journal: its partitions, its newest entries, its health, its replicas.",
        subcommands: [
            JournalPartitionsCommand.self, JournalTailCommand.self, JournalVerifyCommand.self, JournalAddReplicaCommand.self,
            JournalRemoveReplicaCommand.self, JournalTransferCommand.self, JournalTrimCommand.self,
        ])

    package init() {}
}

package struct JournalPartitionsCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "partitions", abstract: "Show the journal's partitions: how far they are applied, and in a cluster who replicates them.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    package init() {}

    package func run(on node: Node) async throws {
        let groups: VecraftInternalV1.PartitionsResponse = try await node.call(
            VecraftInternalV1.Journal.partitions, VecraftInternalV1.PartitionsRequest())
        if groups.partitions.contains(where: { $0.replica > 0 }) {
            return try MembersView.write(groups.partitions, self.global)
        }
        let status: VecraftV1.StatusResponse
        do throws(VecraftError) {
            status = try await node.call(VecraftV1.Cluster.status, VecraftV1.StatusRequest())
        } catch {
            // A node that is the journal and nothing else applies nothing.
            guard error.code == .unimplemented else { throw error }
            return try MembersView.write(groups.partitions, self.global)
        }
        let json = JSONValue.array(try status.partitions.map { partition throws(VecraftError) in try partition.tree() })
        self.global.format.write(json) { StatusView.partitions(status.partitions).render($0) }
    }
}
