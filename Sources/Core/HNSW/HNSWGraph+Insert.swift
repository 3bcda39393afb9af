internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// Links a row whose vector is already in place. Any number of threads at once, while others search; each row once.
    ///
    /// - Parameter level: From ``level(hash:m:)``.
    /// - Note: INSERT, algorithm 1 of Malkov and Yashunin, but for the order of linking (see the type's comment).
    package func insert(row: UInt32, level: Int, scratch: SearchScratch) {
        guard let memory else { preconditionFailure("row \(row) inserted into a mapped graph") }
        let state = memory.states + Int(row)
        precondition(
            row < self.capacity && 0...Self.topLevel ~= level && vk_load_byte(state) & ~RowState.lock == 0,
            "row \(row) of \(self.capacity) at level \(level), state \(vk_load_byte(state))")
        self.raise(self.rowBound, to: row + 1)
        let level = self.clearLists(of: row, level: level, memory)
        let working = scratch.prepare(
            capacity: self.capacity, candidates: self.efConstruction, m: self.m,
            book: self.book)
        if row >= self.coded.load(ordering: .acquiring) { self.encode(row: Int(row), memory) }
        self.aim(working.query, at: row)
        self.connect(row, level: level, working, memory)
        vk_or_byte(state, RowState.linked)
        self.linkedCount.add(1, ordering: .relaxed)
        self.advancePrefix(memory)
    }

    /// Marks a row that will never be linked (deleted before its turn), so that ``linkedPrefix`` can pass it.
    package func skip(row: UInt32) {
        guard let memory else { preconditionFailure("row \(row) skipped in a mapped graph") }
        vk_or_byte(memory.states + Int(row), RowState.skipped)
        self.advancePrefix(memory)
    }

    /// Makes every list of the row empty, before anyone can see them. Returns the level there was room for.
    func clearLists(of row: UInt32, level: Int, _ memory: GraphMemory) -> Int {
        var level = level
        if level > 0 {
            let start = self.upperUsed.add(level, ordering: .relaxed).oldValue
            if start + level <= memory.upperLists {
                memory.upperStart[Int(row)] = UInt32(start)
            } else {
                // More points drew a high level than chance explains. The graph stays sound, its upper levels thinner.
                level = 0
            }
        }
        memory.levels[Int(row)] = UInt8(level)
        memory.chosenCounts[Int(row)] = Self.unclassified
        for l in 0...level {
            let links = self.view.links(row, level: l)
            for i in 0..<self.view.width(level: l) { vk_store_release(links + i, VK_NO_ROW) }
        }
        return level
    }

    /// Finds the entry point and links from there. A row above the top level does so under a lock: the next such row must
    /// find it at the top.
    private func connect(_ row: UInt32, level: Int, _ working: SearchScratch.Memory, _ memory: GraphMemory) {
        let entryLock = memory.states + self.capacity
        while true {
            let word = self.entry.load(ordering: .acquiring)
            if let top = EntryPoint(word: word), level <= top.level {
                self.link(row, level: level, from: top, working, memory)
                return
            }
            vk_lock(entryLock)
            defer { vk_unlock(entryLock) }
            guard self.entry.load(ordering: .acquiring) == word else { continue }
            if let top = EntryPoint(word: word) { self.link(row, level: level, from: top, working, memory) }
            self.entry.store(EntryPoint(row: row, level: level).word, ordering: .releasing)
            return
        }
    }

    private func link(
        _ row: UInt32, level: Int, from top: EntryPoint, _ working: SearchScratch.Memory, _ memory: GraphMemory
    ) {
        let view = self.view
        let highest = min(level, top.level)
        var counts = WalkCounts()
        view.descend(from: top, to: highest, working, &counts)
        for l in stride(from: highest, through: 0, by: -1) {
            let size = view.nearest(
                level: l, ef: self.efConstruction, entries: 1, working, &counts, interrupted: { false })
            let chosen = self.select(working.pool, count: size, limit: self.m, working)
            working.chosenCount[l] = chosen.total
            (working.chosen + l * self.m).update(from: working.kept, count: chosen.total)
        }
        for l in 0...highest {
            let count = working.chosenCount[l]
            let chosen = working.chosen + l * self.m
            let links = view.links(row, level: l)
            vk_lock(memory.states + Int(row))
            for i in 0..<count {
                if l == 0 { memory.linkKeys[Int(row) * self.m0 + i] = Candidate.key(chosen[i]) }
                vk_store_release(links + i, Candidate.row(chosen[i]))
            }
            vk_unlock(memory.states + Int(row))
            for i in 0..<count {
                self.linkBack(
                    from: Candidate.row(chosen[i]), to: row, key: Candidate.key(chosen[i]), level: l, working, memory)
            }
        }
    }

    /// Aims `query` at a stored row of a graph that grows.
    @inline(__always) func aim(_ query: UnsafeMutablePointer<vk_query>, at row: UInt32) {
        query.pointee.floats = self.rows.base + Int(self.row(of: row)) &* self.rows.stride
        if self.kind == .int8 { self.book.aim(query, at: row, of: self.kernelRows) }
    }

    func raise(_ bound: borrowing Atomic<UInt32>, to value: UInt32) {
        var now = bound.load(ordering: .relaxed)
        while now < value {
            let (exchanged, original) = bound.compareExchange(expected: now, desired: value, ordering: .relaxed)
            if exchanged { return }
            now = original
        }
    }

    func advancePrefix(_ memory: GraphMemory) {
        var at = self.prefix.load(ordering: .acquiring)
        while at < self.capacity, vk_load_byte(memory.states + Int(at)) & (RowState.linked | RowState.skipped) != 0 {
            let (exchanged, original) = self.prefix.compareExchange(
                expected: at, desired: at + 1, ordering: .acquiringAndReleasing)
            at = exchanged ? at + 1 : original
        }
    }
}
