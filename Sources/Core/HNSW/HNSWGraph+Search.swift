internal import Primitives
internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// Offers the nearest linked rows to `top`, which may already hold rows of other segments.
    ///
    /// If `k` linked rows may be returned, `k` are considered: a walk that found fewer is followed by a scan. Rows whose
    /// insertion is still going on may be missed; ``linkedPrefix``, read before, tells which cannot be.
    /// - Parameter interrupted: Asked each ``distancesPerCheck(dimension:)`` distances, a fraction of a millisecond; true ends
    ///   the search with what it has.
    @discardableResult
    package func search(
        _ request: GraphSearch, scratch: SearchScratch, into top: TopK, interrupted: () -> Bool = { false }
    ) -> SearchStats {
        precondition(request.k > 0 && request.ef >= 0, "k \(request.k), ef \(request.ef)")
        var stats = SearchStats()
        guard let entry = EntryPoint(word: self.entry.load(ordering: .acquiring)) else { return stats }
        let k = min(request.k, self.capacity)
        let wanted = max(request.ef == 0 ? Self.defaultEf(k: k) : request.ef, k)
        // Within a filter a walk has fewer ways to a row: some more candidates, so that recall is that of one without.
        let within = request.allowed == nil || request.strategy != .automatic ? 0 : max(2, wanted / 4)
        let least = min(wanted + self.slack(k: k), self.capacity)
        let ef = min(least + within, self.capacity)
        var memory = scratch.prepare(
            capacity: self.capacity, candidates: Self.poolCapacity(ef: ef), m: self.m, book: self.book)
        self.book.aim(memory.query, at: request.query, codes: memory.queryCodes)
        let eligible: Int?
        if let allowed = request.allowed, let count = request.allowedCount, self.isSealed {
            memory.eligible = UnsafeMutablePointer(mutating: allowed)  // never written
            eligible = count == self.capacity ? nil : count
        } else {
            eligible = self.eligible(request, memory)
        }
        let possible = eligible ?? self.linked
        guard possible > 0 else { return stats }
        stats.strategy = request.strategy
        if request.strategy == .automatic { stats.strategy = .plainWalk }
        var counts = WalkCounts()
        var entries = 0
        var start = entry
        var costs: WalkCosts?
        if eligible != nil, request.strategy == .automatic {
            let known = WalkCosts(self, eligible: possible, k: k, ef: ef, leastEf: least)
            stats.strategy = known.mayWalk ? self.firstPlan(from: &start, known, memory, &counts) : .scan
            costs = known
        }
        if stats.strategy == .plainWalk || stats.strategy == .filteredWalk {
            entries = self.entries(from: start, ef: ef, memory, &counts)
            if let costs { stats.strategy = self.plan(costs, entries: entries, memory) }
        }
        if stats.strategy == .plainWalk || stats.strategy == .filteredWalk {
            stats.ef = stats.strategy == .plainWalk ? ef : least
            let size = self.walk(
                stats.strategy, entries: entries, ef: stats.ef, eligible: eligible, memory, &counts,
                interrupted: interrupted)
            let isFiltered = eligible != nil || request.rowLimit < self.rowBound.load(ordering: .acquiring)
            let found =
                isFiltered ? self.keepEligible(size, filtered: eligible != nil, below: request.rowLimit, memory) : size
            if found >= min(k, possible) || counts.interrupted {
                self.offer(
                    isFiltered ? memory.kept : memory.pool, found, k: k, request, memory, top, &counts, interrupted)
            } else {
                stats.strategy = .scan
            }
        }
        if stats.strategy == .scan || stats.strategy == .exact {
            let shortlist = stats.strategy == .exact || self.kind == .none ? 0 : 2 * k + 16
            self.scan(
                request, k: k, possible: possible, filtered: eligible != nil, shortlist: shortlist, memory, top,
                &counts, interrupted)
        }
        stats.hops = counts.hops
        stats.distances = counts.distances
        stats.interrupted = counts.interrupted
        return stats
    }

    /// Distances after which a search asks whether to go on.
    package static func distancesPerCheck(dimension: Int) -> Int { max(1, min(4096, (512 << 10) / (4 * dimension))) }

    /// Candidates kept beyond those asked for, so that codes confusing near equals cost little recall at equal `ef`: how much
    /// is measured when a graph is sealed (`SealReport/trials`).
    func slack(k: Int) -> Int {
        switch self.kind {
        case .none: 0
        case .int8: 1
        case .int4: max(2, k / 8)
        }
    }

    /// What the array of candidates may grow to when others stand between eligible ones.
    static func poolCapacity(ef: Int) -> Int { 8 * ef + 1024 }

    /// Whether to look closer: not where a scan is the cheapest unless eligible rows gather around the query, and nothing
    /// says that they do.
    ///
    /// The nearest point of level 1 tells, for a few hops among points that the cache has.
    /// - Parameter start: Where walks begin; moved down.
    private func firstPlan(
        from start: inout EntryPoint, _ costs: WalkCosts, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts
    ) -> GraphSearch.Strategy {
        let level = min(start.level, 1)
        self.view.descend(from: start, to: level, memory, &counts)
        start = EntryPoint(row: Candidate.row(memory.pool[0]), level: level)
        let (hits, links) = self.view.sampledAround(
            entries: 1, links: 0, share: costs.share, eligible: memory.eligible, memory)
        // Fewer than four may be chance.
        let gather = hits >= min(4, links) && Double(hits) > 3 * costs.share * Double(links)
        return gather ? .plainWalk : costs.cheapest(around: costs.share)
    }

    /// The cheapest way to eligible rows, from what lies around the entries to level 0: many of them there, and the walk finds
    /// them as if there were no filter; none, and it would look in the wrong place.
    private func plan(_ costs: WalkCosts, entries: Int, _ memory: SearchScratch.Memory) -> GraphSearch.Strategy {
        let (hits, links) = self.view.sampledAround(
            entries: entries, links: min(Self.mostSampled, Int(12 / costs.share)), share: costs.share,
            eligible: memory.eligible, memory)
        // Hardly any around the query: those to be found are elsewhere. Of twelve by chance one is left one time in hundreds, for
        // neighbours have many links in common; the larger the share, the surer are few of them. Where most are eligible a walk
        // finds them all the same.
        if costs.share < 0.5, Double(hits) < (0.1 + 0.4 * costs.share) * costs.share * Double(links) { return .scan }
        // A few more or fewer than anywhere are chance.
        let around = (Double(hits) + 1) / (Double(links) + 1 / costs.share)
        // Where they gather the walk goes to where there are more still.
        return costs.cheapest(around: around > 3 * costs.share ? (1 + around) / 2 : around)
    }

    private static let mostSampled = 300

    /// Puts filter, deletes and row limit into one bitmap. Returns how many rows are eligible; nil when all are.
    private func eligible(_ request: GraphSearch, _ memory: SearchScratch.Memory) -> Int? {
        let bound = self.rowBound.load(ordering: .acquiring)
        if request.allowed == nil, request.deleted == nil, request.rowLimit >= bound { return nil }
        // Rows linked while we walk lie beyond the bound we saw; the walk may meet them, so their bits must be clear.
        let allWords = (self.capacity + 63) / 64
        let limit = Int(min(request.rowLimit, bound))
        let words = (limit + 63) / 64
        var count = vk_kernels_best().pointee.restrict_rows(memory.eligible, request.allowed, request.deleted, words)
        if limit % 64 != 0 {
            let last = memory.eligible + limit / 64
            count -= last.pointee.nonzeroBitCount
            last.pointee &= 1 &<< UInt64(limit % 64) &- 1
            count += last.pointee.nonzeroBitCount
        }
        if count == bound { return nil }
        (memory.eligible + words).update(repeating: 0, count: allWords - words)
        return count
    }

    func walk(
        _ strategy: GraphSearch.Strategy, entries: Int, ef: Int, eligible: Int?, _ memory: SearchScratch.Memory,
        _ counts: inout WalkCounts, interrupted: () -> Bool
    ) -> Int {
        guard let eligible else {
            return self.view.nearest(
                level: 0, ef: ef, entries: entries, memory, &counts, interrupted: interrupted)
        }
        return strategy == .filteredWalk
            ? self.walkWithin(entries: entries, ef: ef, eligible: eligible, memory, &counts, interrupted)
            : self.walkAmongAll(entries: entries, ef: ef, memory, &counts, interrupted)
    }

    // Functions of their own: each walk has its registers to itself.

    @inline(never) private func walkWithin(
        entries: Int, ef: Int, eligible: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts,
        _ interrupted: () -> Bool
    ) -> Int {
        let share = Double(eligible) / Double(max(1, self.linked))
        return self.view.nearestWithin(
            ef: ef, isProduct: self.rows.metric == .dot,
            reach: IntrinsicDimension.reach(self.intrinsicDimension, share: share), entries: entries,
            eligible: memory.eligible, memory, &counts, interrupted: interrupted)
    }

    @inline(never) private func walkAmongAll(
        entries: Int, ef: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) -> Int {
        self.view.nearestAmongAll(
            ef: ef, capacity: Self.poolCapacity(ef: ef), entries: entries, eligible: memory.eligible, memory, &counts,
            interrupted: interrupted
        ).size
    }

    /// Where the walk on level 0 starts: the nearest few of level 1, in `memory.pool`. One alone can be in the wrong cluster,
    /// and a tight cluster fills the candidates before the walk sees the next one.
    func entries(
        from top: EntryPoint, ef: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts
    ) -> Int {
        // Costs some 6 % of an ordinary walk's distances; where clusters are tight and far apart, half of the misses go.
        let wanted = top.level == 0 ? 1 : min(ef / 8, 16)
        self.view.descend(from: top, to: wanted > 1 ? 1 : 0, memory, &counts)
        guard wanted > 1 else { return 1 }
        return self.view.nearest(level: 1, ef: wanted, entries: 1, memory, &counts, interrupted: { false })
    }

    /// Copies the eligible candidates from `memory.pool` to `memory.kept`. Returns how many.
    func keepEligible(
        _ size: Int, filtered: Bool, below rowLimit: UInt32, _ memory: SearchScratch.Memory
    ) -> Int {
        var count = 0
        var i = 0
        while i < size {
            let row = self.row(of: Candidate.row(memory.pool[i]))
            // A row linked since the bitmap was made can lie beyond the limit.
            if row < rowLimit, !filtered || isSet(memory.eligible, row) {
                memory.kept[count] = memory.pool[i]
                count &+= 1
            }
            i &+= 1
        }
        return count
    }

    /// Offers the nearest `k` of `count` candidates, nearest first as the walk measured them.
    func offer(
        _ candidates: UnsafeMutablePointer<UInt64>, _ count: Int, k: Int, _ request: GraphSearch,
        _ memory: SearchScratch.Memory, _ top: TopK, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        let isCoded = self.kind != .none
        let size =
            isCoded
            ? self.remeasure(candidates, count, k: k, request.query, memory, &counts, interrupted).size : min(k, count)
        self.offer(isCoded ? memory.best : candidates, size, request, top)
    }

    func offer(_ entries: UnsafeMutablePointer<UInt64>, _ count: Int, _ request: GraphSearch, _ top: TopK) {
        for i in 0..<count where Candidate.key(entries[i]) <= top.boundKey {
            top.offer(
                key: Candidate.key(entries[i]), row: self.row(of: Candidate.row(entries[i])), segment: request.segment)
        }
    }

    /// What candidates are measured again on; aims `memory.again` at the vector.
    func floatMeasure(_ vector: UnsafePointer<Float>, _ memory: SearchScratch.Memory) -> Measure {
        memory.again.pointee.floats = vector
        guard let halves = self.halves else { return self.measureFloats }
        halves.aim(memory.again, at: vector, floats: memory.queryFloats)
        return halves.measure
    }

    /// Measures candidates on their floats, in the order their codes gave, until those left are unlikely to be among the
    /// best `k`: how far codes are off is learned from the candidates measured so far.
    ///
    /// - Returns: Entries in `memory.best`, at most `k`, and whether candidates were left that need not be measured.
    func remeasure(
        _ candidates: UnsafeMutablePointer<UInt64>, _ count: Int, k: Int, _ vector: UnsafePointer<Float>,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) -> (size: Int, isSettled: Bool) {
        let measure = self.floatMeasure(vector, memory)
        let keys = memory.keys
        let ids = memory.ids
        let best = memory.best
        var done = 0
        var size = 0
        var errors: Float = 0
        var squares: Float = 0
        let first = min(k + 6, SearchScratch.batch, max(8, self.view.distancesPerCheck))
        var untilCheck = self.view.distancesPerCheck
        while done < count {
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
            if size == k, done > k {
                let mean = errors / Float(done)
                let deviation = max(0, squares / Float(done) - mean * mean).squareRoot()
                let hope = vk_distance(Candidate.key(candidates[done])) + mean - 3 * deviation
                if hope > vk_distance(Candidate.key(best[k - 1])) { return (size, true) }
            }
            let some = min(done == 0 ? first : 8, count - done)
            var i = 0
            while i < some {
                ids[i] = Candidate.row(candidates[done &+ i])
                i &+= 1
            }
            measure(self.view.rows, memory.again, ids, some, keys)
            i = 0
            while i < some {
                let error = vk_distance(keys[i]) - vk_distance(Candidate.key(candidates[done &+ i]))
                errors += error
                squares += error * error
                i &+= 1
            }
            var lowest = 0
            size = self.view.poolOffer(best, size, k, keys, ids, some, &lowest)
            done &+= some
            untilCheck &-= some
        }
        return (size, false)
    }
}
