internal import Glibc
internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// Offers the nearest linked rows to `top`, which may already hold rows of other segments.
    ///
    /// If `k` linked rows may be returned, `k` are considered: a walk that found fewer is followed by a scan. Rows whose
    /// insertion is still going on may be missed; ``linkedPrefix``, read before, tells which cannot be.
    /// - Parameter interrupted: Asked every fraction of a millisecond; true ends the search with what it has.
    @discardableResult
    package func search(
        _ request: GraphSearch, scratch: SearchScratch, into top: TopK, interrupted: () -> Bool = { false }
    ) -> SearchStats {
        precondition(request.k > 0 && request.ef >= 0, "k \(request.k), ef \(request.ef)")
        var stats = SearchStats()
        guard let entry = EntryPoint(word: self.entry.load(ordering: .acquiring)) else { return stats }
        let k = min(request.k, self.capacity)
        let ef = min(max(request.ef == 0 ? Self.defaultEf(k: k) : request.ef, self.shortlist(k: k)), self.capacity)
        let memory = scratch.prepare(
            capacity: self.capacity, candidates: Self.poolCapacity(ef: ef), m: self.m,
            codeStride: Int(self.kernelRows.pointee.code_stride))
        self.aim(memory, at: request.query)
        let eligible = self.eligible(request, memory)
        let possible = eligible ?? self.linked
        guard possible > 0 else { return stats }
        stats.strategy = request.strategy
        if request.strategy == .automatic {
            stats.strategy = eligible.map { self.plan(eligible: $0, ef: ef) } ?? .plainWalk
        }
        var counts = WalkCounts()
        if stats.strategy == .plainWalk || stats.strategy == .filteredWalk {
            stats.ef = ef
            let size = self.walk(
                stats.strategy, from: entry, ef: ef, filtered: eligible != nil, memory, &counts, interrupted: interrupted)
            let found = self.keepEligible(
                size: size, filtered: eligible != nil, below: request.rowLimit, memory)
            if found >= min(k, possible) || counts.interrupted {
                self.offer(found, k: k, request, memory, top)
            } else {
                stats.strategy = .scan
            }
        }
        if stats.strategy == .scan || stats.strategy == .exact {
            let shortlist = stats.strategy == .exact || self.store == .float32 ? 0 : 2 * self.shortlist(k: k)
            self.scan(request, filtered: eligible != nil, shortlist: shortlist, memory, top, &counts, interrupted)
        }
        stats.hops = counts.hops
        stats.distances = counts.distances
        stats.interrupted = counts.interrupted
        return stats
    }

    /// Candidates wanted from a walk or scan over codes, so that confusing near equals costs no result; `k` on floats.
    private func shortlist(k: Int) -> Int { self.store == .int8 ? k + max(10, k / 4) : k }

    /// What the array of candidates may grow to when others stand between eligible ones.
    private static func poolCapacity(ef: Int) -> Int { 8 * ef + 1024 }

    /// The cheapest way to `ef` eligible rows among `eligible` of all, in units of one row scanned.
    ///
    /// Fitted to 25,000 embeddings of 384 dimensions: a walk measures about `10 ef + 450` rows, each at the price of some
    /// scanned in order; one that must pass over others does so for `share^-0.75` times as long; one that looks two hops far
    /// pays for the lists it reads.
    private func plan(eligible: Int, ef: Int) -> GraphSearch.Strategy {
        let share = min(1, Double(eligible) / Double(max(1, self.linked)))
        let walk = Double(10 * ef + 450)
        let (perRow, perRowTwoHops) = self.store == .int8 ? (2.2, 5.0) : (1.2, 2.0)
        let scan = Double(eligible)
        let plain = perRow * walk * pow(share, -0.75)
        let filtered = share < Self.leastShare ? .infinity : perRowTwoHops * walk
        if scan <= min(plain, filtered) { return .scan }
        return plain <= filtered ? .plainWalk : .filteredWalk
    }

    /// Below this share of eligible rows two hops hold too few of them to walk on.
    private static let leastShare = 0.01

    private func aim(_ memory: SearchScratch.Memory, at query: UnsafePointer<Float>) {
        memory.query.pointee.floats = query
        guard self.store == .int8 else { return }
        vk_encode(
            query, UInt32(self.rows.dimension), memory.queryCodes, self.kernelRows.pointee.code_stride, memory.queryTerms)
        memory.query.pointee.codes = UnsafePointer(memory.queryCodes)
        memory.query.pointee.code_step = memory.queryTerms[0]
        memory.query.pointee.code_norm = memory.queryTerms[1]
    }

    func clearVisited(_ memory: SearchScratch.Memory) {
        memory.visited.update(repeating: 0, count: (Int(self.rowBound.load(ordering: .acquiring)) + 63) / 64)
    }

    /// Puts filter, deletes and row limit into one bitmap. Returns how many rows are eligible; nil when all are.
    private func eligible(_ request: GraphSearch, _ memory: SearchScratch.Memory) -> Int? {
        let bound = self.rowBound.load(ordering: .acquiring)
        if request.allowed == nil, request.deleted == nil, request.rowLimit >= bound { return nil }
        // Rows linked while we walk lie beyond the bound we saw; the walk may meet them, so their bits must be clear.
        let allWords = (self.capacity + 63) / 64
        let limit = Int(min(request.rowLimit, bound))
        let words = (limit + 63) / 64
        var count = 0
        for i in 0..<words {
            var word = request.allowed?[i] ?? ~0
            if let deleted = request.deleted { word &= ~deleted[i] }
            if i == limit / 64 { word &= 1 &<< UInt64(limit % 64) &- 1 }
            memory.eligible[i] = word
            count &+= word.nonzeroBitCount
        }
        if count == bound { return nil }
        (memory.eligible + words).update(repeating: 0, count: allWords - words)
        return count
    }

    /// Eligible rows a filtered walk measures a hop: about as many as the list of an unfiltered one.
    private static let filteredReach = 32

    private func walk(
        _ strategy: GraphSearch.Strategy, from top: EntryPoint, ef: Int, filtered: Bool, _ memory: SearchScratch.Memory,
        _ counts: inout WalkCounts, interrupted: () -> Bool
    ) -> Int {
        let view = self.view
        let entries = self.entries(from: top, ef: ef, memory, &counts)
        self.clearVisited(memory)
        if !filtered {
            return view.nearest(
                level: 0, ef: ef, entries: entries, memory, &counts, interrupted: interrupted)
        }
        if strategy == .filteredWalk {
            return view.nearestWithin(
                ef: ef, reach: Self.filteredReach, entries: entries, eligible: memory.eligible, memory,
                &counts, interrupted: interrupted)
        }
        return view.nearestAmongAll(
            ef: ef, capacity: Self.poolCapacity(ef: ef), entries: entries, eligible: memory.eligible, memory,
            &counts, interrupted: interrupted
        ).size
    }

    /// Where the walk on level 0 starts: the nearest few of level 1, in `memory.pool`. One alone can be in the wrong cluster,
    /// and a tight cluster fills the candidates before the walk sees the next one.
    private func entries(
        from top: EntryPoint, ef: Int, _ memory: SearchScratch.Memory, _ counts: inout WalkCounts
    ) -> Int {
        // Costs some 6 % of an ordinary walk's distances; where clusters are tight and far apart, half of the misses go.
        let wanted = top.level == 0 ? 1 : min(ef / 8, 16)
        self.view.descend(from: top, to: wanted > 1 ? 1 : 0, memory, &counts)
        guard wanted > 1 else { return 1 }
        self.clearVisited(memory)
        return self.view.nearest(level: 1, ef: wanted, entries: 1, memory, &counts, interrupted: { false })
    }

    /// Copies the eligible candidates to `memory.kept`, their rows to `memory.keptRows`. Returns how many.
    private func keepEligible(
        size: Int, filtered: Bool, below rowLimit: UInt32, _ memory: SearchScratch.Memory
    ) -> Int {
        var count = 0
        var i = 0
        while i < size {
            let row = Candidate.row(memory.pool[i])
            // A row linked since the bitmap was made can lie beyond the limit.
            if row < rowLimit, !filtered || isSet(memory.eligible, row) {
                memory.keptRows[count] = row
                memory.kept[count] = memory.pool[i]
                count &+= 1
            }
            i &+= 1
        }
        return count
    }

    /// Offers the nearest `k` of the `count` candidates in `memory.kept`.
    private func offer(
        _ count: Int, k: Int, _ request: GraphSearch, _ memory: SearchScratch.Memory, _ top: TopK
    ) {
        let isCoded = self.store == .int8
        let size = isCoded ? self.remeasure(count, k: k, memory) : min(k, count)
        let entries = isCoded ? memory.best : memory.kept
        for i in 0..<size where Candidate.key(entries[i]) <= top.boundKey {
            top.offer(key: Candidate.key(entries[i]), row: Candidate.row(entries[i]), segment: request.segment)
        }
    }

    /// Measures candidates on their floats, in the order their codes gave, until those left are unlikely to be among the
    /// best `k`: how far codes are off is learned from the candidates measured so far.
    ///
    /// - Returns: Entries in `memory.best`, at most `k`.
    private func remeasure(_ count: Int, k: Int, _ memory: SearchScratch.Memory) -> Int {
        var done = 0
        var size = 0
        var errors: Float = 0
        var squares: Float = 0
        while done < count {
            if size == k, done > k {
                let mean = errors / Float(done)
                let deviation = max(0, squares / Float(done) - mean * mean).squareRoot()
                let hope = vk_distance(Candidate.key(memory.kept[done])) + mean - 2 * deviation
                if hope > vk_distance(Candidate.key(memory.best[k - 1])) { break }
            }
            let some = min(done == 0 ? min(k + 6, SearchScratch.batch) : 8, count - done)
            let rows = memory.keptRows + done
            self.measureFloats(self.view.rows, memory.query, rows, some, memory.keys)
            for i in 0..<some {
                let error = vk_distance(memory.keys[i]) - vk_distance(Candidate.key(memory.kept[done + i]))
                errors += error
                squares += error * error
                let entry = Candidate.pack(key: memory.keys[i], row: rows[i])
                if size < k || entry < memory.best[k - 1] {
                    _ = self.view.poolInsert(memory.best, size, k, entry)
                    size = min(size + 1, k)
                }
            }
            done += some
        }
        return size
    }

    /// Measures every linked row that may be returned.
    ///
    /// - Parameter shortlist: Rows chosen by codes to be measured on floats; 0 to measure all on floats.
    private func scan(
        _ request: GraphSearch, filtered: Bool, shortlist: Int, _ memory: SearchScratch.Memory, _ top: TopK,
        _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        let bound = self.rowBound.load(ordering: .acquiring)
        var rows = RowCursor(
            range: 0..<min(bound, request.rowLimit), allowed: filtered ? UnsafePointer(memory.eligible) : nil, deleted: nil)
        var size = 0
        // A batch no longer than the time between two questions to `interrupted`.
        let batch = min(SearchScratch.batch, self.view.distancesPerCheck)
        var untilCheck = self.view.distancesPerCheck
        while true {
            var count = rows.next(into: memory.ids, limit: batch)
            if count == 0 { break }
            count = self.keepLinked(memory.ids, count: count)
            counts.distances &+= count
            if shortlist == 0 {
                self.measureFloats(self.view.rows, memory.query, memory.ids, count, memory.keys)
                for i in 0..<count where memory.keys[i] <= top.boundKey {
                    top.offer(key: memory.keys[i], row: memory.ids[i], segment: request.segment)
                }
            } else {
                self.view.measure(self.view.rows, memory.query, memory.ids, count, memory.keys)
                for i in 0..<count
                where size < shortlist || memory.keys[i] < Candidate.key(memory.pool[size &- 1]) {
                    let entry = Candidate.pack(key: memory.keys[i], row: memory.ids[i])
                    _ = self.view.poolInsert(memory.pool, size, shortlist, entry)
                    size = min(size + 1, shortlist)
                }
            }
            untilCheck -= batch
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
        }
        if shortlist > 0 {
            let found = self.keepEligible(size: size, filtered: false, below: request.rowLimit, memory)
            self.offer(found, k: min(request.k, self.capacity), request, memory, top)
        }
    }

    private func keepLinked(_ ids: UnsafeMutablePointer<UInt32>, count: Int) -> Int {
        var kept = 0
        if let states = self.memory?.states {
            for i in 0..<count {
                ids[kept] = ids[i]
                kept &+= vk_load_byte(states + Int(ids[i])) & RowState.linked != 0 ? 1 : 0
            }
        } else {
            let levels = self.levels
            for i in 0..<count {
                ids[kept] = ids[i]
                kept &+= levels[Int(ids[i])] != GraphLayout.notLinked ? 1 : 0
            }
        }
        return kept
    }
}
