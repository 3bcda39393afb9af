package import Primitives

/// The points of an import: from one file, or ids and payloads from one and vectors from another, row by row.
package final class PointSource {
    private enum Identity {
        /// Ids and payloads from a JSON lines file.
        case points(PointFile)
        /// One id a line.
        case ids(LineReader)
        /// The row number behind a prefix.
        case rows(prefix: String)
    }

    private let identity: Identity
    private let vectors: (any VectorReader)?
    private let vectorsPath: String
    /// The file of the points.
    package let path: String
    private let vectorName: String
    /// Points in all, if that can be known beforehand.
    package let total: Int?
    package private(set) var read = 0

    /// - Parameters:
    ///   - points: A `.jsonl` file (or "-"), or a `.npy` or `.fvecs` file; each may end in `.gz`.
    ///   - vectors: Vectors for the points of a `.jsonl` file, in the same order.
    ///   - ids: Ids for the vectors of a `.npy` or `.fvecs` file, one a line; without it the row number is the id.
    ///   - vectorName: Which vector of the collection a vector file holds.
    package init(
        points: String, vectors: String?, ids: String?, idPrefix: String = "", vectorName: String = ""
    ) throws(VecraftError) {
        self.vectorName = vectorName
        self.path = points
        self.vectorsPath = vectors ?? points
        if Self.isVectorFile(points) {
            guard vectors == nil else {
                throw VecraftError(
                    .invalidArgument, "\(points) holds vectors already; --vectors goes with a .jsonl file")
            }
            let reader = try VectorFile.open(points)
            self.vectors = reader
            self.total = reader.rows
            if let ids {
                self.identity = .ids(LineReader(try ByteSource(path: ids)))
            } else {
                self.identity = .rows(prefix: idPrefix)
            }
        } else {
            guard ids == nil else {
                throw VecraftError(
                    .invalidArgument, "--ids goes with a file of vectors; the points of \(points) have ids")
            }
            let reader: (any VectorReader)? = if let vectors { try VectorFile.open(vectors) } else { nil }
            self.vectors = reader
            self.total = if let rows = reader?.rows { rows } else { try Self.countLines(points) }
            self.identity = .points(PointFile(try ByteSource(path: points)))
        }
    }

    /// Line of ``path`` where the point that ``next()`` returned last stands; nil if the file has no lines.
    package var line: Int? {
        if case .points(let file) = self.identity { file.line } else { nil }
    }

    private static func isVectorFile(_ path: String) -> Bool {
        let name = path.lowercased()
        return [".npy", ".fvecs", ".npy.gz", ".fvecs.gz"].contains { name.hasSuffix($0) }
    }

    /// Lines of a regular, uncompressed file: reading it once more costs a fraction of sending it.
    private static func countLines(_ path: String) throws(VecraftError) -> Int? {
        // What is read from standard input is gone.
        guard path != "-" else { return nil }
        let source = try ByteSource(path: path)
        guard source.size != nil else { return nil }
        let lines = LineReader(source)
        var count = 0
        while let filled = try lines.next({ line throws(VecraftError) in !line.isEmpty }) { count += filled ? 1 : 0 }
        return count
    }

    /// The next point; nil at the end.
    package func next() throws(VecraftError) -> FilePoint? {
        guard var point = try self.nextIdentity() else {
            try self.expectNoVectorLeft()
            return nil
        }
        if let vectors = self.vectors {
            guard let values = try self.nextVector(vectors) else {
                guard case .rows = self.identity else {
                    throw VecraftError(
                        .invalidArgument,
                        "\(self.vectorsPath) has \(Figures.count(self.read, "vector")), but there are more points")
                }
                return nil
            }
            point.vectors.removeAll { $0.name == self.vectorName }
            point.vectors.append(FilePoint.NamedVector(name: self.vectorName, values: values))
        }
        self.read += 1
        return point
    }

    /// Passes over points that an earlier run has stored.
    package func skip(_ count: Int) throws(VecraftError) {
        for _ in 0..<count { if try self.next() == nil { return } }
    }

    private func nextIdentity() throws(VecraftError) -> FilePoint? {
        switch self.identity {
        case .points(let file):
            return try file.next()
        case .ids(let lines):
            let id = try lines.next { line throws(VecraftError) in String(decoding: line, as: UTF8.self) }
            guard let id else { return nil }
            guard !id.isEmpty else {
                throw VecraftError(.invalidArgument, "\(lines.path), line \(lines.number) is empty: an id is wanted")
            }
            return FilePoint(id: id)
        case .rows(let prefix):
            return FilePoint(id: "\(prefix)\(self.read)")
        }
    }

    private func nextVector(_ reader: any VectorReader) throws(VecraftError) -> [Float]? {
        let dimension = reader.dimension
        var values = [Float](repeating: 0, count: dimension)
        let found = try values.withUnsafeMutableBufferPointer { buffer throws(VecraftError) in
            try reader.next(into: buffer)
        }
        return found ? values : nil
    }

    private func expectNoVectorLeft() throws(VecraftError) {
        guard let vectors = self.vectors, try self.nextVector(vectors) != nil else { return }
        throw VecraftError(
            .invalidArgument,
            "\(self.vectorsPath) has more vectors than the \(Figures.count(self.read, "point")) they belong to")
    }
}
