import Glibc
import HNSW
import Primitives
import Synchronization

/// What searching all queries again and again for a while came to.
struct Measured {
    /// Queries a second: of one thread by its processor time, of several by the clock.
    var qps = 0.0
    /// By the clock, always.
    var wall = 0.0
    var recall = 0.0
    /// Processor time of a query, in microseconds.
    var cpu = 0.0
    /// Queries that found fewer than `k` though `k` match.
    var short = 0
    var hops = 0
    var distances = 0
    var last = SearchStats()

    var line: String {
        """
        qps \(Int(self.qps)) wall \(Int(self.wall)) recall \(self.recall) cpu \(self.cpu) short \(self.short) hops \(self.hops) distances \(self.distances) \
        strategy \(self.last.strategy) ef \(self.last.ef)
        """
    }
}

let k = 10

/// The first pass tells the recall and warms up; the passes after it are timed.
func measure(
    _ data: DataSet, _ graph: HNSWGraph, ef: Int, seconds: Double, threads: Int = 1,
    filter: RowFilters? = nil, strategy: GraphSearch.Strategy = .automatic, warm: WarmFilters? = nil
) -> Measured {
    let queries = warm?.queryCount ?? filter?.queryCount ?? data.queryCount
    func request(_ q: Int) -> GraphSearch {
        var request = GraphSearch(query: data.query(q), k: k)
        request.ef = ef
        request.strategy = strategy
        request.allowed = filter?.bitmap(q)
        request.allowedCount = filter?.count(q)
        return request
    }
    func search(_ q: Int, _ scratch: SearchScratch, _ top: TopK) -> SearchStats {
        guard let warm else { return graph.search(request(q), scratch: scratch, into: top) }
        let subset = warm.graph(q)
        return subset.search(request(q), live: subset.count, scratch: scratch, into: top)
    }
    var result = Measured()
    let scratch = SearchScratch()
    let top = TopK(k: k)
    var hits = 0
    var wanted = 0
    for q in 0..<queries {
        top.reset(k: k)
        result.last = search(q, scratch, top)
        result.hops += result.last.hops
        result.distances += result.last.distances
        let found = top.neighbours().map(\.row)
        let truth = filter?.truth(q) ?? (0..<k).map { data.truth[q * data.truthCount + $0] }
        hits += data.hits(found, data.query(q), truth: truth)
        wanted += truth.count
        if found.count < truth.count { result.short += 1 }
    }
    result.recall = Double(hits) / Double(max(1, wanted))
    result.hops /= queries
    result.distances /= queries
    guard seconds > 0 else { return result }
    let total = Atomic<Int>(0)
    // One thread alone is measured by its processor time: others on the machine take less of that than of the clock.
    let clock = threads == 1 ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC
    let start = now(clock)
    let startCPU = now(CLOCK_PROCESS_CPUTIME_ID)
    let startWall = now()
    withUnsafePointer(to: total) { total in
        nonisolated(unsafe) let total = total
        nonisolated(unsafe) let search = search
        onThreads(threads) { thread in
            let scratch = SearchScratch()
            let top = TopK(k: k)
            var done = 0
            var q = thread * queries / threads
            while done % 64 != 0 || now(clock) - start < seconds {
                top.reset(k: k)
                _ = search(q, scratch, top)
                top.sort()
                q = q + 1 == queries ? 0 : q + 1
                done += 1
            }
            total.pointee.add(done, ordering: .relaxed)
        }
    }
    let done = Double(total.load(ordering: .relaxed))
    result.qps = done / (now(clock) - start)
    result.wall = done / (now() - startWall)
    result.cpu = 1e6 * (now(CLOCK_PROCESS_CPUTIME_ID) - startCPU) / done
    return result
}

/// Which rows each query may be answered with.
final class RowFilters {
    enum Pattern: String, CaseIterable {
        /// Rows drawn one by one, the same for every query.
        case random
        /// The rows around the query.
        case near
        /// Drawn from the half of the rows that is farther from the query.
        case far
    }

    private var bits: [UnsafeMutablePointer<UInt64>] = []
    private var counts: [Int] = []
    private var truths: [[UInt32]] = []

    var queryCount: Int { self.bits.count }
    func count(_ q: Int) -> Int { self.counts[q] }
    func bitmap(_ q: Int) -> UnsafePointer<UInt64> { UnsafePointer(self.bits[q]) }
    func truth(_ q: Int) -> [UInt32] { self.truths[q] }

    /// By share and pattern, all at once: most of the time goes into sorting the rows by their distance to each query.
    static func all(_ data: DataSet, shares: [String]) -> [String: RowFilters] {
        var filters: [String: RowFilters] = [:]
        var rng = SeededRNG(seed: 7)
        let drawn = (0..<data.count).map { _ in Double.random(in: 0..<1, using: &rng) }
        var order = [UInt64](repeating: 0, count: data.count)
        for q in 0..<min(200, data.queryCount) {
            for row in 0..<data.count {
                let bits = data.distance(data.query(q), row).bitPattern
                order[row] = UInt64(bits >> 31 == 0 ? bits | 1 << 31 : ~bits) << 32 | UInt64(row)  // sorts as floats do
            }
            order.sort()
            let sorted = order.map { Int($0 & 0xffff_ffff) }
            for share in shares {
                guard let part = Double(share) else { continue }
                for pattern in Pattern.allCases {
                    let filter = filters[share + pattern.rawValue, default: RowFilters()]
                    filters[share + pattern.rawValue] = filter
                    switch pattern {
                    case .random: filter.add(sorted.filter { drawn[$0] < part }, of: data.count)
                    case .near: filter.add(Array(sorted[..<max(k, Int(Double(data.count) * part))]), of: data.count)
                    case .far:
                        filter.add(sorted[(data.count / 2)...].filter { drawn[$0] < 2 * part }, of: data.count)
                    }
                }
            }
        }
        return filters
    }

    /// The rows of one filter, ascending.
    func rows(_ q: Int, of count: Int) -> [UInt32] {
        (0..<UInt32(count)).filter { self.bits[q][Int($0) / 64] >> UInt64($0 % 64) & 1 == 1 }
    }

    /// - Parameter rows: In the order of their distance to the query.
    private func add(_ rows: [Int], of count: Int) {
        let words = (count + 63) / 64
        let bitmap = UnsafeMutablePointer<UInt64>.allocate(capacity: words)
        bitmap.initialize(repeating: 0, count: words)
        for row in rows { bitmap[row / 64] |= 1 << UInt64(row % 64) }
        // One filter for all queries is one bitmap, which the cache keeps.
        if let first = self.bits.first, memcmp(first, bitmap, words * 8) == 0 {
            bitmap.deallocate()
            self.bits.append(first)
        } else {
            self.bits.append(bitmap)
        }
        self.counts.append(rows.count)
        self.truths.append(rows.prefix(k).map { UInt32($0) })
    }

    deinit { for bitmap in Set(self.bits) { bitmap.deallocate() } }
}
