internal import Primitives

/// Where things are in a serialised graph, format 1. All integers little-endian, every section 64-byte aligned.
///
/// Header, then for each row its level (``notLinked`` for a row without links), its links of level 0, where its upper lists
/// start, then the upper lists in row order, then codes and their terms if the graph walks over codes.
struct GraphLayout {
    static let magic: UInt64 = 0x3157_534e_4847_4356  // "VCGHNSW1"
    static let version: UInt32 = 1
    static let headerBytes = 64
    static let notLinked: UInt8 = 0xff

    var metric: Metric
    var store: HNSWGraph.Store
    var m: Int
    var efConstruction: Int
    var dimension: Int
    var rowCount: Int
    var linkedCount: Int
    var upperLists: Int
    /// As ``HNSWGraph/entry``.
    var entry: UInt64

    private static func aligned(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }
    private func section(at start: Int, _ bytes: Int) -> Range<Int> { start..<start + Self.aligned(bytes) }

    var codeStride: Int { self.store == .int8 ? VectorRows.codeStride(dimension: self.dimension) : 0 }
    var levels: Range<Int> { self.section(at: Self.headerBytes, self.rowCount) }
    var links0: Range<Int> { self.section(at: self.levels.upperBound, self.rowCount * 2 * self.m * 4) }
    var upperStart: Range<Int> { self.section(at: self.links0.upperBound, self.rowCount * 4) }
    var upper: Range<Int> { self.section(at: self.upperStart.upperBound, self.upperLists * self.m * 4) }
    var codes: Range<Int> { self.section(at: self.upper.upperBound, self.rowCount * self.codeStride) }
    var codeTerms: Range<Int> { self.section(at: self.codes.upperBound, self.store == .int8 ? self.rowCount * 8 : 0) }
    var bytes: Int { self.codeTerms.upperBound }

    var header: [UInt8] {
        var writer = ByteWriter(reserving: Self.headerBytes)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(self.metric.rawValue)
        writer.write(self.store.rawValue)
        writer.write(UInt16(self.m))
        writer.write(UInt32(self.efConstruction))
        writer.write(UInt32(self.dimension))
        writer.write(UInt32(self.rowCount))
        writer.write(UInt32(self.linkedCount))
        writer.write(UInt32(self.upperLists))
        writer.pad(to: 8)
        writer.write(self.entry)
        writer.write(UInt64(self.bytes))
        writer.pad(to: Self.headerBytes)
        return writer.bytes
    }
}

extension GraphLayout {
    init(reading mapped: UnsafeRawBufferPointer) throws(DecodingFault) {
        var reader = ByteReader(mapped)
        guard try reader.read(UInt64.self) == Self.magic else { throw DecodingFault(position: 0, what: "not a graph") }
        let version = try reader.read(UInt32.self)
        guard version == Self.version else {
            throw DecodingFault(position: 8, what: "graph of format \(version); this release reads \(Self.version)")
        }
        guard let metric = Metric(rawValue: try reader.read()), let store = HNSWGraph.Store(rawValue: try reader.read())
        else { throw DecodingFault(position: 12, what: "unknown metric or store") }
        self.metric = metric
        self.store = store
        self.m = Int(try reader.read(UInt16.self))
        self.efConstruction = Int(try reader.read(UInt32.self))
        self.dimension = Int(try reader.read(UInt32.self))
        self.rowCount = Int(try reader.read(UInt32.self))
        self.linkedCount = Int(try reader.read(UInt32.self))
        self.upperLists = Int(try reader.read(UInt32.self))
        try reader.skipPadding(to: 8)
        self.entry = try reader.read()
        let bytes = try reader.read(UInt64.self)
        // Bounds first: with these, none of the sizes computed below can overflow.
        guard HNSWGraph.mRange ~= self.m, 1...Limits.dimension ~= self.dimension, self.rowCount <= Candidate.maxRows,
            self.linkedCount <= self.rowCount, self.upperLists <= self.rowCount * HNSWGraph.topLevel
        else { throw DecodingFault(position: 14, what: "graph header out of range") }
        guard bytes == self.bytes, self.bytes <= mapped.count else {
            throw DecodingFault(position: 48, what: "a graph of \(self.bytes) bytes in \(mapped.count)")
        }
    }
}
