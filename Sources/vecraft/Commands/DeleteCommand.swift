package import ArgumentParser
internal import Primitives
internal import Wire

package struct DeleteCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "delete", abstract: "Delete points by id or by filter.",
        discussion: """
            Examples:
              vecraft delete notes a b c
              vecraft delete packages --where priority=extra

            Deleting a point that is not there succeeds.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "Which points") package var filter: FilterOptionGroup

    @Argument(help: "The collection.")
    package var collection: String

    @Argument(help: "The points' ids.")
    package var ids: [String] = []

    @Option(help: ArgumentHelp("Key under which the node does this once, however often it is asked.", valueName: "key"))
    package var idempotencyKey = ""

    @Flag(help: "Wait until every reader sees it, not only until it is durable.")
    package var applied = false

    @Flag(name: [.short, .long], help: "Do not ask before deleting by filter.")
    package var yes = false

    package init() {}

    package func validate() throws {
        guard self.ids.isEmpty != self.filter.isEmpty else {
            throw ValidationError("Say which points: ids, or --where or --filter, not both.")
        }
    }

    package func run(on node: Node) async throws {
        let filter = try self.filter.wire()
        if let filter, !self.yes {
            let count: VecraftV1.CountResponse = try await node.call(
                VecraftV1.Points.count,
                VecraftV1.CountRequest(collection: self.collection, filter: filter, tenant: self.global.tenant))
            try Confirmation.ask(
                "Delete \(Figures.count(count.count, "point")) of '\(self.collection)'?", agreed: false)
        }
        let request = VecraftV1.DeleteRequest(
            collection: self.collection, ids: self.ids, filter: filter, wait: self.applied ? .applied : .committed,
            idempotencyKey: self.idempotencyKey, tenant: self.global.tenant)
        let response: VecraftV1.DeleteResponse = try await node.call(VecraftV1.Points.delete, request)
        try self.global.format.write(try response.tree()) { _ in
            "Deleted: \(WriteView.text(response.write ?? VecraftV1.WriteInfo())).\n"
        }
    }
}

/// Where a write stands, in a few words.
enum WriteView {
    static func text(_ write: VecraftV1.WriteInfo) -> String {
        let again = write.replayed ? ", by an earlier request with the same key" : ""
        return "journal \(write.partition) at \(write.offset), request \(write.requestID)\(again)"
    }
}
