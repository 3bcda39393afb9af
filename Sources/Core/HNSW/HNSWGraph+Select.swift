internal import VectorKernels

/// Which neighbours a point keeps.
extension HNSWGraph {
    /// Says of a full list that its links were never sorted into chosen and passed over.
    static let unclassified = UInt16.max

    /// Whether a chosen neighbour makes a farther candidate superfluous: the candidate is nearer to it than to the point.
    ///
    /// A tie counts only between equals in distance. So copies of the point cover one another, and do not take all places;
    /// yet they cover nothing else, and the point keeps its ways out.
    @inline(__always) private static func covers(_ chosenKey: UInt32, _ between: UInt32, _ key: UInt32) -> Bool {
        between < key || (between == key && chosenKey == key)
    }

    /// SELECT-NEIGHBORS-HEURISTIC, algorithm 4 of Malkov and Yashunin: a candidate nearer to one already chosen than to the
    /// point itself is passed over (see ``covers(_:_:_:)``). Places left over are filled with the nearest of those passed over: the walk is faster
    /// for the shortcuts, by 9 to 18 % on embeddings.
    ///
    /// - Parameters:
    ///   - entries: Candidates, nearest first.
    ///   - limit: Neighbours to keep at most.
    /// - Returns: In `working.kept`: the `chosen`, nearest first, then those that fill up, nearest first; `total` in all.
    func select(
        _ entries: UnsafeMutablePointer<UInt64>, count: Int, limit: Int, _ working: SearchScratch.Memory
    ) -> (chosen: Int, total: Int) {
        let view = self.view
        let kept = working.kept
        let keptRows = working.keptRows
        let passedOver = working.passedOver
        let keys = working.keys
        let group = 8  // enough rows for the kernel to run well, few enough to stop early
        var chosen = 0
        var passed = 0
        var i = 0
        while i < count, chosen < limit {
            let entry = entries[i] & ~Candidate.expanded
            let key = Candidate.key(entry)
            i &+= 1
            self.aim(working.other, at: Candidate.row(entry))
            var isChosen = true
            var j = 0
            while isChosen, j < chosen {
                let some = min(group, chosen &- j)
                view.measure(view.rows, working.other, keptRows + j, some, keys)
                var x = 0
                while x < some {
                    if Self.covers(Candidate.key(kept[j &+ x]), keys[x], key) { isChosen = false }
                    x &+= 1
                }
                j &+= some
            }
            if isChosen {
                kept[chosen] = entry
                keptRows[chosen] = Candidate.row(entry)
                chosen &+= 1
            } else {
                passedOver[passed] = entry
                passed &+= 1
            }
        }
        let filling = min(passed, limit &- chosen)
        (kept + chosen).update(from: passedOver, count: filling)
        return (chosen, chosen &+ filling)
    }

    /// Adds `row` to the list of `neighbour`, and lets the heuristic decide who leaves when it is full.
    ///
    /// - Parameter key: Of their distance. `working.query` is aimed at `row`.
    func linkBack(
        from neighbour: UInt32, to row: UInt32, key: UInt32, level: Int, _ working: SearchScratch.Memory,
        _ memory: GraphMemory
    ) {
        let links = self.view.links(neighbour, level: level)
        let width = self.view.width(level: level)
        let lock = memory.states + Int(neighbour)
        vk_lock(lock)
        defer { vk_unlock(lock) }
        var count = 0
        while count < width, links[count] != VK_NO_ROW { count &+= 1 }
        if count < width {
            if level == 0 { memory.linkKeys[Int(neighbour) &* self.m0 &+ count] = key }
            vk_store_release(links + count, row)
        } else if level > 0 {
            self.aim(working.other, at: neighbour)
            self.view.measure(self.view.rows, working.other, links, width, working.keys)
            self.rebuild(links, working.keys, adding: row, key: key, width: width, working)
        } else {
            self.linkBackIntoFull(neighbour, links, adding: row, key: key, working, memory)
        }
    }

    /// Chooses anew among a full list and one more row.
    ///
    /// - Parameter linkKeys: Distances of the links; may be `working.keys`.
    /// - Returns: How many were chosen rather than filled up with; those lead the entries in `working.kept`.
    @discardableResult
    private func rebuild(
        _ links: UnsafeMutablePointer<UInt32>, _ linkKeys: UnsafeMutablePointer<UInt32>, adding row: UInt32,
        key: UInt32,
        width: Int, _ working: SearchScratch.Memory
    ) -> Int {
        for i in 0..<width {
            _ = self.view.poolInsert(working.list, i, width &+ 1, Candidate.pack(key: linkKeys[i], row: links[i]))
        }
        _ = self.view.poolInsert(working.list, width, width &+ 1, Candidate.pack(key: key, row: row))
        let (chosen, total) = self.select(working.list, count: width &+ 1, limit: width, working)
        assert(total == width, "\(total) of \(width) links left after rebuilding a full list")
        for i in 0..<width { vk_store_release(links + i, Candidate.row(working.kept[i])) }
        return chosen
    }

    /// The same for level 0, where most of the building time goes.
    ///
    /// A full list is kept as the heuristic left it: those chosen, nearest first, then those that fill up, nearest first, with
    /// their distances. Against that, one batch of distances from `row` to the chosen tells whether it is passed over, or
    /// chosen without making one of the chosen pass over: then the outcome of choosing anew is known without doing so.
    private func linkBackIntoFull(
        _ neighbour: UInt32, _ links: UnsafeMutablePointer<UInt32>, adding row: UInt32, key: UInt32,
        _ working: SearchScratch.Memory, _ memory: GraphMemory
    ) {
        let width = self.m0
        let linkKeys = memory.linkKeys + Int(neighbour) &* width
        let chosenCount = memory.chosenCounts + Int(neighbour)
        let entry = Candidate.pack(key: key, row: row)
        var chosen = Int(chosenCount.pointee)
        if chosenCount.pointee != Self.unclassified {
            let keys = working.keys
            self.view.measure(self.view.rows, working.query, links, chosen, keys)
            var before = 0  // of the chosen, those nearer than the new row
            while before < chosen, Candidate.pack(key: linkKeys[before], row: links[before]) < entry { before &+= 1 }
            var isPassedOver = false
            var i = 0
            while i < before {
                if Self.covers(linkKeys[i], keys[i], key) { isPassedOver = true }
                i &+= 1
            }
            if isPassedOver {
                var place = chosen
                while place < width, Candidate.pack(key: linkKeys[place], row: links[place]) < entry { place &+= 1 }
                self.shiftIn(entry, links, linkKeys, at: place)
                return
            }
            var displaces = false
            while i < chosen {
                if Self.covers(key, keys[i], linkKeys[i]) { displaces = true }
                i &+= 1
            }
            if !displaces {
                self.shiftIn(entry, links, linkKeys, at: before)
                chosenCount.pointee = UInt16(min(chosen &+ 1, width))
                return
            }
        }
        chosen = self.rebuild(links, linkKeys, adding: row, key: key, width: width, working)
        for i in 0..<width { linkKeys[i] = Candidate.key(working.kept[i]) }
        chosenCount.pointee = UInt16(chosen)
    }

    /// Puts `entry` at `place` of a full list; those behind move up and the last leaves. Past the end it is the entry that
    /// does not get in.
    private func shiftIn(
        _ entry: UInt64, _ links: UnsafeMutablePointer<UInt32>, _ linkKeys: UnsafeMutablePointer<UInt32>, at place: Int
    ) {
        guard place < self.m0 else { return }
        var i = self.m0 &- 1
        while i > place {
            linkKeys[i] = linkKeys[i &- 1]
            vk_store_release(links + i, links[i &- 1])
            i &-= 1
        }
        linkKeys[place] = Candidate.key(entry)
        vk_store_release(links + place, Candidate.row(entry))
    }
}
