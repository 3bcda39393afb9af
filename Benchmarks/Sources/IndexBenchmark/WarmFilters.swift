import Glibc
import HNSW

/// Filters that were asked before: each has a graph over its matches.
final class WarmFilters {
    let key: String
    let queryCount: Int
    private var graphs: [SubsetGraph] = []
    private var cpu = 0.0
    private var rows = 0
    private var bytes = 0
    private var estimate = 0.0

    /// Filters that differ by query are many, and building takes its time: the first ones stand for all.
    private static let most = 40

    init(_ key: String, _ filters: RowFilters, _ graph: HNSWGraph) {
        self.key = key
        // Rows drawn at random are the same for every query.
        let isShared = key.hasSuffix(RowFilters.Pattern.random.rawValue)
        self.queryCount = isShared ? filters.queryCount : min(Self.most, filters.queryCount)
        let scratch = SearchScratch()
        let start = now(CLOCK_THREAD_CPUTIME_ID)
        for q in 0..<(isShared ? 1 : self.queryCount) {
            let build = SubsetBuild(filters.rows(q, of: graph.capacity), of: graph)
            _ = build.link(build.count, scratch: scratch)
            self.graphs.append(build.finish())
            self.rows += build.count
            self.bytes += self.graphs[q].bytes
            self.estimate += SubsetGraph.buildNanoseconds(count: build.count, of: graph) * 1e-9
        }
        self.cpu = now(CLOCK_THREAD_CPUTIME_ID) - start
    }

    func graph(_ q: Int) -> SubsetGraph { self.graphs[q % self.graphs.count] }

    /// What they took.
    var line: String {
        " graphs \(self.graphs.count) rows \(self.rows) row-us \(1e6 * self.cpu / Double(self.rows)) estimate \(self.estimate / self.cpu) row-bytes \(self.bytes / self.rows)"
    }
}
