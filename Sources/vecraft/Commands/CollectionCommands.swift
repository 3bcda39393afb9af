package import ArgumentParser
internal import Primitives
package import Wire

package struct CollectionListCommand: NodeCommand {
    package static let configuration = CommandConfiguration(commandName: "list", abstract: "Show all collections.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    package init() {}

    package func run(on node: Node) async throws {
        let response: VecraftV1.ListCollectionsResponse = try await node.call(
            VecraftV1.Collections.listCollections, VecraftV1.ListCollectionsRequest(tenant: self.global.tenant))
        try self.global.format.write(try response.tree()) { CollectionView.list(response.collections, $0) }
    }
}

package struct CollectionDescribeCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "describe", abstract: "Show one collection: its schema and what it holds.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The collection.")
    package var name: String

    package init() {}

    package func run(on node: Node) async throws {
        let response: VecraftV1.DescribeCollectionResponse = try await node.call(
            VecraftV1.Collections.describeCollection,
            VecraftV1.DescribeCollectionRequest(name: self.name, tenant: self.global.tenant))
        try self.global.format.write(try response.tree()) {
            CollectionView.details(response.collection ?? VecraftV1.Collection(), $0)
        }
    }
}

package struct CollectionUpdateCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "update", abstract: "Change the codes of a collection's graphs while it serves.",
        discussion: """
            Sealed segments are written again one after another; `vecraft collection describe` says how many are left.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The collection.")
    package var name: String

    @Option(help: "Codes that sealed graphs are walked on: auto, none, int8 or int4.")
    package var quantisation: QuantisationName

    @Option(help: ArgumentHelp("A named vector to change; all if none is given. May be repeated.", valueName: "name"))
    package var vector: [String] = []

    package init() {}

    package var request: VecraftV1.UpdateCollectionRequest {
        VecraftV1.UpdateCollectionRequest(
            name: self.name, tenant: self.global.tenant, quantisation: self.quantisation.wire, vectors: self.vector)
    }

    package func run(on node: Node) async throws {
        let response: VecraftV1.UpdateCollectionResponse = try await node.call(
            VecraftV1.Collections.updateCollection, self.request)
        try self.global.format.write(try response.tree()) {
            CollectionView.details(response.collection ?? VecraftV1.Collection(), $0)
        }
    }
}

package struct CollectionDropCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "drop", abstract: "Drop a collection and all its points.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The collection.")
    package var name: String

    @Flag(name: [.short, .long], help: "Do not ask.")
    package var yes = false

    package init() {}

    package func run(on node: Node) async throws {
        try Confirmation.ask("Drop the collection '\(self.name)' and all its points?", agreed: self.yes)
        let response: VecraftV1.DropCollectionResponse = try await node.call(
            VecraftV1.Collections.dropCollection,
            VecraftV1.DropCollectionRequest(name: self.name, tenant: self.global.tenant))
        try self.global.format.write(try response.tree()) { _ in "Dropped '\(self.name)'.\n" }
    }
}
