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
    /// What a walk measures.
    package enum Store: UInt8, Sendable {
        /// The rows themselves.
        case float32 = 1
        /// 8-bit codes kept beside the graph, a quarter of the memory to read; the best are measured again on the rows.
        case int8
    }

    package let rows: VectorRows
    package let m: Int
    package let m0: Int
    package let efConstruction: Int
    package let capacity: Int
    package let store: Store

    let view: GraphView
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

    static let topLevel = 15
    package static let mRange = 2...256

    /// An empty graph.
    ///
    /// - Parameters:
    ///   - m: Links per point above level 0, in ``mRange``; level 0 has twice as many.
    ///   - efConstruction: Candidates looked at when a point is linked.
    ///   - capacity: Rows there can ever be, below 2^31.
    ///   - rows: A fixed address with room for `capacity` rows, `stride` floats apart (see ``VectorRows``).
    ///   - store: Nil: ``defaultStore(_:)``.
    package init(
        dimension: Int, metric: Metric, m: Int, efConstruction: Int, capacity: Int, rows: UnsafePointer<Float>, stride: Int,
        store: Store? = nil
    ) {
        let store = store ?? Self.defaultStore(metric)
        precondition(
            Self.mRange ~= m && efConstruction > 0 && 0...Candidate.maxRows ~= capacity,
            "m \(m), efConstruction \(efConstruction), capacity \(capacity)")
        self.rows = VectorRows(base: rows, stride: stride, dimension: dimension, metric: metric)
        self.m = m
        self.m0 = 2 * m
        self.efConstruction = efConstruction
        self.capacity = capacity
        self.store = store
        let codeStride = store == .int8 ? VectorRows.codeStride(dimension: dimension) : 0
        let memory = GraphMemory(capacity: capacity, m: m, codeStride: codeStride)
        self.memory = memory
        self.levels = UnsafePointer(memory.levels)
        self.kernelRows = .allocate(capacity: 1)
        self.kernelRows.initialize(
            to: self.rows.kernelRows(codes: memory.codes, terms: memory.codeTerms, codeStride: codeStride))
        self.view = GraphView(
            links0: memory.links0, m0: 2 * m, upper: memory.upper, upperStart: memory.upperStart, m: m,
            rows: UnsafePointer(self.kernelRows), metric: metric, store: store)
        self.measureFloats = GraphView.measure(metric: metric, store: .float32)
        self.entry = Atomic(0)
        self.linkedCount = Atomic(0)
        self.prefix = Atomic(0)
        self.rowBound = Atomic(0)
    }

    /// Over links that lie in a mapped file; ``init(mapped:rows:rowCount:)`` has checked them.
    init(sound layout: GraphLayout, in mapped: UnsafeRawBufferPointer, rows: VectorRows) {
        let base = UnsafeMutableRawPointer(mutating: mapped.baseAddress!)  // never written: insert(row:) refuses
        self.rows = rows
        self.m = layout.m
        self.m0 = 2 * layout.m
        self.efConstruction = layout.efConstruction
        self.capacity = layout.rowCount
        self.store = layout.store
        self.memory = nil
        self.levels = UnsafePointer((base + layout.levels.lowerBound).assumingMemoryBound(to: UInt8.self))
        self.kernelRows = .allocate(capacity: 1)
        self.kernelRows.initialize(
            to: rows.kernelRows(
                codes: (base + layout.codes.lowerBound).assumingMemoryBound(to: Int8.self),
                terms: (base + layout.codeTerms.lowerBound).assumingMemoryBound(to: Float.self),
                codeStride: layout.codeStride))
        self.view = GraphView(
            links0: (base + layout.links0.lowerBound).assumingMemoryBound(to: UInt32.self), m0: 2 * layout.m,
            upper: (base + layout.upper.lowerBound).assumingMemoryBound(to: UInt32.self),
            upperStart: (base + layout.upperStart.lowerBound).assumingMemoryBound(to: UInt32.self), m: layout.m,
            rows: UnsafePointer(self.kernelRows), metric: rows.metric, store: layout.store)
        self.measureFloats = GraphView.measure(metric: rows.metric, store: .float32)
        self.entry = Atomic(layout.entry)
        self.linkedCount = Atomic(layout.linkedCount)
        self.prefix = Atomic(UInt32(layout.rowCount))
        self.rowBound = Atomic(UInt32(layout.rowCount))
    }

    deinit { self.kernelRows.deallocate() }

    /// Codes for unit vectors, whose components are all of one scale. A vector of any length may lie so far from the origin,
    /// compared with its neighbours, that codes tell them no longer apart.
    package static func defaultStore(_ metric: Metric) -> Store { metric == .cosine ? .int8 : .float32 }

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

    func isLinked(_ row: UInt32) -> Bool {
        guard let memory else { return self.levels[Int(row)] != GraphLayout.notLinked }
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
