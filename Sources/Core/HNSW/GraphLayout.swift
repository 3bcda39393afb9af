internal import Primitives

/// Where things are in a sealed graph, format 3; format 2 has no sketches and is read all the same. All integers are
/// little-endian, every section 64-byte aligned.
///
/// Points are numbered as nodes: all rows that are linked, neighbours near one another. Header, then for each node its level,
/// its row, for each row its node (or `VK_NO_ROW`), for each node its links of level 0 and where its upper lists start, then
/// the upper lists in node order; the centre of the data; for each node its float16 row, its codes and their terms, where
/// the graph has them; and for each row its sketch, if rows have one. What a walk reads lies in sections of its own; the
/// float16 rows are read for the last few alone.
struct GraphLayout {
    static let magic: UInt64 = 0x3157_534e_4847_4356  // "VCGHNSW1"
    static let version: UInt32 = 3
    private static let versionWithoutSketches: UInt32 = 2
    static let headerBytes = 64
    /// In place of a half shift: no float16 rows.
    private static let noHalves = Int8.min

    var metric: Metric
    var kind: CodeKind
    var m: Int
    var efConstruction: Int
    var dimension: Int
    var rowCount: Int
    var nodeCount: Int
    var upperLists: Int
    /// As ``HalfRows/shift``; nil without float16 rows.
    var halfShift: Int?
    /// Of a format that has sketches.
    var isSketched = true
    /// What was asked for when it was sealed, by its code; 0 in graphs that do not say.
    var asked: UInt8 = 0
    /// Eighths of the ``IntrinsicDimension`` of the rows, 0 where it is not known.
    var intrinsicEighths: UInt8 = 0
    /// As ``HNSWGraph/entry``, of a node.
    var entry: UInt64

    private static func aligned(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }
    private func section(at start: Int, _ bytes: Int) -> Range<Int> { start..<start + Self.aligned(bytes) }

    var codeStride: Int { self.kind.stride(dimension: self.dimension) }
    var levels: Range<Int> { self.section(at: Self.headerBytes, self.nodeCount) }
    var rowOf: Range<Int> { self.section(at: self.levels.upperBound, self.nodeCount * 4) }
    var nodeOf: Range<Int> { self.section(at: self.rowOf.upperBound, self.rowCount * 4) }
    var links0: Range<Int> { self.section(at: self.nodeOf.upperBound, self.nodeCount * 2 * self.m * 4) }
    var upperStart: Range<Int> { self.section(at: self.links0.upperBound, self.nodeCount * 4) }
    var upper: Range<Int> { self.section(at: self.upperStart.upperBound, self.upperLists * self.m * 4) }
    var centre: Range<Int> { self.section(at: self.upper.upperBound, self.dimension * 4) }
    var halves: Range<Int> {
        let halves = self.halfShift == nil ? 0 : self.nodeCount * HalfRows.stride(dimension: self.dimension)
        return self.section(at: self.centre.upperBound, halves * 2)
    }
    var codes: Range<Int> { self.section(at: self.halves.upperBound, self.nodeCount * self.codeStride) }
    var terms: Range<Int> { self.section(at: self.codes.upperBound, self.kind == .none ? 0 : self.nodeCount * 8) }
    var sketchStride: Int { self.isSketched ? self.kind.sketchStride(dimension: self.dimension) : 0 }
    var sketches: Range<Int> { self.section(at: self.terms.upperBound, self.rowCount * self.sketchStride) }
    var bytes: Int { self.sketches.upperBound }
    /// Without the float16 rows.
    var residentBytes: Int { self.bytes - self.halves.count }

    var header: [UInt8] {
        var writer = ByteWriter(reserving: Self.headerBytes)
        writer.write(Self.magic)
        writer.write(self.isSketched ? Self.version : Self.versionWithoutSketches)
        writer.write(self.metric.rawValue)
        writer.write(self.kind.rawValue)
        writer.write(UInt16(self.m))
        writer.write(UInt32(self.efConstruction))
        writer.write(UInt32(self.dimension))
        writer.write(UInt32(self.rowCount))
        writer.write(UInt32(self.nodeCount))
        writer.write(UInt32(self.upperLists))
        writer.write(UInt8(bitPattern: self.halfShift.map { Int8($0) } ?? Self.noHalves))
        writer.write(self.asked)
        writer.write(self.intrinsicEighths)
        writer.pad(to: 8)
        writer.write(self.entry)
        writer.write(UInt64(self.bytes))
        writer.pad(to: Self.headerBytes)
        return writer.bytes
    }
}

extension GraphLayout {
    /// - Parameter isSubset: A part of a graph: it numbers no rows, and was never a file.
    init(reading mapped: UnsafeRawBufferPointer, isSubset: Bool = false) throws(DecodingFault) {
        var reader = ByteReader(mapped)
        guard try reader.read(UInt64.self) == Self.magic else { throw DecodingFault(position: 0, what: "not a graph") }
        let version = try reader.read(UInt32.self)
        guard Self.versionWithoutSketches...Self.version ~= version else {
            throw DecodingFault(
                position: 8,
                what: """
                    graph of format \(version); this release reads \(Self.versionWithoutSketches) to \(Self.version)
                    """)
        }
        self.isSketched = version == Self.version
        guard let metric = Metric(rawValue: try reader.read()), let kind = CodeKind(rawValue: try reader.read())
        else { throw DecodingFault(position: 12, what: "unknown metric or kind of codes") }
        self.metric = metric
        self.kind = kind
        self.m = Int(try reader.read(UInt16.self))
        self.efConstruction = Int(try reader.read(UInt32.self))
        self.dimension = Int(try reader.read(UInt32.self))
        self.rowCount = Int(try reader.read(UInt32.self))
        self.nodeCount = Int(try reader.read(UInt32.self))
        self.upperLists = Int(try reader.read(UInt32.self))
        let shift = Int8(bitPattern: try reader.read(UInt8.self))
        self.halfShift = shift == Self.noHalves ? nil : Int(shift)
        self.asked = try reader.read()
        self.intrinsicEighths = try reader.read()
        try reader.skipPadding(to: 8)
        self.entry = try reader.read()
        let bytes = try reader.read(UInt64.self)
        // Bounds first: with these, none of the sizes computed below can overflow.
        guard HNSWGraph.mRange ~= self.m, 1...Limits.dimension ~= self.dimension, self.rowCount <= Candidate.maxRows,
            self.nodeCount <= (isSubset ? Candidate.maxRows : self.rowCount),
            self.upperLists <= self.nodeCount * HNSWGraph.topLevel
        else { throw DecodingFault(position: 14, what: "graph header out of range") }
        guard bytes == self.bytes, self.bytes <= mapped.count else {
            throw DecodingFault(position: 48, what: "a graph of \(self.bytes) bytes in \(mapped.count)")
        }
    }
}
