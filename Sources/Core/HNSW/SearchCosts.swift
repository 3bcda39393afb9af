internal import Glibc
internal import Primitives
internal import VectorKernels

/// What searches cost, in nanoseconds: fitted to one machine, of use for their ratios.
extension HNSWGraph {
    /// Measuring one row of many that lie near one another.
    var rowCost: Double {
        let bytes = self.kind == .none ? 4 * self.rows.dimension : self.book.stride
        return 3.5 + 0.015 * Double(bytes)
    }

    /// A walk over all rows that returns each `share`-th.
    func plainCost(ef: Int, share: Double) -> Double {
        Double(ef + 10) * pow(share, -0.75) * (100 + 32 * self.rowCost)
    }

    /// A walk over eligible rows alone, each `share`-th, looking two hops far.
    func filteredCost(ef: Int, share: Double) -> Double {
        let effort = self.rows.metric == .dot ? GraphView.mostEffort : 1.4
        return (effort * Double(ef) + 8) * (250 + 25 * self.rowCost + 37 / share)
    }

    /// Measuring so many rows, wherever they lie, and keeping `k`.
    func scanCost(rows: Int, k: Int) -> Double {
        let plain = self.scanRowCost * Double(rows)
        return self.maySketch(rows: rows, k: k) ? min(plain, self.sketchedCost(rows: rows, k: k)) : plain
    }

    /// Whether a scan looks at sketches first.
    func paysToSketch(rows: Int, k: Int) -> Bool {
        self.maySketch(rows: rows, k: k) && self.sketchedCost(rows: rows, k: k) < self.scanRowCost * Double(rows)
    }

    private var scanRowCost: Double { 1.4 * self.rowCost }

    private func maySketch(rows: Int, k: Int) -> Bool {
        let opening = ScanFeed.opening(rank: k + 6)
        // Keys of the opening must be kept, and those of many results are hardly fewer than all.
        return self.kernelRows.pointee.sketches != nil && rows > 4 * ScanFeed.probes
            && opening <= SearchScratch.scannedMost / 2
            && rows > 2 * (opening - ScanFeed.opening(rank: 0))
    }

    private func sketchedCost(rows: Int, k: Int) -> Double {
        let sketch = 1.9 + 0.031 * Double(self.kernelRows.pointee.sketch_stride)
        // Rows measured on codes: the first, and those that get better and fewer.
        let coded = Double(ScanFeed.probes) + 0.4 * Double(k + 6) * Double(rows).squareRoot()
        return Double(rows) * sketch + coded * self.scanRowCost
    }
}

/// What the ways to answer one search would cost.
struct WalkCosts {
    private let graph: HNSWGraph
    private let scan: Double
    private let filtered: Double
    private let ef: Int
    /// Of all linked rows those that may be returned.
    let share: Double

    /// Below this share of eligible rows two hops hold too few of them to walk on.
    private static let leastShare = 0.02

    /// - Parameters:
    ///   - ef: Candidates of a walk over all rows.
    ///   - leastEf: Of one over eligible rows alone.
    init(_ graph: HNSWGraph, eligible: Int, k: Int, ef: Int, leastEf: Int) {
        self.graph = graph
        self.ef = ef
        self.share = min(1, Double(eligible) / Double(max(1, graph.linked)))
        self.scan = graph.scanCost(rows: eligible, k: k)
        self.filtered =
            self.share < Self.leastShare ? .infinity : graph.filteredCost(ef: leastEf, share: self.share)
    }

    /// False where a scan of the eligible rows costs less than the best a walk could do: by so much that it pays to look around
    /// first, and to find fewer of the nearest.
    var mayWalk: Bool { self.scan > 1.25 * min(self.graph.plainCost(ef: self.ef, share: 1), self.filtered) }

    /// - Parameter around: Share of eligible rows near the query.
    func cheapest(around: Double) -> GraphSearch.Strategy {
        let plain = self.graph.plainCost(ef: self.ef, share: around)
        if self.scan <= min(plain, self.filtered) { return .scan }
        return plain <= self.filtered ? .plainWalk : .filteredWalk
    }
}
