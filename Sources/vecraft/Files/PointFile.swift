package import Primitives

/// A point as a file gives it.
package struct FilePoint: Equatable, Sendable {
    package var id: String
    /// By name, "" for the unnamed vector.
    package var vectors: [NamedVector] = []
    /// A JSON object; nil if the point has none.
    package var payload: [UInt8]?

    package struct NamedVector: Equatable, Sendable {
        package var name: String
        package var values: [Float]
        package init(name: String, values: [Float]) {
            self.name = name
            self.values = values
        }
    }

    package init(id: String) { self.id = id }
}

/// Points as JSON, one object a line: `{"id": "a", "vector": [...], "vectors": {"name": [...]}, "payload": {...}}`.
/// Everything but `id` may be absent; `id` may be an integer. Empty lines are passed over.
package final class PointFile {
    private let lines: LineReader

    package init(_ source: ByteSource) { self.lines = LineReader(source) }

    /// Of the point that ``next()`` returned last, from 1.
    package var line: Int { self.lines.number }

    /// Where the point that ``next()`` returned last stands, for messages.
    package var place: String { "\(self.lines.path), line \(self.lines.number)" }

    package func next() throws(VecraftError) -> FilePoint? {
        while true {
            let read = try self.lines.next { line throws(VecraftError) -> FilePoint? in
                guard line.contains(where: { $0 != 0x20 && $0 != 0x09 }) else { return nil }
                do throws(VecraftError) {
                    return try Self.parse(line)
                } catch {
                    throw VecraftError(.invalidArgument, "\(self.place): \(error.message)")
                }
            }
            guard let read else { return nil }
            if let point = read { return point }
        }
    }

    private static func parse(_ line: UnsafeRawBufferPointer) throws(VecraftError) -> FilePoint {
        var reader = JSONReader(line)
        var id: String?
        var point = FilePoint(id: "")
        try reader.beginObject()
        while let key = try reader.nextKey() {
            switch key {
            case "id":
                id = try reader.peek() == .number ? String(try reader.readInteger()) : try reader.readString().string
            case "vector":
                try Self.readVector("", from: &reader, into: &point)
            case "vectors":
                try reader.beginObject()
                while let name = try reader.nextKey() { try Self.readVector(name.string, from: &reader, into: &point) }
            case "payload":
                if try reader.readNullIfPresent() { break }
                guard try reader.peek() == .object else {
                    throw VecraftError(.invalidArgument, "\"payload\" is not an object")
                }
                point.payload = Array(try reader.skipValue())
            default:
                throw VecraftError(
                    .invalidArgument,
                    "member \"\(key.string)\" is not known; a point has \"id\", \"vector\", \"vectors\" and \"payload\""
                )
            }
        }
        try reader.finish()
        guard let id, !id.isEmpty else { throw VecraftError(.invalidArgument, "the point has no \"id\"") }
        point.id = id
        return point
    }

    private static func readVector(
        _ name: String, from reader: inout JSONReader, into point: inout FilePoint
    ) throws(VecraftError) {
        if try reader.readNullIfPresent() { return }
        var values: [Float] = []
        try reader.readFloats(into: &values)
        point.vectors.removeAll { $0.name == name }
        point.vectors.append(FilePoint.NamedVector(name: name, values: values))
    }
}
