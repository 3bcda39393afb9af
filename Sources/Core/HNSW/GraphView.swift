internal import Primitives
internal import VectorKernels

typealias Measure =
    @convention(c) (
        UnsafePointer<vk_rows>?, UnsafePointer<vk_query>?, UnsafePointer<UInt32>?, Int, UnsafeMutablePointer<UInt32>?
    ) -> Void
typealias PoolOffer =
    @convention(c) (
        UnsafeMutablePointer<UInt64>?, Int, Int, UnsafePointer<UInt32>?, UnsafePointer<UInt32>?, Int,
        UnsafeMutablePointer<Int>?
    ) -> Int
typealias PoolInsert = @convention(c) (UnsafeMutablePointer<UInt64>?, Int, Int, UInt64) -> Int

/// A graph's memory as a walk needs it: plain pointers, copied into locals, so that a hop touches no reference count.
///
/// Points are nodes here: rows in a graph that grows; in a sealed one numbered anew, neighbours near one another.
/// A list of links ends at `VK_NO_ROW` or at its full width.
struct GraphView {
    /// `m0` links a row.
    let links0: UnsafeMutablePointer<UInt32>
    let m0: Int
    /// Lists of `m` links; those of one row lie one after another, level 1 first.
    let upper: UnsafeMutablePointer<UInt32>
    /// A row's first list in `upper`, counted in lists; meaningless for a row of level 0.
    let upperStart: UnsafeMutablePointer<UInt32>
    let m: Int
    /// What the walk measures, and how: codes where the graph has them, floats otherwise.
    let rows: UnsafePointer<vk_rows>
    let measure: Measure
    let poolInsert: PoolInsert
    let poolOffer: PoolOffer
    /// Rows by node; nil where they are the same.
    let rowOf: UnsafePointer<UInt32>?

    @inline(__always) func links(_ row: UInt32, level: Int) -> UnsafeMutablePointer<UInt32> {
        level == 0
            ? self.links0 + Int(row) &* self.m0
            : self.upper + (Int(self.upperStart[Int(row)]) &+ level &- 1) &* self.m
    }

    /// Whether a node's row has its bit in `bitmap`.
    @inline(__always) func isSet(_ bitmap: UnsafePointer<UInt64>, _ node: UInt32) -> Bool {
        HNSW.isSet(bitmap, self.rowOf.map { $0[Int(node)] } ?? node)
    }

    @inline(__always) func width(level: Int) -> Int { level == 0 ? self.m0 : self.m }
}

/// A candidate in one word, so that one comparison orders it: distance key, row, and whether its links were followed.
enum Candidate {
    @inline(__always) static func pack(key: UInt32, row: UInt32) -> UInt64 { UInt64(key) &<< 32 | UInt64(row) &<< 1 }
    @inline(__always) static func key(_ entry: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: entry &>> 32) }
    @inline(__always) static func row(_ entry: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: entry) &>> 1 }
    @inline(__always) static func isExpanded(_ entry: UInt64) -> Bool { entry & 1 != 0 }
    static let expanded: UInt64 = 1
    /// The flag takes a bit of the row's number.
    static let maxRows = 1 << 31 - 1
}

@inline(__always) func isSet(_ bitmap: UnsafePointer<UInt64>, _ row: UInt32) -> Bool {
    bitmap[Int(row &>> 6)] &>> UInt64(row & 63) & 1 != 0
}

extension GraphView {
    init(
        links0: UnsafeMutablePointer<UInt32>, m0: Int, upper: UnsafeMutablePointer<UInt32>,
        upperStart: UnsafeMutablePointer<UInt32>, m: Int, rows: UnsafePointer<vk_rows>, metric: Metric,
        kind: CodeKind, rowOf: UnsafePointer<UInt32>?
    ) {
        self.init(
            links0: links0, m0: m0, upper: upper, upperStart: upperStart, m: m, rows: rows,
            measure: Self.measure(metric: metric, kind: kind), poolInsert: vk_kernels_best().pointee.pool_insert,
            poolOffer: vk_kernels_best().pointee.pool_offer,
            rowOf: rowOf)
    }

    static func measure(metric: Metric, kind: CodeKind) -> Measure {
        let kernels = vk_kernels_best().pointee
        return switch kind {
        case .none: metric == .l2 ? kernels.l2_rows : kernels.dot_rows
        case .int8: kernels.code8_rows
        case .int4: kernels.code4_rows
        }
    }
}
