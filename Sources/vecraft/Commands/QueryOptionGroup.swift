package import ArgumentParser
internal import Primitives
internal import Wire

/// What a search looks for: exactly one of four ways to say it.
package struct QueryOptionGroup: ParsableArguments {
    @Option(help: ArgumentHelp("Near this vector: numbers with commas, or a JSON list.", valueName: "numbers"))
    package var vector: String?

    @Option(
        help: ArgumentHelp(
            "Near the vector in this file: a JSON list, or a row of a .npy or .fvecs file.", valueName: "file"))
    package var vectorFile: String?

    @Option(help: ArgumentHelp("The row of --vector-file, from 0.", valueName: "n"))
    package var row = 0

    @Option(help: ArgumentHelp("Near the point with this id, which itself is left out.", valueName: "id"))
    package var like: String?

    @Option(help: ArgumentHelp("Near one of the texts that come with their vector (see --texts).", valueName: "text"))
    package var text: String?

    @Option(help: ArgumentHelp("Texts with their vectors (JSON). (default: those of the sample)", valueName: "file"))
    package var texts: String?

    package init() {}

    package func validate() throws {
        let ways = [self.vector, self.vectorFile, self.like, self.text].filter { $0 != nil }
        guard ways.count == 1 else {
            throw ValidationError("Say what to look for: one of --vector, --vector-file, --like and --text.")
        }
        guard self.row >= 0 else { throw ValidationError("--row: not below 0") }
    }

    /// The query's vector, and the title of the answer.
    func resolve(
        on node: Node, collection: String, using: String
    ) async throws(VecraftError) -> (vector: VecraftV1.Vector, title: String) {
        if let text = self.text {
            let path = if let texts = self.texts { texts } else { try SampleData.locate() + "/text-queries.json" }
            let query = try TextQueries(path: path).find(text)
            return (VecraftV1.Vector(values: query.vector), query.text)
        }
        if let id = self.like {
            return (try await Self.stored(id, on: node, collection: collection, using: using), "like \(id)")
        }
        if let path = self.vectorFile {
            let isList = path.lowercased().hasSuffix(".json") || path == "-"
            let values =
                isList ? try Self.floats(try TextFile.json(path), path) : try VectorFile.row(self.row, of: path)
            return (VecraftV1.Vector(values: values), path)
        }
        let text = (self.vector ?? "").trimmed
        let list = text.hasPrefix("[") ? text : "[\(text)]"
        do throws(VecraftError) {
            return (VecraftV1.Vector(values: try Self.floats(try JSONValue(parsing: list), "--vector")), "")
        } catch {
            throw VecraftError(.invalidArgument, "--vector: a list of numbers is wanted (\(error.message))")
        }
    }

    private static func floats(_ value: JSONValue, _ place: String) throws(VecraftError) -> [Float] {
        guard let numbers = value.arrayValue else {
            throw VecraftError(.invalidArgument, "\(place): not a list of numbers")
        }
        let floats = numbers.compactMap { $0.doubleValue.map { Float($0) } }
        guard floats.count == numbers.count, floats.allSatisfy(\.isFinite) else {
            throw VecraftError(.invalidArgument, "\(place): not a list of numbers")
        }
        return floats
    }

    private static func stored(
        _ id: String, on node: Node, collection: String, using: String
    ) async throws(VecraftError) -> VecraftV1.Vector {
        let request = VecraftV1.GetRequest(
            collection: collection, ids: [id], withVectors: true, withoutPayload: true, tenant: node.tenant)
        let response: VecraftV1.GetResponse = try await node.call(VecraftV1.Points.get, request)
        guard let point = response.points.first else {
            throw VecraftError(.notFound, "no point '\(id)' in '\(collection)'")
        }
        guard let vector = using.isEmpty ? point.vector : point.vectors[using] else {
            throw VecraftError(
                .notFound, "the point '\(id)' has no \(using.isEmpty ? "unnamed vector" : "vector '\(using)'")")
        }
        return vector
    }
}
