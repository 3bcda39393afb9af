internal import VectorKernels

/// Walks for questions that not every row may answer. `eligible` has the bit of each row that may.
extension GraphView {
    /// Walks over all rows until the `ef` nearest eligible ones are found.
    ///
    /// As ``nearest(level:ef:entries:_:_:interrupted:)`` on level 0, but the array is cut behind the `ef`-th
    /// eligible entry, so it holds as many others as lie between.
    /// - Parameter capacity: Entries the array may hold at most, above `ef`.
    /// - Returns: Entries in `memory.pool`, nearest first, and how many of them are eligible.
    @inline(__always) func nearestAmongAll(
        ef: Int, capacity: Int, entries: Int, eligible: UnsafePointer<UInt64>,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, interrupted: () -> Bool
    ) -> (size: Int, found: Int) {
        let pool = memory.pool
        let ids = memory.ids
        let keys = memory.keys
        let visited = memory.visited
        let perCheck = self.distancesPerCheck
        var untilCheck = perCheck
        let walk = self.begin(entries, memory)
        var size = entries
        var found = 0
        for i in 0..<size where self.isSet(eligible, Candidate.row(pool[i])) { found &+= 1 }
        var worst = UInt32.max
        var current = 0
        while current < size {
            let candidate = pool[current]
            pool[current] = candidate | Candidate.expanded
            let count = vk_gather(self.links(Candidate.row(candidate), level: 0), self.m0, visited, walk, ids)
            var next = current &+ 1
            while next < size, Candidate.isExpanded(pool[next]) { next &+= 1 }
            if next < size { self.prefetchLinks(Candidate.row(pool[next]), level: 0) }
            self.measure(self.rows, memory.query, ids, count, keys)
            counts.distances &+= count
            counts.hops &+= 1
            var i = 0
            while i < count {
                if keys[i] < worst {
                    if size == capacity, self.isSet(eligible, Candidate.row(pool[size &- 1])) { found &-= 1 }
                    let at = self.poolInsert(pool, size, capacity, Candidate.pack(key: keys[i], row: ids[i]))
                    if size < capacity { size &+= 1 }
                    if self.isSet(eligible, ids[i]) { found &+= 1 }
                    // Everything behind the ef-th eligible entry is of no more use.
                    while found > ef || (found == ef && !self.isSet(eligible, Candidate.row(pool[size &- 1]))) {
                        size &-= 1
                        if self.isSet(eligible, Candidate.row(pool[size])) { found &-= 1 }
                    }
                    if found == ef || size == capacity { worst = Candidate.key(pool[size &- 1]) }
                    if at < next { next = at }
                }
                i &+= 1
            }
            current = next
            while current < size, Candidate.isExpanded(pool[current]) { current &+= 1 }
            untilCheck &-= count
            if untilCheck < 0 {
                untilCheck = perCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
        }
        return (size, found)
    }

    /// Walks over eligible rows only: a neighbour that is not eligible is not measured, its own eligible neighbours stand
    /// in for it.
    ///
    /// The two-hop idea of ACORN-1 (Patel et al., arXiv:2403.04871): where a tenth of the rows is eligible, a list of 32
    /// and the 32 lists behind it hold about as many eligible rows as an unfiltered list.
    /// Two candidates are under way at a time: the lists behind one arrive while the rows of the other are measured.
    ///
    /// Where the nearest are hardly nearer than others, a walk that knows few ways misses more of them: then it keeps up to
    /// ``mostEffort`` times as many candidates, by the local intrinsic dimension of those it found.
    /// - Parameters:
    ///   - ef: Candidates kept where distances tell rows apart.
    ///   - isProduct: Distances have no zero to be compared with; the most are kept.
    ///   - reach: Eligible rows per hop after which no more ways are tried.
    /// - Returns: Entries in `memory.pool`, nearest first; the entry point among them may not be eligible.
    @inline(__always) func nearestWithin(
        ef: Int, isProduct: Bool, reach: Int, entries: Int, eligible: UnsafePointer<UInt64>,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, interrupted: () -> Bool
    ) -> Int {
        let pool = memory.pool
        let keys = memory.keys
        let visited = memory.visited
        let ways = memory.keptRows
        let perCheck = self.distancesPerCheck
        var untilCheck = perCheck
        let walk = self.begin(entries, memory)
        var ids = memory.ids
        var ahead = memory.ahead
        var count = 0
        var size = entries
        var next = 0
        let most = Int(Self.mostEffort * Double(ef))
        var wanted = ef
        var isKnown = false
        while true {
            var aheadCount = 0
            var waysCount = 0
            while next < size, Candidate.isExpanded(pool[next]) { next &+= 1 }
            if next >= wanted, next < size, count == 0, !isKnown {
                isKnown = true
                wanted = isProduct ? most : Int(Double(ef) * Self.effort(pool, min(ef, 16)))
            }
            if next < size, next < wanted {
                let candidate = pool[next]
                pool[next] = candidate | Candidate.expanded
                next &+= 1
                aheadCount = vk_gather_eligible(
                    self.links(Candidate.row(candidate), level: 0), self.m0, eligible, self.rowOf, visited, walk, ways,
                    &waysCount, ahead)
                // Their lists arrive while rows are measured, and rows while the next candidate's links are looked through.
                if aheadCount < reach { vk_prefetch_ways(self.links0, self.m0, ways, waysCount) }
                counts.hops &+= 1
            } else if count == 0 {
                break
            }
            self.measure(self.rows, memory.query, ids, count, keys)
            counts.distances &+= count
            size = self.poolOffer(pool, size, most, keys, ids, count, &next)
            while next < size, Candidate.isExpanded(pool[next]) { next &+= 1 }
            if next < size { self.prefetchLinks(Candidate.row(pool[next]), level: 0) }
            if aheadCount < reach {
                aheadCount = vk_gather_behind(
                    self.links0, self.m0, ways, waysCount, eligible, self.rowOf, visited, walk, reach, aheadCount, ahead
                )
            }
            vk_prefetch_rows(self.rows, ahead, aheadCount)
            untilCheck &-= max(count, self.m0)
            swap(&ids, &ahead)
            count = aheadCount
            if untilCheck < 0 {
                untilCheck = perCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
        }
        return size
    }

    /// Times as many candidates as where distances tell rows apart.
    static let mostEffort = 2.5

    /// From 1 to ``mostEffort``, by the local intrinsic dimension of the nearest `count`.
    private static func effort(_ pool: UnsafePointer<UInt64>, _ count: Int) -> Double {
        guard let dimension = IntrinsicDimension.local(count, { vk_distance(Candidate.key(pool[$0])) }) else {
            return 1
        }
        return min(Self.mostEffort, max(1, 1 + (dimension - 5) / 6))
    }

    /// How many of the links of the entries to level 0, in `memory.pool`, are eligible, and of how many; and where those have not
    /// half of their `share`, of what the first entry is linked with, up to so many links.
    @inline(__always) func sampledAround(
        entries: Int, links wanted: Int, share: Double, eligible: UnsafePointer<UInt64>, _ memory: SearchScratch.Memory
    ) -> (hits: Int, links: Int) {
        var hits = 0
        var links = 0
        var i = 0
        while i < entries {
            let list = self.links(Candidate.row(memory.pool[i]), level: 0)
            hits &+= vk_count_eligible(list, self.m0, eligible, self.rowOf, &links)
            i &+= 1
        }
        if Double(hits) >= 0.5 * share * Double(links) { return (hits, links) }
        let first = self.links(Candidate.row(memory.pool[0]), level: 0)
        i = 0
        while links < wanted, i < self.m0 {
            let next = vk_load_acquire(first + i)
            if next == VK_NO_ROW { break }
            hits &+= vk_count_eligible(self.links(next, level: 0), self.m0, eligible, self.rowOf, &links)
            i &+= 1
        }
        return (hits, links)
    }
}
