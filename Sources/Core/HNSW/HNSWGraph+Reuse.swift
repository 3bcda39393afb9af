internal import Synchronization
internal import VectorKernels

/// A graph that begins with the links of another.
extension HNSWGraph {
    /// Takes over the points of another graph that are still wanted, with their links; nothing may have been inserted before.
    ///
    /// A point that loses neighbours gets some of theirs: what was two hops away through a point that is gone is one hop now,
    /// as far as the heuristic wants it. Costs a few distances a point, where linking it anew costs hundreds.
    /// - Parameters:
    ///   - other: Of the same vectors, metric and `m`.
    ///   - newRows: For each row of `other` its row here, or `UInt32.max` if it is gone. Vectors are in place.
    package func adopt(_ other: HNSWGraph, newRows: UnsafePointer<UInt32>, scratch: SearchScratch) {
        guard let memory else { preconditionFailure("points adopted by a mapped graph") }
        precondition(
            self.linked == 0 && self.m == other.m && self.rows.dimension == other.rows.dimension
                && self.rows.metric == other.rows.metric, "points adopted by a graph of \(self.linked), m \(self.m)")
        let nodes = other.nodeOf == nil ? other.rowBound.load(ordering: .acquiring) : UInt32(other.linked)
        let adoption = Adoption(source: other, newRows: newRows)
        var top: EntryPoint?
        for node in 0..<nodes {
            guard let row = adoption.row(of: node) else { continue }
            precondition(row < self.capacity, "row \(row) of \(self.capacity)")
            self.raise(self.rowBound, to: row + 1)
            let level = self.clearLists(of: row, level: Int(other.levels[Int(node)]), memory)
            self.encode(row: Int(row), memory)
            if level > top?.level ?? -1 { top = EntryPoint(row: row, level: level) }
        }
        guard let top else { return }
        let working = scratch.prepare(
            capacity: self.capacity, candidates: max(self.efConstruction, self.m0 * (self.m0 + 1)), m: self.m,
            book: self.book)
        for node in 0..<nodes {
            guard let row = adoption.row(of: node) else { continue }
            for level in 0...Int(memory.levels[Int(row)]) { self.adopt(adoption, node, row, level, working, memory) }
        }
        for node in 0..<nodes {
            guard let row = adoption.row(of: node) else { continue }
            vk_or_byte(memory.states + Int(row), RowState.linked)
            self.linkedCount.add(1, ordering: .relaxed)
        }
        // Where the other graph began, if that is left: its way down is tried.
        self.entry.store(self.entryPoint(adoption, memory, else: top).word, ordering: .releasing)
        self.advancePrefix(memory)
    }

    private struct Adoption {
        let source: HNSWGraph
        let newRows: UnsafePointer<UInt32>

        /// The row here of a node of the source; nil if it is gone or was never linked.
        func row(of node: UInt32) -> UInt32? {
            let row = self.source.row(of: node)
            guard self.newRows[Int(row)] != .max, self.source.nodeOf != nil || self.source.isLinked(row) else {
                return nil
            }
            return self.newRows[Int(row)]
        }
    }

    private func entryPoint(_ adoption: Adoption, _ memory: GraphMemory, else top: EntryPoint) -> EntryPoint {
        guard let old = EntryPoint(word: adoption.source.entry.load(ordering: .acquiring)),
            let row = adoption.row(of: old.row), Int(memory.levels[Int(row)]) == top.level
        else { return top }
        return EntryPoint(row: row, level: top.level)
    }

    /// Gives one point its links of one level.
    private func adopt(
        _ adoption: Adoption, _ node: UInt32, _ row: UInt32, _ level: Int, _ working: SearchScratch.Memory,
        _ memory: GraphMemory
    ) {
        let source = adoption.source
        let width = self.view.width(level: level)
        let from = source.view.links(node, level: level)
        var rows: [UInt32] = []
        rows.reserveCapacity(width)
        var had = 0
        var isWhole = true
        func add(_ node: UInt32) -> Bool {
            guard let neighbour = adoption.row(of: node), Int(memory.levels[Int(neighbour)]) >= level else {
                return false
            }
            if neighbour != row, !rows.contains(neighbour) { rows.append(neighbour) }
            return true
        }
        for i in 0..<width where from[i] != VK_NO_ROW {
            had += 1
            if !add(from[i]) { isWhole = false }
        }
        if !isWhole {
            for i in 0..<width where from[i] != VK_NO_ROW && adoption.row(of: from[i]) == nil {
                let beyond = source.view.links(from[i], level: level)
                for j in 0..<width where beyond[j] != VK_NO_ROW { _ = add(beyond[j]) }
            }
        }
        guard !rows.isEmpty else { return }
        self.aim(working.other, at: row)
        let links = self.view.links(row, level: level)
        var next = 0
        var size = 0
        while next < rows.count {
            let some = min(SearchScratch.batch, rows.count - next)
            rows.withUnsafeBufferPointer { (working.ids).update(from: $0.baseAddress! + next, count: some) }
            self.view.measure(self.view.rows, working.other, working.ids, some, working.keys)
            for i in 0..<some {
                let entry = Candidate.pack(key: working.keys[i], row: working.ids[i])
                // A list that lost nothing stays as the heuristic left it.
                if isWhole {
                    working.pool[size] = entry
                } else {
                    _ = self.view.poolInsert(working.pool, size, rows.count, entry)
                }
                size += 1
            }
            next += some
        }
        var kept = UnsafePointer(working.pool)
        if !isWhole {
            // The nearest are enough to choose from, and no more than there were: points to come want room.
            size = self.select(working.pool, count: min(size, 2 * width), limit: had, working).total
            kept = UnsafePointer(working.kept)
        }
        for i in 0..<size {
            if level == 0 { memory.linkKeys[Int(row) * self.m0 + i] = Candidate.key(kept[i]) }
            vk_store_release(links + i, Candidate.row(kept[i]))
        }
    }
}
