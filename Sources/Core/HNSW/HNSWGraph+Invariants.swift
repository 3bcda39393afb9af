internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// What is wrong with the graph, in words; empty when sound. No insertion may run meanwhile.
    package func checkInvariants() -> [String] {
        var faults: [String] = []
        var linked = 0
        var highest = -1
        for node in self.nodes {
            linked += 1
            let level = Int(self.levels[Int(node)])
            highest = max(highest, level)
            for l in 0...level { faults += self.faults(of: node, level: l) }
            faults += self.faultsOfKeys(of: node)
        }
        if linked != self.linked { faults.append("\(linked) rows are linked, \(self.linked) were counted") }
        let entry = EntryPoint(word: self.entry.load(ordering: .acquiring))
        if let entry {
            if entry.level != highest || Int(self.levels[Int(entry.row)]) != highest || !self.isNode(entry.row) {
                faults.append("entry point \(entry.row) stands at level \(entry.level), the highest is \(highest)")
            }
        } else if linked > 0 {
            faults.append("\(linked) rows and no entry point")
        }
        return faults
    }

    /// Rows that following links of level 0 from the entry point leads to. A walk finds no other.
    package func reachable() -> Int {
        guard let entry = EntryPoint(word: self.entry.load(ordering: .acquiring)) else { return 0 }
        var seen = [Bool](repeating: false, count: self.capacity)
        seen[Int(entry.row)] = true
        var queue = [entry.row]
        var at = 0
        while at < queue.count {
            for link in self.links(of: queue[at], level: 0) where !seen[Int(link)] {
                seen[Int(link)] = true
                queue.append(link)
            }
            at += 1
        }
        return queue.count
    }

    /// The rows that a row links to, for tests and measurements.
    package func linkRows(of row: UInt32, level: Int) -> [UInt32] {
        let node = self.nodeOf.map { $0[Int(row)] } ?? row
        return self.links(of: node, level: level).map { self.row(of: $0) }
    }

    private var nodes: [UInt32] {
        self.isSealed
            ? (0..<UInt32(self.linked)).map { $0 }
            : (0..<self.rowBound.load(ordering: .acquiring)).filter { self.isLinked($0) }
    }

    private func isNode(_ node: UInt32) -> Bool {
        self.isSealed ? node < self.linked : node < self.rowBound.load(ordering: .acquiring) && self.isLinked(node)
    }

    private func links(of node: UInt32, level: Int) -> [UInt32] {
        let links = self.view.links(node, level: level)
        return (0..<self.view.width(level: level)).map { vk_load_acquire(links + $0) }.prefix { $0 != VK_NO_ROW }
            .map { $0 }
    }

    private func faults(of node: UInt32, level: Int) -> [String] {
        var faults: [String] = []
        let links = self.links(of: node, level: level)
        let pointer = self.view.links(node, level: level)
        for i in links.count..<self.view.width(level: level) where pointer[i] != VK_NO_ROW {
            faults.append("node \(node) has a link behind the end of its list on level \(level)")
        }
        if Set(links).count != links.count { faults.append("node \(node) has a link twice on level \(level)") }
        for link in links {
            if !self.isNode(link) {
                faults.append("node \(node) links to \(link), which is not linked, on level \(level)")
            } else if link == node {
                faults.append("node \(node) links to itself on level \(level)")
            } else if Int(self.levels[Int(link)]) < level {
                faults.append(
                    "node \(node) links to \(link) above its level \(self.levels[Int(link)]), on level \(level)")
            }
        }
        return faults
    }

    /// Distances kept with links of level 0 are those of the rows, and a classified list is in its order.
    private func faultsOfKeys(of row: UInt32) -> [String] {
        guard let memory else { return [] }
        var faults: [String] = []
        let links = self.links(of: row, level: 0)
        let kept = memory.linkKeys + Int(row) * self.m0
        var query = vk_query()
        self.aim(&query, at: row)
        var keys = [UInt32](repeating: 0, count: links.count)
        self.view.measure(self.view.rows, &query, links, links.count, &keys)
        for i in links.indices where keys[i] != kept[i] {
            faults.append("row \(row) keeps a wrong distance to \(links[i])")
        }
        let chosen = memory.chosenCounts[Int(row)]
        if chosen != Self.unclassified {
            let entries = links.indices.map { Candidate.pack(key: kept[$0], row: links[$0]) }
            let parts = [entries[..<Int(chosen)], entries[Int(chosen)...]]
            if links.count != self.m0 || parts.contains(where: { $0 != ArraySlice($0.sorted()) }) {
                faults.append("row \(row) has a list out of order")
            }
        }
        return faults
    }
}
