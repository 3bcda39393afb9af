internal import Synchronization
internal import VectorKernels

/// Scans of every row that may be returned, on codes or floats.
extension HNSWGraph {
    /// Measures every linked row that may be returned.
    ///
    /// - Parameter shortlist: Rows chosen by codes to be measured on floats; 0 to measure all on floats.
    func scan(
        _ request: GraphSearch, k: Int, filtered: Bool, shortlist: Int, _ memory: SearchScratch.Memory, _ top: TopK,
        _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        let end = self.scanEnd(request)
        let eligible = filtered ? UnsafePointer(memory.eligible) : nil
        let ids = memory.ids
        let pool = memory.pool
        var next = 0
        var size = 0
        var measured = 0
        // A batch no longer than the time between two questions to `interrupted`.
        let batch = min(SearchScratch.batch, self.view.distancesPerCheck)
        var untilCheck = self.view.distancesPerCheck
        let measure = shortlist == 0 ? self.measureFloats : self.view.measure
        while next < end {
            let count = self.nextNodes(eligible, &next, end, batch, ids)
            // Keys by codes are kept as long as there is room: they may be wanted once more.
            let keys = measured &+ count <= memory.scannedLimit ? memory.scanned + measured : memory.keys
            counts.distances &+= count
            measured &+= count
            measure(self.view.rows, memory.query, ids, count, keys)
            var bound = top.boundKey
            var worst = size == shortlist && size > 0 ? pool[size &- 1] : .max
            var i = 0
            while i < count {
                if shortlist == 0 {
                    if keys[i] <= bound {
                        top.offer(key: keys[i], row: self.row(of: ids[i]), segment: request.segment)
                        bound = top.boundKey
                    }
                } else {
                    // Ties go to the smaller node, so that what is in the list can be told from what is not.
                    let entry = Candidate.pack(key: keys[i], row: ids[i])
                    if entry < worst {
                        _ = self.view.poolInsert(pool, size, shortlist, entry)
                        size = min(size &+ 1, shortlist)
                        if size == shortlist { worst = pool[size &- 1] }
                    }
                }
                i &+= 1
            }
            untilCheck -= max(count, 1)
            if untilCheck < 0 {
                untilCheck = self.view.distancesPerCheck
                if interrupted() {
                    counts.interrupted = true
                    break
                }
            }
        }
        guard shortlist > 0 else { return }
        let (found, isSettled) = self.remeasure(memory.pool, size, k: k, request.query, memory, &counts, interrupted)
        if !isSettled, size == shortlist, found == k, !counts.interrupted {
            self.scanAgain(
                request, k: k, beyond: pool[size &- 1], areKept: measured <= memory.scannedLimit, filtered: filtered,
                memory, &counts, interrupted)
        }
        self.offer(memory.best, found, request, top)
    }

    /// Rows measured on floats to learn how far codes are off.
    private static let probes = 32

    /// Where rows are too near one another for their codes to choose a few: measures on floats whatever row its codes leave a
    /// chance to be among the best `k`, which lie in `memory.best`. How far codes are off is learned from some rows taken as
    /// they come: those that the codes chose have errors in their favour.
    ///
    /// - Parameters:
    ///   - last: The farthest entry by its codes that is measured on floats already.
    ///   - areKept: The keys by codes lie in `memory.scanned`.
    private func scanAgain(
        _ request: GraphSearch, k: Int, beyond last: UInt64, areKept: Bool, filtered: Bool,
        _ memory: SearchScratch.Memory, _ counts: inout WalkCounts, _ interrupted: () -> Bool
    ) {
        let end = self.scanEnd(request)
        let eligible = filtered ? UnsafePointer(memory.eligible) : nil
        let (ids, chosen, best) = (memory.ids, memory.ahead, memory.best)
        let batch = min(SearchScratch.batch, self.view.distancesPerCheck)
        let measure = self.floatMeasure(request.query, memory)
        var next = 0
        var seen = 0
        var untilCheck = self.view.distancesPerCheck
        var margin: Float?
        while next < end {
            let count = self.nextNodes(eligible, &next, end, batch, ids)
            if count == 0 { continue }
            let keys = areKept ? memory.scanned + seen : memory.keys
            seen &+= count
            if !areKept { self.view.measure(self.view.rows, memory.query, ids, count, keys) }
            if margin == nil { margin = self.margin(ids, keys, count, measure, memory) }
            let limit = vk_key(vk_distance(Candidate.key(best[k &- 1])) + (margin ?? 0))
            var some = 0
            var i = 0
            while i < count {
                chosen[some] = ids[i]
                some &+= keys[i] <= limit && Candidate.pack(key: keys[i], row: ids[i]) > last ? 1 : 0
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
            untilCheck &-= max(some &+ count / 8, 1)
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

    private func scanEnd(_ request: GraphSearch) -> Int {
        self.isSubset ? self.linked : Int(min(self.rowBound.load(ordering: .acquiring), request.rowLimit))
    }

    /// The next nodes to measure, from `next` on.
    @inline(__always) private func nextNodes(
        _ eligible: UnsafePointer<UInt64>?, _ next: inout Int, _ end: Int, _ batch: Int,
        _ ids: UnsafeMutablePointer<UInt32>
    ) -> Int {
        // A part of a graph goes through its nodes: they lie one after another.
        let count = vk_next_nodes(self.isSubset ? nil : eligible, self.nodeOf, &next, end, batch, ids)
        if let memory = self.memory { return self.keepLinked(ids, count: count, memory) }
        guard self.isSubset, let eligible else { return count }
        var kept = 0
        var i = 0
        while i < count {
            let node = ids[i]
            ids[kept] = node
            kept &+= self.view.isSet(eligible, node) ? 1 : 0
            i &+= 1
        }
        return kept
    }

    /// Leaves out rows that are not linked yet.
    private func keepLinked(_ ids: UnsafeMutablePointer<UInt32>, count: Int, _ memory: GraphMemory) -> Int {
        var kept = 0
        var i = 0
        while i < count {
            let row = ids[i]
            ids[kept] = row
            kept &+= vk_load_byte(memory.states + Int(row)) & RowState.linked != 0 ? 1 : 0
            i &+= 1
        }
        return kept
    }
}
