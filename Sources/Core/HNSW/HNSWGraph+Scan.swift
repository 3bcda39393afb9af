internal import Synchronization
internal import VectorKernels

/// Scans of every row that may be returned, on codes or floats; on sketches first where there are many.
extension HNSWGraph {
    /// Measures every linked row that may be returned, or whatever row its sketch leaves a chance to be among the best `k`.
    ///
    /// - Parameters:
    ///   - possible: Rows that may be returned.
    ///   - shortlist: Rows chosen by codes to be measured on floats; 0 to measure all on floats.
    func scan(
        _ request: GraphSearch, k: Int, possible: Int, filtered: Bool, shortlist: Int, _ memory: SearchScratch.Memory,
        _ top: TopK, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        if shortlist > 0, self.paysToSketch(rows: possible, k: k),
            self.scan(
                request, k: k, filtered: filtered, shortlist: shortlist, isSketched: true, memory, top, &counts,
                interrupted)
        {
            return
        }
        _ = self.scan(
            request, k: k, filtered: filtered, shortlist: shortlist, isSketched: false, memory, top, &counts,
            interrupted)
    }

    /// False, with nothing offered, where sketches were of no use.
    private func scan(
        _ request: GraphSearch, k: Int, filtered: Bool, shortlist: Int, isSketched: Bool,
        _ memory: SearchScratch.Memory,
        _ top: TopK, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) -> Bool {
        var feed = ScanFeed(self, request, filtered: filtered, isSketched: isSketched, memory)
        let ids = memory.ids
        let pool = memory.pool
        // What a row must beat, by its codes: no sooner than codes can be trusted with it.
        let rank = min(k + 6, shortlist)
        var limit = UInt32.max
        if isSketched { limit = feed.learn(self, request.query, rank: rank, memory, &counts) }
        var size = 0
        var measured = 0
        var untilCheck = self.view.distancesPerCheck
        let measure = shortlist == 0 ? self.measureFloats : self.view.measure
        while let count = feed.next(self, below: limit, memory) {
            if feed.isInVain { return false }
            // Keys by codes are kept as long as there is room: they may be wanted once more.
            let areKept = !isSketched && measured &+ count <= memory.scannedLimit
            let keys = areKept ? memory.scanned + measured : memory.keys
            counts.distances &+= count
            measured &+= count
            measure(self.view.rows, memory.query, ids, count, keys)
            if shortlist == 0 {
                var bound = top.boundKey
                var i = 0
                while i < count {
                    if keys[i] <= bound {
                        top.offer(key: keys[i], row: self.row(of: ids[i]), segment: request.segment)
                        bound = top.boundKey
                    }
                    i &+= 1
                }
            } else {
                // Ties go to the smaller node, so that what is in the list can be told from what is not.
                var lowest = 0
                size = self.view.poolOffer(pool, size, shortlist, keys, ids, count, &lowest)
            }
            if isSketched, size >= rank { limit = min(limit, Candidate.key(pool[rank &- 1])) }
            untilCheck &-= feed.lookedAt &+ max(count, 1)
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
        }
        guard shortlist > 0 else { return true }
        // A limit that was learned from a few may have been too low: `k` are found if `k` may be returned.
        if isSketched, size < k, !counts.interrupted { return false }
        let (found, isSettled) = self.remeasure(memory.pool, size, k: k, request.query, memory, &counts, interrupted)
        if !isSettled, size == shortlist, found == k, !counts.interrupted {
            feed.rewind()
            self.scanAgain(
                request, k: k, beyond: size, feed: &feed, isSketched: isSketched,
                areKept: !isSketched && measured <= memory.scannedLimit, memory, &counts, interrupted)
        }
        self.offer(memory.best, found, request, top)
        return true
    }

    /// Rows measured on floats to learn how far codes are off.
    private static let probes = 32

    /// Where rows are too near one another for their codes to choose a few: measures on floats whatever row its codes leave a
    /// chance to be among the best `k`, which lie in `memory.best`. How far codes are off is learned from some rows taken as
    /// they come: those that the codes chose have errors in their favour.
    ///
    /// - Parameters:
    ///   - size: Entries of `memory.pool`, which are measured on floats already.
    ///   - feed: The rows once more.
    ///   - areKept: The keys by codes lie in `memory.scanned`.
    private func scanAgain(
        _ request: GraphSearch, k: Int, beyond size: Int, feed: inout ScanFeed, isSketched: Bool, areKept: Bool,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        let (ids, chosen, best) = (memory.ids, memory.ahead, memory.best)
        let measure = self.floatMeasure(request.query, memory)
        var seen = 0
        var untilCheck = self.view.distancesPerCheck
        var margin: Float?
        var limit = UInt32.max
        // Of all rows it would be those beyond the last; by sketches some that are nearer were passed over.
        let last = memory.pool[size &- 1]
        while let count = feed.next(self, below: limit, memory) {
            let keys = areKept ? memory.scanned + seen : memory.keys
            seen &+= count
            if !areKept { self.view.measure(self.view.rows, memory.query, ids, count, keys) }
            if margin == nil, count > 0 { margin = self.margin(ids, keys, count, measure, memory) }
            if let margin { limit = vk_key(vk_distance(Candidate.key(best[k &- 1])) + margin) }
            var some = 0
            var i = 0
            while i < count {
                chosen[some] = ids[i]
                let entry = Candidate.pack(key: keys[i], row: ids[i])
                let isNew = entry > last || isSketched && !Self.holds(memory.pool, size, entry)
                some &+= keys[i] <= limit && isNew ? 1 : 0
                i &+= 1
            }
            measure(self.view.rows, memory.again, chosen, some, memory.keys)
            i = 0
            while i < some {
                let entry = Candidate.pack(key: memory.keys[i], row: chosen[i])
                if entry < best[k &- 1] { _ = self.view.poolInsert(best, k, k, entry) }
                i &+= 1
            }
            counts.distances &+= some &+ (areKept ? 0 : count)
            untilCheck &-= max(some &+ (count &+ feed.lookedAt) / 8, 1)
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    return
                }
            }
        }
    }

    /// By how much a row's codes make it seem farther than it is, all but once in hundreds of times.
    private func margin(
        _ ids: UnsafePointer<UInt32>, _ keys: UnsafePointer<UInt32>, _ count: Int, _ measure: Measure,
        _ memory: SearchScratch.Memory
    ) -> Float {
        let some = min(Self.probes, count)
        let probed = memory.ahead
        let exact = memory.ahead + Self.probes
        for i in 0..<some { probed[i] = ids[i * count / some] }
        measure(self.view.rows, memory.again, probed, some, exact)
        var errors: Float = 0
        var squares: Float = 0
        for i in 0..<some {
            let error = vk_distance(exact[i]) - vk_distance(keys[i * count / some])
            errors += error
            squares += error * error
        }
        let mean = errors / Float(some)
        return 3 * max(0, squares / Float(some) - mean * mean).squareRoot() - mean
    }

    /// Whether an ascending list has an entry.
    private static func holds(_ list: UnsafePointer<UInt64>, _ size: Int, _ entry: UInt64) -> Bool {
        var low = 0
        var high = size
        while low < high {
            let middle = (low + high) / 2
            if list[middle] < entry { low = middle + 1 } else { high = middle }
        }
        return low < size && list[low] == entry
    }
}
