package import ArgumentParser
internal import Primitives
internal import Wire

package struct CountCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "count", abstract: "Count points, exactly.",
        discussion: "Example: vecraft count packages --where 'installed_kib>=100000'")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "Which points") package var filter: FilterOptionGroup
    @OptionGroup(title: "How fresh") package var read: ReadOptionGroup

    @Argument(help: "The collection.")
    package var collection: String

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.CountRequest(
            collection: self.collection, filter: try self.filter.wire(), read: self.read.wire,
            tenant: self.global.tenant)
        let response: VecraftV1.CountResponse = try await node.call(VecraftV1.Points.count, request)
        try self.global.format.write(try response.tree()) { _ in "\(response.count)\n" }
    }
}
