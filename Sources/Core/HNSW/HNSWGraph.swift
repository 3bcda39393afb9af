package import Primitives
internal import Synchronization
internal import VectorKernels

/// A Hierarchical Navigable Small World graph over rows that someone else owns (Malkov and Yashunin, arXiv:1603.09320).
///
/// Any number of threads insert and search at once, without a common lock. A row's lists are written under that row's spin
/// lock and read without one: links are stored with release and read with acquire, and every state a reader can see in
/// between holds valid rows. A new point links level 0 first, so whoever meets it on some level finds its lists below whole.
///
/// Built by one thread, the graph depends on the order, levels and vectors of its rows alone.
// Sendable: the counters are atomics; the arrays follow the discipline above; all else is constant.
package final class HNSWGraph: @unchecked Sendable {
    package let rows: VectorRows
    package let m: Int
    package let m0: Int
    package let efConstruction: Int
    package let capacity: Int
    /// What walks measure.
    package let kind: CodeKind
    /// As ``IntrinsicDimension`` measures it; nil while a graph grows, and where it is not known.
    let intrinsicDimension: Double?
    /// What a sealed graph was asked to walk on; nil while it grows, and if it does not say.
    package let asked: Quantisation?

    let view: GraphView
    let book: CodeBook
    /// A sealed graph's rows by node and nodes by row (`VK_NO_ROW` for a row without one); nil where they are the same. A graph
    /// over a part of the rows (``SubsetGraph``) has no nodes by row: a scan of it goes through its nodes.
    let rowOf: UnsafePointer<UInt32>?
    let nodeOf: UnsafePointer<UInt32>?
    /// A sealed graph's rows as float16, to measure candidates again on.
    let halves: HalfRows?
    /// Kernels over float rows, whatever the walk measures.
    let measureFloats: Measure
    let kernelRows: UnsafeMutablePointer<vk_rows>
    /// Of a graph that grows; a mapped one has none.
    let memory: GraphMemory?
    let levels: UnsafePointer<UInt8>
    /// Level plus one in the high half, row in the low half; 0 while empty. One word, so that they always match.
    let entry: Atomic<UInt64>
    let linkedCount: Atomic<Int>
    let prefix: Atomic<UInt32>
    /// One more than the largest row linked or being linked.
    let rowBound: Atomic<UInt32>
    let upperUsed = Atomic<Int>(0)
    /// Rows below this have codes; whoever has entered `coding` moves it.
    let coded = Atomic<UInt32>(0)
    let coding = Atomic<Bool>(false)
    /// Keeps what a sealed graph lies in.
    private let owner: AnyObject?
    /// ``rowOf`` of a part that grows.
    private let places: UnsafeMutablePointer<UInt32>?

    static let topLevel = 15
    package static let mRange = 2...256

    /// An empty graph.
    ///
    /// - Parameters:
    ///   - m: Links per point above level 0, in ``mRange``; level 0 has twice as many.
    ///   - efConstruction: Candidates looked at when a point is linked.
    ///   - capacity: Rows there can ever be, below 2^31.
    ///   - rows: A fixed address with room for `capacity` rows, `stride` floats apart (see ``VectorRows``).
    ///   - quantisation: ``Quantisation/none`` walks over floats, the others over 8-bit codes as long as the graph grows.
    ///     ``Quantisation/auto`` does so only if codes tell the rows of `sample` apart.
    ///   - sample: Rows in place already, ``sampleRows`` or as many as there are, spread over the data: codes are taken
    ///     from their mean. None, and codes are taken from the origin, which `auto` trusts by cosine alone.
    ///   - places: Where among `rows` this graph's rows lie, if not one after another; `sample` is of those.
    package init(
        dimension: Int, metric: Metric, m: Int, efConstruction: Int, capacity: Int, rows: UnsafePointer<Float>,
        stride: Int,
        quantisation: Quantisation = .auto, sample: [UInt32] = [], places: [UInt32]? = nil
    ) {
        precondition(
            Self.mRange ~= m && efConstruction > 0 && 0...Candidate.maxRows ~= capacity,
            "m \(m), efConstruction \(efConstruction), capacity \(capacity)")
        let vectors = VectorRows(base: rows, stride: stride, dimension: dimension, metric: metric)
        let kind = Self.growingKind(quantisation, vectors, sample)
        let codeStride = kind.stride(dimension: dimension)
        let memory = GraphMemory(capacity: capacity, m: m, dimension: dimension, codeStride: codeStride)
        if !sample.isEmpty { CodeBook.mean(vectors, sample, into: memory.centre) }
        self.rows = vectors
        self.m = m
        self.m0 = 2 * m
        self.efConstruction = efConstruction
        self.capacity = capacity
        self.kind = kind
        self.intrinsicDimension = nil
        self.asked = nil
        self.book = CodeBook(
            kind: kind, metric: metric, dimension: dimension,
            centre: sample.isEmpty ? nil : UnsafePointer(memory.centre))
        self.places = places.map { places in
            let copy = UnsafeMutablePointer<UInt32>.allocate(capacity: max(1, places.count))
            copy.initialize(from: places, count: places.count)
            return copy
        }
        self.rowOf = self.places.map { UnsafePointer($0) }
        self.nodeOf = nil
        self.halves = nil
        self.memory = memory
        self.owner = nil
        self.levels = UnsafePointer(memory.levels)
        self.kernelRows = .allocate(capacity: 1)
        var kernelRows = vectors.kernelRows(codes: memory.codes, terms: memory.terms, codeStride: codeStride)
        kernelRows.places = self.rowOf
        self.kernelRows.initialize(to: kernelRows)
        self.view = GraphView(
            links0: memory.links0, m0: 2 * m, upper: memory.upper, upperStart: memory.upperStart, m: m,
            rows: UnsafePointer(self.kernelRows), metric: metric, kind: kind, rowOf: self.rowOf)
        self.measureFloats = GraphView.measure(metric: metric, kind: .none)
        self.entry = Atomic(0)
        self.linkedCount = Atomic(0)
        self.prefix = Atomic(0)
        self.rowBound = Atomic(0)
    }

    /// Over a part of the rows of a segment that has `rowCount`.
    convenience init(subset block: SealedBlock, of rows: VectorRows, rowCount: Int) {
        let layout: GraphLayout
        do throws(DecodingFault) { layout = try GraphLayout(reading: block.bytes, isSubset: true) } catch {
            preconditionFailure("a graph was made a moment ago and cannot be read: \(error)")
        }
        self.init(sound: layout, in: block.bytes, rows: rows, subsetOf: rowCount, owner: block)
    }

    /// Over a block whose every byte that a walk may follow has been checked, or was just made.
    init(
        sound layout: GraphLayout, in block: UnsafeRawBufferPointer, rows: VectorRows, subsetOf rowCount: Int? = nil,
        owner: AnyObject? = nil
    ) {
        let base = UnsafeMutableRawPointer(mutating: block.baseAddress!)  // never written: insert(row:) refuses
        func section<T>(_ range: Range<Int>, _: T.Type) -> UnsafeMutablePointer<T> {
            (base + range.lowerBound).assumingMemoryBound(to: T.self)
        }
        self.rows = rows
        self.m = layout.m
        self.m0 = 2 * layout.m
        self.efConstruction = layout.efConstruction
        self.capacity = rowCount ?? layout.rowCount
        self.places = nil
        self.kind = layout.kind
        self.intrinsicDimension = layout.intrinsicEighths == 0 ? nil : Double(layout.intrinsicEighths) / 8
        self.asked = Quantisation(code: layout.asked)
        self.book = CodeBook(
            kind: layout.kind, metric: rows.metric, dimension: rows.dimension,
            centre: UnsafePointer(section(layout.centre, Float.self)))
        let rowOf = UnsafePointer(section(layout.rowOf, UInt32.self))
        self.rowOf = rowOf
        self.nodeOf = rowCount == nil ? UnsafePointer(section(layout.nodeOf, UInt32.self)) : nil
        self.halves = layout.halfShift.map {
            HalfRows(
                base: UnsafePointer(section(layout.halves, UInt16.self)), dimension: rows.dimension, shift: $0,
                centre: UnsafePointer(section(layout.centre, Float.self)), metric: rows.metric)
        }
        self.memory = nil
        self.levels = UnsafePointer(section(layout.levels, UInt8.self))
        var kernelRows = rows.kernelRows(
            codes: UnsafePointer(section(layout.codes, UInt8.self)),
            terms: UnsafePointer(section(layout.terms, Float.self)),
            codeStride: layout.codeStride)
        kernelRows.places = rowOf
        if layout.sketchStride > 0, rowCount == nil {
            kernelRows.sketches = UnsafePointer(section(layout.sketches, UInt8.self))
            kernelRows.sketch_stride = UInt32(layout.sketchStride)
        }
        if let halves = self.halves {
            kernelRows.halves = halves.base
            kernelRows.half_stride = UInt32(HalfRows.stride(dimension: rows.dimension))
        }
        self.kernelRows = .allocate(capacity: 1)
        self.kernelRows.initialize(to: kernelRows)
        self.view = GraphView(
            links0: section(layout.links0, UInt32.self), m0: 2 * layout.m, upper: section(layout.upper, UInt32.self),
            upperStart: section(layout.upperStart, UInt32.self), m: layout.m,
            rows: UnsafePointer(self.kernelRows), metric: rows.metric, kind: layout.kind, rowOf: rowOf)
        self.measureFloats = GraphView.measure(metric: rows.metric, kind: .none)
        self.entry = Atomic(layout.entry)
        self.linkedCount = Atomic(layout.nodeCount)
        self.prefix = Atomic(UInt32(self.capacity))
        self.rowBound = Atomic(UInt32(self.capacity))
        self.owner = owner
    }

    deinit {
        self.kernelRows.deallocate()
        self.places?.deallocate()
    }

    /// Rows a sample need not exceed.
    package static let sampleRows = CodeTrial.rows

    private static func growingKind(_ quantisation: Quantisation, _ rows: VectorRows, _ sample: [UInt32]) -> CodeKind {
        switch quantisation {
        case .none: return .none
        case .int8, .int4: return .int8
        case .auto:
            let centre = UnsafeMutablePointer<Float>.allocate(capacity: rows.dimension)
            defer { centre.deallocate() }
            CodeBook.mean(rows, sample, into: centre)
            let book = CodeBook(kind: .int8, metric: rows.metric, dimension: rows.dimension, centre: centre)
            return CodeTrial.holds(book, rows, sample) ? .int8 : .none
        }
    }

    /// The level for a point whose id has this hash: at least `l` with probability `m^-l`, the same on every machine.
    package static func level(hash: UInt64, m: Int) -> Int {
        var threshold = UInt64.max / UInt64(m)
        var level = 0
        while hash < threshold, level < Self.topLevel {
            level += 1
            threshold /= UInt64(m)
        }
        return level
    }

    /// Candidates to keep for `k` results, when the caller names none. Recall of 10 among 25,000 sentence embeddings of 384
    /// dimensions is 0.99 with it.
    package static func defaultEf(k: Int) -> Int { max(48, k + k / 2) }

    /// Rows linked so far.
    package var linked: Int { self.linkedCount.load(ordering: .relaxed) }

    /// Every row below this is linked or skipped.
    package var linkedPrefix: UInt32 { self.prefix.load(ordering: .acquiring) }

    /// Bytes reserved for links, codes and bookkeeping; a mapped graph has none of its own.
    package var memoryBytes: Int { self.memory?.bytes ?? 0 }

    @inline(__always) func row(of node: UInt32) -> UInt32 { self.rowOf.map { $0[Int(node)] } ?? node }

    /// Its points are numbered anew: it cannot grow.
    var isSealed: Bool { self.memory == nil }
    /// Of a part of the rows, sealed.
    var isSubset: Bool { self.memory == nil && self.nodeOf == nil }

    func isLinked(_ row: UInt32) -> Bool {
        if let nodeOf { return nodeOf[Int(row)] != VK_NO_ROW }
        guard let memory else { return false }
        return vk_load_byte(memory.states + Int(row)) & RowState.linked != 0
    }
}

/// The point a walk starts from, as packed in ``HNSWGraph/entry``.
struct EntryPoint {
    var row: UInt32
    var level: Int

    init(row: UInt32, level: Int) {
        self.row = row
        self.level = level
    }
    /// Nil while the graph is empty.
    @inline(__always) init?(word: UInt64) {
        guard word != 0 else { return nil }
        self.row = UInt32(truncatingIfNeeded: word)
        self.level = Int(word &>> 32) &- 1
    }
    var word: UInt64 { UInt64(self.level + 1) << 32 | UInt64(self.row) }
}
