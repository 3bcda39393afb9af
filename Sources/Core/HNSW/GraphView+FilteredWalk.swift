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
        self.startOver(entries, memory)
        var size = entries
        var found = 0
        for i in 0..<size where isSet(eligible, Candidate.row(pool[i])) { found &+= 1 }
        var worst = UInt32.max
        var current = 0
        while current < size {
            let candidate = pool[current]
            pool[current] = candidate | Candidate.expanded
            let count = vk_gather(self.links(Candidate.row(candidate), level: 0), self.m0, visited, ids)
            var next = current &+ 1
            while next < size, Candidate.isExpanded(pool[next]) { next &+= 1 }
            if next < size { self.prefetchLinks(Candidate.row(pool[next]), level: 0) }
            self.measure(self.rows, memory.query, ids, count, keys)
            counts.distances &+= count
            counts.hops &+= 1
            var i = 0
            while i < count {
                if keys[i] < worst {
                    if size == capacity, isSet(eligible, Candidate.row(pool[size &- 1])) { found &-= 1 }
                    let at = self.poolInsert(pool, size, capacity, Candidate.pack(key: keys[i], row: ids[i]))
                    if size < capacity { size &+= 1 }
                    if isSet(eligible, ids[i]) { found &+= 1 }
                    // Everything behind the ef-th eligible entry is of no more use.
                    while found > ef || (found == ef && !isSet(eligible, Candidate.row(pool[size &- 1]))) {
                        size &-= 1
                        if isSet(eligible, Candidate.row(pool[size])) { found &-= 1 }
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
    /// - Parameter reach: Rows measured per hop at most, above `m0`.
    /// - Returns: Entries in `memory.pool`, nearest first; the entry point among them may not be eligible.
    @inline(__always) func nearestWithin(
        ef: Int, reach: Int, entries: Int, eligible: UnsafePointer<UInt64>,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, interrupted: () -> Bool
    ) -> Int {
        let pool = memory.pool
        let ids = memory.ids
        let keys = memory.keys
        let perCheck = self.distancesPerCheck
        var untilCheck = perCheck
        self.startOver(entries, memory)
        var size = entries
        var current = 0
        while current < size {
            let candidate = pool[current]
            pool[current] = candidate | Candidate.expanded
            let count = self.gatherEligible(around: Candidate.row(candidate), reach: reach, eligible: eligible, memory)
            self.measure(self.rows, memory.query, ids, count, keys)
            counts.distances &+= count
            counts.hops &+= 1
            var worst = size == ef ? Candidate.key(pool[ef &- 1]) : UInt32.max
            var next = current &+ 1
            var i = 0
            while i < count {
                if keys[i] < worst {
                    let at = self.poolInsert(pool, size, ef, Candidate.pack(key: keys[i], row: ids[i]))
                    if size < ef { size &+= 1 }
                    if size == ef { worst = Candidate.key(pool[ef &- 1]) }
                    if at < next { next = at }
                }
                i &+= 1
            }
            current = next
            while current < size, Candidate.isExpanded(pool[current]) { current &+= 1 }
            untilCheck &-= max(count, self.m0)
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

    /// Unvisited eligible rows one hop from `row`, and two hops by way of rows that are not eligible, into `memory.ids`.
    @inline(__always) private func gatherEligible(
        around row: UInt32, reach: Int, eligible: UnsafePointer<UInt64>, _ memory: SearchScratch.Memory
    ) -> Int {
        let ids = memory.ids
        let visited = memory.visited
        let ways = memory.keptRows  // rows to look behind
        let direct = vk_gather(self.links(row, level: 0), self.m0, visited, ids)
        var count = 0
        var wayCount = 0
        var i = 0
        while i < direct {
            let id = ids[i]
            if isSet(eligible, id) {
                ids[count] = id
                count &+= 1
            } else {
                ways[wayCount] = id
                wayCount &+= 1
                self.prefetchLinks(id, level: 0)
            }
            i &+= 1
        }
        i = 0
        while i < wayCount, count < reach {
            let links = self.links(ways[i], level: 0)
            var j = 0
            while j < self.m0, count < reach {
                let id = vk_load_acquire(links + j)
                if id == VK_NO_ROW { break }
                let word = Int(id &>> 6)
                let bit: UInt64 = 1 &<< UInt64(id & 63)
                if eligible[word] & ~visited[word] & bit != 0 {
                    visited[word] |= bit
                    ids[count] = id
                    count &+= 1
                }
                j &+= 1
            }
            i &+= 1
        }
        return count
    }
}
