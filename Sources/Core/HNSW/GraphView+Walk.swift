internal import VectorKernels

/// How much a walk did. Kept in locals while it runs.
struct WalkCounts {
    var hops = 0
    var distances = 0
    var interrupted = false
}

extension GraphView {
    /// Distances between two questions to `interrupted`: half a megabyte of floats, or as many links looked at without one
    /// as take a fraction of a millisecond.
    @inline(__always) var distancesPerCheck: Int {
        HNSWGraph.distancesPerCheck(dimension: Int(self.rows.pointee.dimension))
    }

    /// Begins a walk that has met the entries in `memory.pool` alone, and followed no links of theirs. Returns its number.
    @inline(__always) func begin(_ entries: Int, _ memory: SearchScratch.Memory) -> UInt8 {
        var walk = memory.walk.pointee &+ 1
        if walk == 0 {
            // Bytes of 255 walks ago are told from those of this one no longer.
            memory.visited.update(repeating: 0, count: memory.visitedBytes)
            walk = 1
        }
        memory.walk.pointee = walk
        var i = 0
        while i < entries {
            memory.pool[i] &= ~Candidate.expanded
            memory.visited[Int(Candidate.row(memory.pool[i]))] = walk
            i &+= 1
        }
        return walk
    }

    /// From the top down to the level above `level`: one move a level, and on level 1 as long as a neighbour is nearer: what
    /// a level leaves undone the next one does with more points. Leaves the nearest in `memory.pool[0]`.
    @inline(__always) func descend(
        from entry: EntryPoint, to level: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts
    ) {
        let ids = memory.ids
        let keys = memory.keys
        var nearest = entry.row
        ids[0] = nearest
        self.measure(self.rows, memory.query, ids, 1, keys)
        var best = keys[0]
        var l = entry.level
        while l > level {
            let before = nearest
            let links = self.links(nearest, level: l)
            var count = 0
            while count < self.m {
                let row = vk_load_acquire(links + count)
                if row == VK_NO_ROW { break }
                ids[count] = row
                count &+= 1
            }
            // Whichever neighbour is nearest, its list is on its way when it turns out.
            vk_prefetch_rows(self.rows, ids, count)
            var j = 0
            while j < count {
                vk_prefetch(self.links(ids[j], level: l))
                j &+= 1
            }
            self.measure(self.rows, memory.query, ids, count, keys)
            var i = 0
            while i < count {
                if keys[i] < best {
                    best = keys[i]
                    nearest = ids[i]
                }
                i &+= 1
            }
            counts.distances &+= count
            counts.hops &+= 1
            if nearest == before || l > 1 { l &-= 1 }
        }
        memory.pool[0] = Candidate.pack(key: best, row: nearest)
    }

    /// SEARCH-LAYER, algorithm 2 of Malkov and Yashunin: the `ef` nearest to the query, found by following links.
    ///
    /// Candidates and results are one sorted array with a flag on those whose links were followed; the walk ends when all
    /// that are left have it. Three candidates are under way at a time: the links of the first are asked for, then those
    /// of the second looked through and their rows asked for, then the rows of the third measured. So a candidate is
    /// chosen without knowing what the two before it will bring: a few distances more, and no wait for memory.
    /// - Parameter entries: Where to start from: so many, at most `ef`, lie in `memory.pool`, nearest first.
    /// - Returns: Entries in `memory.pool`, nearest first, at most `ef`.
    @inline(__always) func nearest(
        level: Int, ef: Int, entries: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts,
        interrupted: () -> Bool
    ) -> Int {
        let pool = memory.pool
        let keys = memory.keys
        let visited = memory.visited
        let width = self.width(level: level)
        let perCheck = self.distancesPerCheck
        var untilCheck = perCheck
        let walk = self.begin(entries, memory)
        var ids = memory.ids
        var ahead = memory.ahead
        var count = 0
        var size = entries
        var next = 0
        var distances = 0
        var hops = 0
        var chosen = UInt32.max  // its links were asked for
        while true {
            var aheadCount = 0
            if chosen != .max {
                aheadCount = vk_gather(self.links(chosen, level: level), width, visited, walk, ahead)
                hops &+= 1
                chosen = .max
            }
            while next < size, Candidate.isExpanded(pool[next]) { next &+= 1 }
            if next < size {
                let candidate = pool[next]
                pool[next] = candidate | Candidate.expanded
                chosen = Candidate.row(candidate)
                next &+= 1
                self.prefetchLinks(chosen, level: level)
            } else if count == 0, aheadCount == 0 {
                break
            }
            // Behind the links: those few lines are wanted first.
            vk_prefetch_rows(self.rows, ahead, aheadCount)
            self.measure(self.rows, memory.query, ids, count, keys)
            distances &+= count
            size = self.poolOffer(pool, size, ef, keys, ids, count, &next)
            untilCheck &-= count
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
        counts.distances &+= distances
        counts.hops &+= hops
        return size
    }

    @inline(__always) func prefetchLinks(_ row: UInt32, level: Int) {
        let links = self.links(row, level: level)
        vk_prefetch(links)
        vk_prefetch(links + 16)
    }
}
