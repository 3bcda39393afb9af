package import ArgumentParser
internal import Primitives
internal import Wire

package struct JournalCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "journal", abstract: "Look at the journal: its partitions, its newest entries, its health.",
        subcommands: [JournalPartitionsCommand.self, JournalTailCommand.self, JournalVerifyCommand.self])

    package init() {}
}

package struct JournalPartitionsCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "partitions", abstract: "Show the journal's partitions and how far they are applied.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    package init() {}

    package func run(on node: Node) async throws {
        let status: VecraftV1.StatusResponse = try await node.call(VecraftV1.Cluster.status, VecraftV1.StatusRequest())
        let json = JSONValue.array(try status.partitions.map { partition throws(VecraftError) in try partition.tree() })
        self.global.format.write(json) { StatusView.partitions(status.partitions).render($0) }
    }
}
