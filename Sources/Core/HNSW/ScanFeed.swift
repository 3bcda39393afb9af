internal import Synchronization
internal import VectorKernels

/// The nodes of a scan, a batch at a time: all that may be returned, or those that their sketches leave a chance.
///
/// How far sketches are off is learned from some rows spread over all, in proportion to a row's length; a row is let pass if it
/// can be as near as the limit, all but once in a hundred times.
struct ScanFeed {
    private let end: Int
    private let eligible: UnsafePointer<UInt64>?
    private let batch: Int
    /// Rows whose sketches are measured in one call: with as many as are enough, and a word's more, they fit where a batch does.
    private let sketchBatch: Int
    private let isSketched: Bool
    private var position = 0
    /// The first rows are gone through twice: those of the smallest sketches first, so that what the others must beat is known.
    /// Rows up to here are among them.
    private var openingEnd = 0
    private var isOpening = false
    private var openingRows = 0
    /// What the sketches of the smallest do not exceed.
    private var openingLimit: UInt32 = 0
    /// Rows whose sketches were measured.
    private var seen = 0
    /// So many pass that codes alone would be as quick: rows are too near one another for their signs to tell them apart, and
    /// likely for their codes too, whose keys will be wanted once more.
    private(set) var isInVain = false
    /// Rows whose sketches were measured before the last rewinding: their keys lie in `memory.scanned`, as many as fit.
    private var known = 0
    /// Rows looked at for the last batch that are not in it, by what they cost against those that are.
    private(set) var lookedAt = 0

    /// Rows whose sketches and codes are compared.
    static let probes = 64
    /// Of so few nothing is learned.
    private static let fewestProbes = 16
    /// Rows in this many places.
    private static let probePlaces = 8
    /// Deviations that a sketch is given.
    private static let deviations: Float = 2.5
    /// Nodes that make a batch worth measuring.
    private static let enough = 64
    /// Rows of the opening, of which three times as many as `rank` are to be measured first.
    static func opening(rank: Int) -> Int { max(768, 12 * rank) }
    /// So many rows of the opening may pass after it, as a share.
    private static let mostPassing = 0.55

    init(
        _ graph: HNSWGraph, _ request: GraphSearch, filtered: Bool, isSketched: Bool, _ memory: SearchScratch.Memory
    ) {
        self.end =
            graph.isSubset
            ? graph.linked : Int(min(graph.rowBound.load(ordering: .acquiring), request.rowLimit))
        self.eligible = filtered ? UnsafePointer(memory.eligible) : nil
        // A batch no longer than the time between two questions to `interrupted`, or not much.
        self.batch = min(SearchScratch.batch, graph.view.distancesPerCheck)
        self.sketchBatch = min(SearchScratch.batch - 64, 4 * self.batch)
        precondition(!isSketched || graph.kernelRows.pointee.sketches != nil, "a scan of sketches that are not there")
        self.isSketched = isSketched
    }

    /// Puts the next nodes into `memory.ids`: those whose sketches are not above `limit`. Returns how many, which may be none
    /// now and then; nil at the end.
    mutating func next(_ graph: HNSWGraph, below limit: UInt32, _ memory: SearchScratch.Memory) -> Int? {
        guard self.position < self.end else { return nil }
        self.lookedAt = 0
        if !self.isSketched {
            return graph.nextNodes(self.eligible, &self.position, self.end, self.batch, memory.ids)
        }
        let kernels = vk_kernels_best()!
        let ids = memory.ids
        if !self.isOpening, self.position == 0, self.openingEnd > 0 { self.judge(limit, memory) }
        if self.isInVain { return 0 }
        var pending = 0
        while pending < min(Self.enough, self.batch), self.position < self.end, self.lookedAt < self.batch {
            let count = kernels.pointee.next_rows(
                self.eligible, &self.position, self.end, self.sketchBatch, memory.ahead)
            let isKept = self.seen &+ count <= memory.scannedLimit
            let keys = isKept ? memory.scanned + self.seen : memory.keys
            if !isKept || self.seen >= self.known {
                kernels.pointee.sketch_rows(graph.view.rows, memory.sketched, memory.ahead, count, keys)
                self.lookedAt &+= count / 4
            }
            let least = self.isOpening || self.position > self.openingEnd ? 0 : self.openingLimit &+ 1
            let most = self.isOpening ? self.openingLimit : limit
            let some =
                least <= most ? kernels.pointee.keep_between(keys, memory.ahead, count, least, most, ids + pending) : 0
            self.seen &+= count
            pending &+= some
            if self.isOpening, self.seen >= self.openingRows || self.position >= self.end {
                self.openingEnd = self.position
                self.isOpening = false
                self.again()
                break
            }
        }
        return self.toNodes(graph, ids, pending)
    }

    /// Looks how many rows of the opening will pass.
    private mutating func judge(_ limit: UInt32, _ memory: SearchScratch.Memory) {
        guard limit > self.openingLimit else { return }
        var passing = 0
        var i = 0
        while i < self.known {
            let count = min(SearchScratch.batch, self.known &- i)
            passing &+= vk_kernels_best().pointee.keep_between(
                memory.scanned + i, memory.scanned + i, count, self.openingLimit &+ 1, limit, memory.ahead)
            i &+= count
        }
        self.isInVain = Double(passing) > Self.mostPassing * Double(self.known)
    }

    private mutating func again() {
        self.known = self.seen
        self.position = 0
        self.seen = 0
    }

    /// Begins again, all rows alike. Keys of sketches are not measured again where they were kept.
    mutating func rewind() {
        self.again()
        self.openingEnd = 0
    }

    /// Aims at the query, and learns from some rows how far sketches are off.
    ///
    /// - Returns: The limit that a row's sketch must not exceed to be among the `rank` nearest by codes.
    mutating func learn(
        _ graph: HNSWGraph, _ query: UnsafePointer<Float>, rank: Int, _ memory: SearchScratch.Memory,
        _ counts: inout WalkCounts
    ) -> UInt32 {
        graph.book.aimSketch(memory.sketched, at: query, planes: memory.sketchPlanes)
        let kernels = vk_kernels_best()!
        let (rows, nodes, some) = (memory.ahead, memory.ids, memory.keptRows)
        var count = 0
        let words = self.eligibleWords()
        let perPlace = Self.probes / Self.probePlaces
        for place in 0..<Self.probePlaces {
            // Forwards alone: no row may be met twice.
            self.position = max(self.position, 64 * (words.lowerBound + words.count * place / Self.probePlaces))
            guard self.position < self.end else { break }
            let here = kernels.pointee.next_rows(self.eligible, &self.position, self.end, perPlace, some)
            let wanted = min(here, perPlace)
            for i in 0..<wanted {
                let row = some[i * here / wanted]
                let node = graph.nodeOf.map { $0[Int(row)] } ?? row
                if node == VK_NO_ROW { continue }
                rows[count] = row
                nodes[count] = node
                count += 1
            }
        }
        self.position = 0
        let sketched = memory.keys + Self.probes
        kernels.pointee.sketch_rows(graph.view.rows, memory.sketched, rows, count, sketched)
        graph.view.measure(graph.view.rows, memory.query, nodes, count, memory.keys)
        counts.distances &+= count
        guard count > Self.fewestProbes else { return self.gaveUp() }
        // In units of what one sign of a row is worth.
        var errors: Float = 0
        var squares: Float = 0
        var compared: Float = 0
        for i in 0..<count {
            let step = graph.book.sketchStep(graph.view.rows, rows[i])
            if step == 0 { continue }
            let error = (vk_distance(sketched[i]) - vk_distance(memory.keys[i])) / step
            errors += error
            squares += error * error
            compared += 1
        }
        guard compared > Float(Self.fewestProbes) else { return self.gaveUp() }
        let mean = errors / compared
        let slack = mean + Self.deviations * max(0, squares / compared - mean * mean).squareRoot()
        guard slack.isFinite else { return self.gaveUp() }
        memory.sketched.pointee.slack = slack
        kernels.pointee.sketch_rows(graph.view.rows, memory.sketched, rows, count, sketched)
        self.openingRows = Self.opening(rank: rank)
        let openingRank = max(4, min(count / 4, 3 * rank * count / self.openingRows))
        self.openingLimit = Self.smallest(openingRank, of: sketched, rows, count, memory)
        self.isOpening = true
        return count < rank ? .max : Self.smallest(rank, of: memory.keys, nodes, count, memory)
    }

    /// The words of the bitmap from the first to the last with a bit in it.
    private func eligibleWords() -> Range<Int> {
        var words = 0..<(self.end + 63) / 64
        guard let eligible else { return words }
        while let first = words.first, eligible[first] == 0 { words.removeFirst() }
        while let last = words.last, eligible[last] == 0 { words.removeLast() }
        return words
    }

    /// Nothing could be learned.
    private mutating func gaveUp() -> UInt32 {
        self.isInVain = true
        return .max
    }

    /// The `rank`-th smallest of `count` keys.
    private static func smallest(
        _ rank: Int, of keys: UnsafePointer<UInt32>, _ ids: UnsafePointer<UInt32>, _ count: Int,
        _ memory: SearchScratch.Memory
    ) -> UInt32 {
        var lowest = 0
        _ = vk_kernels_best().pointee.pool_offer(memory.best, 0, rank, keys, ids, count, &lowest)
        return Candidate.key(memory.best[rank - 1])
    }

    /// Puts the nodes of rows in their place, those without one left out.
    private func toNodes(_ graph: HNSWGraph, _ ids: UnsafeMutablePointer<UInt32>, _ count: Int) -> Int {
        guard let nodeOf = graph.nodeOf else { return count }
        var kept = 0
        var i = 0
        while i < count {
            let node = nodeOf[Int(ids[i])]
            ids[kept] = node
            kept &+= node == VK_NO_ROW ? 0 : 1
            i &+= 1
        }
        return kept
    }
}

extension HNSWGraph {
    /// The next nodes to measure, from `next` on.
    @inline(__always) func nextNodes(
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
