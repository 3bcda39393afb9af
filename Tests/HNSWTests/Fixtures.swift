import HNSW
import Primitives

/// Vectors at a fixed, aligned address, as a segment keeps them.
final class Points: @unchecked Sendable {  // constant after init
    let base: UnsafeMutablePointer<Float>
    let count: Int
    let dimension: Int
    let stride: Int
    let metric: Metric

    init(_ vectors: [[Float]], metric: Metric, padding: Int = 0) {
        self.count = vectors.count
        self.dimension = vectors.first?.count ?? 1
        self.stride = self.dimension + padding
        self.metric = metric
        self.base = UnsafeMutableRawPointer.allocate(byteCount: max(1, vectors.count * self.stride) * 4, alignment: 64)
            .bindMemory(to: Float.self, capacity: max(1, vectors.count * self.stride))
        self.base.initialize(repeating: .nan, count: max(1, vectors.count * self.stride))
        for (i, vector) in vectors.enumerated() {
            (self.base + i * self.stride).update(from: vector, count: vector.count)
            if metric == .cosine {
                VectorMath.normalise(
                    UnsafeMutableBufferPointer(start: self.base + i * self.stride, count: self.dimension))
            }
        }
    }

    deinit { self.base.deallocate() }

    var rows: VectorRows {
        VectorRows(base: self.base, stride: self.stride, dimension: self.dimension, metric: self.metric)
    }

    /// Components around centres drawn first, as embeddings of topics are; `centres` 0 for one cloud.
    static func random(
        count: Int, dimension: Int, metric: Metric, centres: Int = 0, seed: UInt64, padding: Int = 0
    ) -> Points {
        var rng = SeededRNG(seed: seed)
        let middles = (0..<max(1, centres)).map { _ in rng.vector(dimension) }
        let vectors = (0..<count).map { _ in
            let vector = rng.vector(dimension)
            guard centres > 0 else { return vector }
            let middle = middles[Int.random(in: 0..<centres, using: &rng)]
            return zip(middle, vector).map { $0 + 0.3 * $1 }
        }
        return Points(vectors, metric: metric, padding: padding)
    }

    func emptyGraph(m: Int = 16, efConstruction: Int = 100, codes: Quantisation = .none) -> HNSWGraph {
        HNSWGraph(
            dimension: self.dimension, metric: self.metric, m: m, efConstruction: efConstruction, capacity: self.count,
            rows: self.base, stride: self.stride, quantisation: codes,
            sample: (0..<UInt32(min(self.count, HNSWGraph.sampleRows))).map { $0 })
    }

    static func level(of row: Int, m: Int) -> Int {
        var hash = StableHash()
        hash.combine(UInt64(row))
        return HNSWGraph.level(hash: hash.finish(), m: m)
    }

    func graph(
        m: Int = 16, efConstruction: Int = 100, codes: Quantisation = .none, without: Set<Int> = []
    ) -> HNSWGraph {
        let graph = self.emptyGraph(m: m, efConstruction: efConstruction, codes: codes)
        let scratch = SearchScratch()
        for row in 0..<self.count where !without.contains(row) {
            graph.insert(row: UInt32(row), level: Self.level(of: row, m: m), scratch: scratch)
        }
        return graph
    }

    func distance(_ query: UnsafePointer<Float>, _ row: Int) -> Float {
        let vector = self.base + row * self.stride
        return self.metric == .l2
            ? VectorMath.l2(query, vector, count: self.dimension)
            : 1 - VectorMath.dot(query, vector, count: self.dimension)
    }

    /// Share of the true neighbours found, by what rows are at rather than what was said of them: float16 rows say it roughly.
    func recall(_ found: [Neighbour], _ truth: [Neighbour], _ query: UnsafePointer<Float>) -> Double {
        guard let last = truth.last else { return 1 }
        return Double(found.filter { self.distance(query, Int($0.row)) <= last.distance }.count) / Double(truth.count)
    }

    /// The honest answer: every row measured one by one, sorted.
    func nearest(_ query: UnsafePointer<Float>, k: Int, where mayReturn: (Int) -> Bool = { _ in true }) -> [Neighbour] {
        (0..<self.count).filter(mayReturn).map { row in
            Neighbour(distance: self.distance(query, row), row: UInt32(row))
        }.sorted { ($0.distance, $0.row) < ($1.distance, $1.row) }.prefix(k).map { $0 }
    }
}

extension SeededRNG {
    /// Roughly normal components: sums of four uniform ones.
    mutating func vector(_ dimension: Int) -> [Float] {
        (0..<dimension).map { _ in
            (0..<4).reduce(Float(0)) { sum, _ in sum + Float.random(in: -0.5...0.5, using: &self) }
        }
    }
}

extension HNSWGraph {
    func find(_ request: GraphSearch) -> (neighbours: [Neighbour], stats: SearchStats) {
        let top = TopK(k: request.k)
        let stats = self.search(request, scratch: SearchScratch(), into: top)
        return (top.neighbours(), stats)
    }

    /// A sealed form, read as from a file.
    func sealed(_ codes: Quantisation, _ points: Points, rowCount: Int? = nil) throws -> Sealed {
        try Sealed(self.sealed(codes, rowCount: rowCount ?? points.count), points, rowCount ?? points.count)
    }
}

/// A sealed graph and the block it lies in.
struct Sealed: Sendable {
    let block: SealedBlock
    let graph: HNSWGraph

    init(_ block: SealedBlock, _ points: Points, _ rowCount: Int) throws {
        self.block = block
        self.graph = try HNSWGraph(mapped: block.bytes, rows: points.rows, rowCount: rowCount, owner: block)
    }
}

/// A set of rows as a bitmap.
struct RowSet {
    var words: [UInt64]
    var rows: Set<Int> = []

    init(count: Int) { self.words = [UInt64](repeating: 0, count: (count + 63) / 64) }

    init(count: Int, where isIn: (Int) -> Bool) {
        self.init(count: count)
        for row in 0..<count where isIn(row) {
            self.words[row / 64] |= 1 << UInt64(row % 64)
            self.rows.insert(row)
        }
    }
}

/// Share of the true neighbours found. Ties count: a row as near as the last true one is as good.
func recall(_ found: [Neighbour], _ truth: [Neighbour]) -> Double {
    guard let last = truth.last else { return 1 }
    return Double(found.filter { $0.distance <= last.distance }.count) / Double(truth.count)
}
