package import Primitives

/// Small files, read whole.
package enum TextFile {
    /// A query, a filter or a list of questions; what is larger belongs into an import.
    package static let maxBytes = 16 << 20

    package static func read(_ path: String) throws(VecraftError) -> [UInt8] {
        let source = try ByteSource(path: path)
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = try piece.withMutableBytes { buffer throws(VecraftError) in try source.read(into: buffer) }
            if count == 0 { return bytes }
            guard bytes.count + count <= Self.maxBytes else {
                throw VecraftError(.invalidArgument, "\(path) is larger than \(Figures.bytes(UInt64(Self.maxBytes)))")
            }
            bytes += piece[..<count]
        }
    }

    package static func json(_ path: String) throws(VecraftError) -> JSONValue {
        do throws(VecraftError) {
            return try JSONValue(parsing: try Self.read(path))
        } catch {
            throw error.reason == "INVALID_JSON" ? VecraftError(.invalidArgument, "\(path): \(error.message)") : error
        }
    }
}

/// Questions with the vectors that stand for them: `[{"text": "...", "vector": [...]}, ...]`.
package struct TextQueries: Sendable {
    package struct Query: Equatable, Sendable {
        package var text: String
        package var vector: [Float]
    }

    package var queries: [Query]

    package init(path: String) throws(VecraftError) {
        func fault(_ what: String) -> VecraftError { VecraftError(.invalidArgument, "\(path): \(what)") }
        guard let entries = try TextFile.json(path).arrayValue else { throw fault("not a list of questions") }
        self.queries = []
        for (position, entry) in entries.enumerated() {
            guard let text = entry["text"]?.stringValue, let numbers = entry["vector"]?.arrayValue else {
                throw fault("question \(position) has no \"text\" or no \"vector\"")
            }
            let vector = numbers.compactMap { $0.doubleValue.map { Float($0) } }
            guard vector.count == numbers.count, !vector.isEmpty else {
                throw fault("question \(position): not all numbers")
            }
            self.queries.append(Query(text: text, vector: vector))
        }
    }

    /// The question that `text` is, or that alone contains it; letter case does not matter.
    package func find(_ text: String) throws(VecraftError) -> Query {
        let wanted = text.lowercased()
        if let same = self.queries.first(where: { $0.text.lowercased() == wanted }) { return same }
        let near = self.queries.filter { $0.text.lowercased().contains(wanted) }
        if near.count == 1 { return near[0] }
        let known = (near.isEmpty ? self.queries : near).map { "    \($0.text)" }.joined(separator: "\n")
        throw VecraftError(
            .invalidArgument,
            "a text needs a model to become a vector, and none is built in. Texts that come with their vector:\n\(known)"
        )
    }
}

/// The sample that comes with the sources: where `demo` and `search --text` find it.
package enum SampleData {
    package static let folder = "data/debian-packages"
    package static let environmentName = "VECRAFT_SAMPLE"

    /// The folder with the sample: named by the environment, under the working directory, or above the program, which is
    /// built into the same tree.
    package static func locate() throws(VecraftError) -> String {
        if let named = Environment[Self.environmentName], !named.isEmpty { return named }
        var candidates = [Self.folder]
        var parts = ProgramFile.path.split(separator: "/")
        while !parts.isEmpty {
            parts.removeLast()
            candidates.append("/" + parts.joined(separator: "/") + "/" + Self.folder)
        }
        guard let found = candidates.first(where: { ProgramFile.exists($0 + "/points.jsonl") }) else {
            throw VecraftError(
                .notFound,
                "the sample (\(Self.folder)) is not here: run this in the project's folder, or set \(Self.environmentName)"
            )
        }
        return found
    }
}
