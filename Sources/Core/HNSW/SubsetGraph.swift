internal import Glibc
internal import Primitives
internal import Synchronization
internal import VectorKernels

/// A graph of its own over some rows of a sealed graph: those that one filter matches. A walk over it meets no others, so it
/// costs what a search without a filter does, wherever the matches lie.
///
/// Its codes and links are copies; for the last candidates it reads the rows of the graph it was made of, which must stay, and
/// a long scan is one of that graph.
package final class SubsetGraph: Sendable {
    let graph: HNSWGraph
    private let source: HNSWGraph
    /// Of its links, codes and numbering.
    package let bytes: Int
    /// How many of the last queries lay apart from the rows: a running mean of 2^16 and 0.
    private let apart = Atomic<UInt32>(0)
    private static let apartLimit: UInt32 = 1 << 15
    private let turns = Atomic<UInt32>(0)
    /// Queries that walked: the first few count as much as each other.
    private let walks = Atomic<UInt32>(0)

    fileprivate init(_ graph: HNSWGraph, of source: HNSWGraph, bytes: Int) {
        self.graph = graph
        self.source = source
        self.bytes = bytes
    }

    package var count: Int { self.graph.linked }

    /// Offers the nearest rows to `top`, those in `request.deleted` left out.
    ///
    /// If `k` rows are left, `k` are considered. Few rows are scanned here, where their codes lie one after another; a query that
    /// lies apart from all of them scans them in the graph of everything, which has sketches, and whose codes other searches
    /// keep in the cache.
    /// - Parameters:
    ///   - request: Its `allowed` has the bits of this graph's rows, and of no others that have a vector.
    ///   - live: Rows of this graph that are not deleted.
    @discardableResult
    package func search(
        _ request: GraphSearch, live: Int, scratch: SearchScratch, into top: TopK, interrupted: () -> Bool = { false }
    ) -> SearchStats {
        // Those who ask by a filter ask about alike: where most lie apart the walk would be in vain, and is tried now and then.
        let apart = self.apart.load(ordering: .relaxed)
        let turn = self.turns.wrappingAdd(1, ordering: .relaxed).oldValue
        let scansFirst = apart > Self.apartLimit && turn % 16 != 0
        let stats = self.graph.searchSubset(
            request, of: self.source, live: live, scansFirst: scansFirst, scratch: scratch, into: top, interrupted)
        if stats.ef > 0 {
            let isApart: UInt32 = stats.strategy == .scan ? 1 << 16 : 0
            let walked = self.walks.wrappingAdd(1, ordering: .relaxed).oldValue
            let share = min(8, max(1, walked &+ 1))
            self.apart.store(apart - apart / share + isApart / share, ordering: .relaxed)
        }
        return stats
    }

    /// What is wrong with it, in words; empty when sound.
    package func checkInvariants() -> [String] { self.graph.checkInvariants() }

    /// What it costs to make one over `count` rows of `graph`, in nanoseconds of one thread: fitted to one machine.
    package static func buildNanoseconds(count: Int, of graph: HNSWGraph) -> Double {
        let bytes = Double(
            graph.kind == .none ? 4 * graph.rows.dimension : CodeKind.int8.stride(dimension: graph.rows.dimension))
        let row = 26 * Double(SubsetBuild.efConstruction(graph)) * log2(Double(max(2, count))) * (1 + bytes / 1500)
        return Double(count) * row
    }

    /// What a walk over one costs, likewise.
    package static func walkNanoseconds(k: Int, ef: Int, of graph: HNSWGraph) -> Double {
        HNSWGraph.walkShare * graph.plainCost(ef: max(ef == 0 ? HNSWGraph.defaultEf(k: k) : ef, k), share: 1)
    }

    /// Bytes that one over `count` rows of `graph` will take.
    package static func expectedBytes(count: Int, of graph: HNSWGraph) -> Int {
        let footprint = GraphFootprint(dimension: graph.rows.dimension, m: graph.m)
        return Int(Double(count) * footprint.subset(graph.kind))
    }
}

/// A ``SubsetGraph`` in the making.
// Sendable: rows are handed out once each by an atomic, and what they go into takes insertions from any thread.
package final class SubsetBuild: Sendable {
    private let source: HNSWGraph
    private let growing: HNSWGraph
    private let next = Atomic<Int>(0)
    private let done = Atomic<Int>(0)
    package let count: Int

    /// Fewer than for a graph of everything: one over a part is smaller, and built beside searches that wait for it.
    fileprivate static func efConstruction(_ graph: HNSWGraph) -> Int { min(graph.efConstruction, 100) }

    /// - Parameters:
    ///   - graph: Sealed. Kept until the end of the build.
    ///   - rows: Rows of it, each once.
    package init(_ rows: [UInt32], of graph: HNSWGraph) {
        precondition(graph.nodeOf != nil, "a part of a graph that grows")
        let step = max(1, rows.count / HNSWGraph.sampleRows)
        self.source = graph
        self.count = rows.count
        self.growing = HNSWGraph(
            dimension: graph.rows.dimension, metric: graph.rows.metric, m: graph.m,
            efConstruction: Self.efConstruction(graph), capacity: rows.count, rows: graph.rows.base,
            stride: graph.rows.stride, quantisation: graph.kind == .none ? .none : .int8,
            sample: stride(from: 0, to: rows.count, by: step).map { rows[$0] }, places: rows)
    }

    /// Links up to `most` rows that no other thread has taken.
    ///
    /// - Parameter breathe: Called after each.
    /// - Returns: How many, and whether with them the last row of all was linked: then, and on this thread alone, it is time
    ///   to ``finish()``.
    package func link(
        _ most: Int, scratch: SearchScratch, breathe: () -> Void = {}
    ) -> (linked: Int, isLast: Bool) {
        let start = self.next.add(most, ordering: .relaxed).oldValue
        guard start < self.count else { return (0, false) }
        let end = min(start + most, self.count)
        for i in start..<end {
            var hash = StableHash()
            hash.combine(UInt64(i))
            self.growing.insert(
                row: UInt32(i), level: HNSWGraph.level(hash: hash.finish(), m: self.growing.m), scratch: scratch)
            breathe()
        }
        let done = self.done.add(end - start, ordering: .acquiringAndReleasing).newValue
        return (end - start, done == self.count)
    }

    /// Numbers neighbours near one another and gives them the codes that the whole graph has.
    package func finish() -> SubsetGraph {
        precondition(self.growing.linked == self.count, "\(self.growing.linked) of \(self.count) rows are linked")
        let block = self.growing.sealedSubset(self.source.kind, centre: self.source.book.centre)
        let graph = HNSWGraph(subset: block, of: self.source.rows, rowCount: self.source.capacity)
        return SubsetGraph(graph, of: self.source, bytes: block.report.bytes)
    }
}

extension HNSWGraph {
    /// Share by which the nearest candidates of a walk must on average be nearer than the farthest. A query that lies apart from
    /// all rows has them at almost one distance, and no link leads the way: then all are measured. Where neighbours mean
    /// something it is some hundredths, for such a query some thousandths.
    private static let leastSpread: Float = 0.02

    /// What a walk costs in a graph that the cache has, as a share of what it does in one of everything.
    fileprivate static let walkShare = 0.5

    fileprivate func searchSubset(
        _ request: GraphSearch, of source: HNSWGraph, live: Int, scansFirst: Bool, scratch: SearchScratch,
        into top: TopK, _ interrupted: () -> Bool
    ) -> SearchStats {
        precondition(request.allowed != nil, "a search of a part whose rows are not named")
        var stats = SearchStats()
        guard live > 0, let entry = EntryPoint(word: self.entry.load(ordering: .acquiring)) else { return stats }
        let k = min(request.k, live)
        let wanted = max(request.ef == 0 ? Self.defaultEf(k: k) : request.ef, k)
        // A smaller graph, made in less time, wants some more candidates for the recall that the whole one has.
        let ef = min(wanted + self.slack(k: k) + max(2, wanted / 4), self.linked)
        let isWhole = live == self.linked
        let memory = scratch.prepare(
            capacity: self.capacity, candidates: Self.poolCapacity(ef: ef), m: self.m, book: self.book)
        self.book.aim(memory.query, at: request.query, codes: memory.queryCodes)
        if !isWhole {
            _ = vk_kernels_best().pointee.restrict_rows(
                memory.eligible, nil, request.deleted, (self.capacity + 63) / 64)
        }
        var counts = WalkCounts()
        var isDone = false
        stats.strategy = request.strategy
        if request.strategy == .automatic {
            let walk = Self.walkShare * self.plainCost(ef: ef, share: 1)
            stats.strategy = scansFirst || self.scanCost(rows: live, k: k) < walk ? .scan : .plainWalk
        }
        if stats.strategy == .plainWalk {
            stats.ef = ef
            let entries = self.entries(from: entry, ef: ef, memory, &counts)
            let size = self.walk(
                .plainWalk, entries: entries, ef: ef, eligible: isWhole ? nil : live, memory, &counts,
                interrupted: interrupted)
            let found = isWhole ? size : self.keepEligible(size, filtered: true, below: .max, memory)
            if counts.interrupted || found >= k && self.leads(size, memory) {
                self.offer(isWhole ? memory.pool : memory.kept, found, k: k, request, memory, top, &counts, interrupted)
                isDone = true
            }
        }
        if !isDone {
            if stats.ef == 0, !scansFirst {
                self.scan(
                    request, k: k, possible: live, filtered: !isWhole, shortlist: self.kind == .none ? 0 : 2 * k + 16,
                    memory, top, &counts, interrupted)
            } else {
                var everything = request
                everything.k = k
                everything.allowedCount = nil  // rows were deleted since
                everything.strategy = .scan
                let scan = source.search(everything, scratch: scratch, into: top, interrupted: interrupted)
                counts.distances += scan.distances
                counts.interrupted = scan.interrupted
            }
            stats.strategy = .scan
        }
        stats.hops = counts.hops
        stats.distances = counts.distances
        stats.interrupted = counts.interrupted
        return stats
    }

    /// Whether the candidates of a walk differ enough in distance for it to have found its way.
    private func leads(_ size: Int, _ memory: SearchScratch.Memory) -> Bool {
        // A product has no zero to compare with.
        guard self.rows.metric != .dot, size > 1 else { return true }
        var sum: Float = 0
        var i = 0
        while i < size {
            sum += vk_distance(Candidate.key(memory.pool[i]))
            i &+= 1
        }
        let (nearest, last) = (Candidate.key(memory.pool[0]), Candidate.key(memory.pool[size &- 1]))
        let farthest = vk_distance(last)
        // Nothing but copies of one point: the way to them was found.
        return nearest == last || farthest <= 0
            || farthest * Float(size) - sum >= Self.leastSpread * farthest * Float(size)
    }
}
