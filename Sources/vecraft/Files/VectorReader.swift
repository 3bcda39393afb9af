package import Primitives

/// Vectors from a file, one after another.
package protocol VectorReader: AnyObject {
    /// Components of each vector.
    var dimension: Int { get }
    /// Vectors in the file, when it says so beforehand.
    var rows: Int? { get }
    /// Reads the next vector into `floats`, which has room for `dimension`; false at the end.
    func next(into floats: UnsafeMutableBufferPointer<Float>) throws(VecraftError) -> Bool
}

/// The kinds of vector files, told by the name's ending, ".gz" aside.
package enum VectorFile {
    package static func open(_ path: String) throws(VecraftError) -> any VectorReader {
        let name = path.lowercased()
        let bare = name.hasSuffix(".gz") ? String(name.dropLast(3)) : name
        let source = try ByteSource(path: path)
        if bare.hasSuffix(".npy") { return try NPYReader(source) }
        if bare.hasSuffix(".fvecs") { return try FVecsReader(source) }
        throw VecraftError(.invalidArgument, "\(path): vectors are read from .npy and .fvecs files")
    }

    /// One vector of a file, counted from 0.
    package static func row(_ row: Int, of path: String) throws(VecraftError) -> [Float] {
        let reader = try Self.open(path)
        var floats = [Float](repeating: 0, count: reader.dimension)
        for at in 0...row {
            let found = try floats.withUnsafeMutableBufferPointer { buffer throws(VecraftError) in
                try reader.next(into: buffer)
            }
            guard found else {
                throw VecraftError(
                    .invalidArgument, "\(path) has \(Figures.count(at, "vector")); there is no row \(row)")
            }
        }
        return floats
    }
}

/// The "fvecs" format of the TEXMEX data sets: each vector is a little-endian int32, its dimension, and as many float32.
/// http://corpus-texmex.irisa.fr
package final class FVecsReader: VectorReader {
    private let source: ByteSource
    package let dimension: Int
    package let rows: Int?
    private var read = 0
    /// The first header has been read already, to know the dimension.
    private var headerRead = true

    package init(_ source: ByteSource) throws(VecraftError) {
        self.source = source
        guard let dimension = try Self.header(source) else {
            throw VecraftError(.invalidArgument, "\(source.path) is empty")
        }
        guard (1...Limits.dimension).contains(dimension) else {
            throw VecraftError(
                .invalidArgument,
                "\(source.path) is not an fvecs file: it begins with dimension \(dimension), allowed are 1 to \(Limits.dimension)"
            )
        }
        self.dimension = dimension
        self.rows = source.size.map { $0 / (4 + 4 * dimension) }
    }

    private static func header(_ source: ByteSource) throws(VecraftError) -> Int? {
        var header = UInt32(0)
        let found = try withUnsafeMutableBytes(of: &header) { bytes throws(VecraftError) in
            try source.readWhole(into: bytes, "a vector's dimension")
        }
        return found ? Int(Int32(bitPattern: UInt32(littleEndian: header))) : nil
    }

    package func next(into floats: UnsafeMutableBufferPointer<Float>) throws(VecraftError) -> Bool {
        if !self.headerRead {
            guard let dimension = try Self.header(self.source) else { return false }
            guard dimension == self.dimension else {
                throw VecraftError(
                    .invalidArgument,
                    "\(self.source.path), vector \(self.read): dimension \(dimension), the first has \(self.dimension)")
            }
        }
        self.headerRead = false
        let bytes = UnsafeMutableRawBufferPointer(start: floats.baseAddress, count: 4 * self.dimension)
        guard try self.source.readWhole(into: bytes, "vector \(self.read)") else {
            throw VecraftError(.invalidArgument, "\(self.source.path) ends in the middle of vector \(self.read)")
        }
        try checkFinite(floats, self.source.path, self.read)
        self.read += 1
        return true
    }
}

/// No distance is defined for these, and every metric's refusal would come later and say less.
func checkFinite(_ floats: UnsafeMutableBufferPointer<Float>, _ path: String, _ row: Int) throws(VecraftError) {
    guard let at = floats.firstIndex(where: { !$0.isFinite }) else { return }
    throw VecraftError(.invalidArgument, "\(path), vector \(row): component \(at) is \(floats[at])")
}
