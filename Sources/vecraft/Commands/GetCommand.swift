package import ArgumentParser
internal import Primitives
internal import Wire

package struct GetCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Show points by id.",
        discussion: "Ends with status 3 if one of them is not there.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "How fresh") package var read: ReadOptionGroup

    @Argument(help: "The collection.")
    package var collection: String

    @Argument(help: "The points' ids.")
    package var ids: [String]

    @Flag(help: "Vectors too.")
    package var withVectors = false

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.GetRequest(
            collection: self.collection, ids: self.ids, withVectors: self.withVectors, read: self.read.wire,
            tenant: self.global.tenant)
        let response: VecraftV1.GetResponse = try await node.call(VecraftV1.Points.get, request)
        try self.global.format.write(try response.tree()) { terminal in
            response.points.map { Self.text($0, terminal) }.joined(separator: "\n")
        }
        guard response.missing.isEmpty else {
            throw VecraftError(
                .notFound, "not in '\(self.collection)': \(response.missing.map { "'\($0)'" }.joined(separator: ", "))")
        }
    }

    private static func text(_ point: VecraftV1.StoredPoint, _ terminal: Terminal) -> String {
        var fields = FieldList(terminal)
        let version = HLCTimestamp(rawValue: point.version)
        fields.title(point.id, note: "written \(Figures.time(version)), version \(point.version)")
        let payload = point.payload?.json ?? []
        for member in (try? JSONValue(parsing: payload))?.objectValue ?? [] {
            fields.add(member.key, PayloadView.text(member.value))
        }
        let unnamed = point.vector.map { [("vector", $0)] } ?? []
        let named = point.vectors.sorted { $0.key < $1.key }.map { ("vector \($0.key)", $0.value) }
        for (name, vector) in unnamed + named {
            fields.add(name, String(decoding: vector.json(), as: UTF8.self))
        }
        return fields.text
    }
}
