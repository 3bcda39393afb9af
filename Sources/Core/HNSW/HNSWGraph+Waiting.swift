internal import Synchronization
internal import VectorKernels

/// Rows that wait to be linked: searches scan them, on codes where the graph has such.
extension HNSWGraph {
    /// Rows below this have their codes, whether linked or not. A graph that walks over floats needs none.
    package var codedRows: UInt32 { self.kind == .none ? .max : self.coded.load(ordering: .acquiring) }

    /// Gives the rows below `end` their codes ahead of their turn to be linked. Their vectors are in place, though some may
    /// have none worth a code. Any number of threads: one does it, the others go on.
    package func encode(below end: Int) {
        guard let memory, self.kind != .none, Int(self.coded.load(ordering: .relaxed)) < end else { return }
        let door = self.coding.compareExchange(expected: false, desired: true, ordering: .acquiringAndReleasing)
        guard door.exchanged else { return }
        defer { self.coding.store(false, ordering: .releasing) }
        let start = Int(self.coded.load(ordering: .relaxed))
        guard start < end else { return }
        for row in start..<end { self.encode(row: row, memory) }
        self.coded.store(UInt32(end), ordering: .releasing)
    }

    /// A row that is linked while another thread gives it codes gets the same bytes twice.
    @inline(__always) func encode(row: Int, _ memory: GraphMemory) {
        self.book.encode(
            self.rows.base + Int(self.row(of: UInt32(row))) * self.rows.stride,
            codes: memory.codes + row * self.book.stride,
            terms: memory.terms + 2 * row)
    }

    /// Offers the nearest of some rows that are not linked, as ``search(_:scratch:into:interrupted:)`` would if they were: by
    /// their codes, the best measured again on floats.
    ///
    /// - Parameter range: Below ``codedRows``.
    package func scanWaiting(
        _ request: GraphSearch, range: Range<UInt32>, scratch: SearchScratch, into top: TopK,
        interrupted: () -> Bool = { false }
    ) -> SearchStats {
        let k = min(request.k, range.count)
        let shortlist = 2 * k + 16
        // Few rows, or none with codes: floats are as quick.
        guard self.kind != .none, range.count > 2 * shortlist else {
            return self.scanFloats(request, range, scratch, top, interrupted)
        }
        precondition(range.upperBound <= self.codedRows, "rows \(range) scanned, coded below \(self.codedRows)")
        let memory = scratch.prepare(capacity: 0, candidates: shortlist, m: self.m, book: self.book)
        self.book.aim(memory.query, at: request.query, codes: memory.queryCodes)
        var counts = WalkCounts()
        let size = self.shortlisted(shortlist, request, range, memory, &counts, interrupted)
        let (found, isSettled) = self.remeasure(
            memory.pool, size, k: k, request.query, memory, &counts, interrupted)
        if !isSettled, size == shortlist, !counts.interrupted {
            // Rows too near one another for codes to choose.
            return self.scanFloats(request, range, scratch, top, interrupted)
        }
        self.offer(memory.best, found, request, top)
        var stats = SearchStats()
        stats.strategy = .scan
        stats.distances = counts.distances
        stats.interrupted = counts.interrupted
        return stats
    }

    private func scanFloats(
        _ request: GraphSearch, _ range: Range<UInt32>, _ scratch: SearchScratch, _ top: TopK, _ interrupted: () -> Bool
    ) -> SearchStats {
        ExactSearch.scan(
            self.rows, range: range, query: request.query, allowed: request.allowed, deleted: request.deleted,
            segment: request.segment, scratch: scratch, into: top, interrupted: interrupted)
    }

    /// The nearest by their codes, in `memory.pool`. Returns how many.
    private func shortlisted(
        _ most: Int, _ request: GraphSearch, _ range: Range<UInt32>, _ memory: SearchScratch.Memory,
        _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) -> Int {
        let (ids, keys, pool) = (memory.ids, memory.keys, memory.pool)
        let batch = min(SearchScratch.batch, self.view.distancesPerCheck)
        var untilCheck = self.view.distancesPerCheck
        var cursor = RowCursor(range: range, allowed: request.allowed, deleted: request.deleted)
        var size = 0
        var worst = UInt32.max
        while true {
            let count = cursor.next(into: ids, limit: batch)
            if count == 0 { return size }
            self.view.measure(self.view.rows, memory.query, ids, count, keys)
            counts.distances &+= count
            var i = 0
            while i < count {
                if keys[i] < worst {
                    _ = self.view.poolInsert(pool, size, most, Candidate.pack(key: keys[i], row: ids[i]))
                    size = min(size &+ 1, most)
                    if size == most { worst = Candidate.key(pool[size &- 1]) }
                }
                i &+= 1
            }
            untilCheck &-= count
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    return size
                }
            }
        }
    }
}
