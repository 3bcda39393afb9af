package import ArgumentParser
internal import Primitives
internal import Wire

package struct SearchCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Find the points nearest to a vector.",
        discussion: """
            Examples:
              vecraft search packages --text "play music from the terminal"
              vecraft search packages --like gnuchess --where section=games
              vecraft search notes --vector 0.1,0.7,0.2 --limit 3 --output json
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "What to look for") package var query: QueryOptionGroup
    @OptionGroup(title: "Which points") package var filter: FilterOptionGroup
    @OptionGroup(title: "How fresh") package var read: ReadOptionGroup

    @Argument(help: "The collection.")
    package var collection: String

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("Points wanted.", valueName: "n"))
    package var limit: UInt32 = 10

    @Option(help: ArgumentHelp("Which vector to compare with. (default: the unnamed one)", valueName: "name"))
    package var using = ""

    @Option(
        help: ArgumentHelp(
            "Candidates kept in the graph walk: more finds more and takes longer. (default: chosen)", valueName: "n"))
    package var ef: UInt32?

    @Flag(help: "Compare with every matching point instead of walking the graph.")
    package var exact = false

    @Option(help: ArgumentHelp("Payload fields to show, with commas. (default: the payload)", valueName: "fields"))
    package var columns: String?

    @Flag(help: "Vectors too (in --output json).")
    package var withVectors = false

    package init() {}

    package func validate() throws {
        guard (1...UInt32(Limits.searchLimit)).contains(self.limit) else {
            throw ValidationError("--limit: 1 to \(Limits.searchLimit)")
        }
    }

    package func run(on node: Node) async throws {
        let filter = try self.filter.wire()
        let (vector, title) = try await self.query.resolve(on: node, collection: self.collection, using: self.using)
        var request = VecraftV1.SearchRequest(
            collection: self.collection, vector: vector, using: self.using, limit: self.limit, filter: filter,
            ef: self.ef ?? 0,
            exact: self.exact, withVectors: self.withVectors, read: self.read.wire, tenant: self.global.tenant)
        if let id = self.query.like { request.filter = Self.without(id, filter) }
        let response: VecraftV1.SearchResponse = try await node.call(VecraftV1.Points.search, request)
        try self.global.format.write(try response.tree()) { terminal in
            HitView(columns: HitView.columns(self.columns)).text(response, title: title, terminal)
        }
    }

    private static func without(_ id: String, _ filter: VecraftV1.Filter?) -> VecraftV1.Filter {
        let itself = VecraftV1.Condition(test: .hasID(VecraftV1.Strings(values: [id])))
        let others = filter.map { [VecraftV1.Condition(test: .filter($0))] } ?? []
        return VecraftV1.Filter(must: others, mustNot: [itself])
    }
}
