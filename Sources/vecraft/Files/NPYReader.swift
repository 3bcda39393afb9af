package import Primitives

/// NumPy's array file: two-dimensional, little-endian float16, float32 or float64, in C order.
/// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
package final class NPYReader: VectorReader {
    private enum Element: Int { case float16 = 2, float32 = 4, float64 = 8 }

    private let source: ByteSource
    private let element: Element
    package let dimension: Int
    private let count: Int
    private var read = 0
    private var row: [UInt8]

    package var rows: Int? { self.count }

    package init(_ source: ByteSource) throws(VecraftError) {
        func fault(_ what: String) -> VecraftError { VecraftError(.invalidArgument, "\(source.path) \(what)") }
        func bytes(_ count: Int) throws(VecraftError) -> [UInt8] {
            var bytes = [UInt8](repeating: 0, count: count)
            let found = try bytes.withMutableBytes { raw throws(VecraftError) in
                try source.readWhole(into: raw, "its header")
            }
            guard found else { throw fault("is empty") }
            return bytes
        }
        let start = try bytes(8)
        guard start[0..<6].elementsEqual([0x93] + Array("NUMPY".utf8)) else {
            throw fault("is not a NumPy array file (.npy)")
        }
        guard (1...3).contains(start[6]) else { throw fault("is of NumPy's format \(start[6]); known are 1 to 3") }
        // Version 1 has a 16-bit length of the header, later ones 32 bits.
        let length = try bytes(start[6] == 1 ? 2 : 4).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= 1 << 16 else { throw fault("has a header of \(length) bytes; a matrix needs about 100") }
        let header = String(decoding: try bytes(length), as: UTF8.self)

        guard let type = Self.value("descr", in: header), let order = Self.value("fortran_order", in: header),
            let shape = Self.value("shape", in: header)
        else { throw fault("has a header without 'descr', 'fortran_order' or 'shape'") }
        switch type.filter({ $0 != "'" && $0 != "\"" }) {
        case "<f2": self.element = .float16
        case "<f4": self.element = .float32
        case "<f8": self.element = .float64
        default:
            throw fault("holds elements of type \(type); readable are float16 '<f2', float32 '<f4' and float64 '<f8'")
        }
        guard order == "False" else { throw fault("is in Fortran order; save it with numpy.ascontiguousarray") }
        let sizes = shape.filter { $0 != "(" && $0 != ")" && $0 != " " }.split(separator: ",").map { Int($0) }
        guard sizes.count == 2, let count = sizes[0], let dimension = sizes[1], count >= 0 else {
            throw fault("has shape \(shape); a matrix (vectors, components) is wanted")
        }
        guard (1...Limits.dimension).contains(dimension) else {
            throw fault("has vectors of \(dimension) components; allowed are 1 to \(Limits.dimension)")
        }
        self.source = source
        self.count = count
        self.dimension = dimension
        self.row = [UInt8](repeating: 0, count: dimension * self.element.rawValue)
    }

    /// The text of one entry of the header, a Python dictionary: up to the comma that ends it, or the bracket.
    private static func value(_ key: String, in header: String) -> String? {
        guard let colon = ["'\(key)':", "\"\(key)\":"].lazy.compactMap({ Self.end(of: $0, in: header) }).first else {
            return nil
        }
        let rest = header[colon...].drop { $0 == " " }
        let end =
            rest.first == "("
            ? rest.firstIndex(of: ")").map { rest.index(after: $0) } : rest.firstIndex { $0 == "," || $0 == "}" }
        return end.map { String(rest[..<$0]) }
    }

    private static func end(of needle: String, in text: String) -> String.Index? {
        var at = text.startIndex
        while at < text.endIndex {
            if text[at...].hasPrefix(needle) { return text.index(at, offsetBy: needle.count) }
            at = text.index(after: at)
        }
        return nil
    }

    package func next(into floats: UnsafeMutableBufferPointer<Float>) throws(VecraftError) -> Bool {
        guard self.read < self.count else { return false }
        let whole = try self.row.withMutableBytes { bytes throws(VecraftError) in
            try self.source.readWhole(into: bytes, "vector \(self.read)")
        }
        guard whole else {
            throw VecraftError(.invalidArgument, "\(self.source.path) ends after \(self.read) of \(self.count) vectors")
        }
        self.row.withUnsafeBytes { bytes in
            for i in 0..<self.dimension {
                switch self.element {
                case .float16:
                    floats[i] = Float(
                        Float16(
                            bitPattern: UInt16(
                                littleEndian: bytes.loadUnaligned(fromByteOffset: i * 2, as: UInt16.self))))
                case .float32:
                    floats[i] = Float(
                        bitPattern: UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: i * 4, as: UInt32.self)))
                case .float64:
                    floats[i] = Float(
                        Double(
                            bitPattern: UInt64(
                                littleEndian: bytes.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self))))
                }
            }
        }
        try checkFinite(floats, self.source.path, self.read)
        self.read += 1
        return true
    }
}
