package import Primitives
internal import VectorKernels

extension HNSWGraph {
    /// Opens a sealed graph in place; `mapped` is 64-byte aligned and outlives the graph, which cannot grow: the graph keeps
    /// `owner` alive, if that is what the bytes need.
    ///
    /// Every link is checked before the first search, so bytes that are not a sound graph over these rows are refused and
    /// never crash a walk. It reads the links once: about a millisecond for 100,000 rows in memory.
    /// - Throws: `DecodingFault` naming the byte. The checksum is the caller's to verify.
    package convenience init(
        mapped: UnsafeRawBufferPointer, rows: VectorRows, rowCount: Int, owner: AnyObject? = nil
    ) throws(DecodingFault) {
        let layout = try GraphLayout(reading: mapped)
        precondition(
            Int(bitPattern: mapped.baseAddress) % 64 == 0, "a graph mapped at \(String(describing: mapped.baseAddress))"
        )
        guard layout.rowCount == rowCount, layout.dimension == rows.dimension, layout.metric == rows.metric else {
            throw DecodingFault(
                position: 12,
                what: """
                    a graph of \(layout.rowCount) rows of \(layout.dimension) by \(layout.metric), \
                    for \(rowCount) rows of \(rows.dimension) by \(rows.metric)
                    """)
        }
        try GraphAudit(layout, mapped).run()
        self.init(sound: layout, in: mapped, rows: rows, owner: owner)
    }
}

/// Checks that links of a sealed graph lead where links may lead, and that rows and nodes belong to one another.
private struct GraphAudit {
    private let layout: GraphLayout
    private let levels: UnsafePointer<UInt8>
    private let rowOf: UnsafePointer<UInt32>
    private let nodeOf: UnsafePointer<UInt32>
    private let links0: UnsafePointer<UInt32>
    private let upperStart: UnsafePointer<UInt32>
    private let upper: UnsafePointer<UInt32>

    init(_ layout: GraphLayout, _ mapped: UnsafeRawBufferPointer) {
        let base = mapped.baseAddress!
        self.layout = layout
        self.levels = (base + layout.levels.lowerBound).assumingMemoryBound(to: UInt8.self)
        self.rowOf = (base + layout.rowOf.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.nodeOf = (base + layout.nodeOf.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.links0 = (base + layout.links0.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.upperStart = (base + layout.upperStart.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.upper = (base + layout.upper.lowerBound).assumingMemoryBound(to: UInt32.self)
    }

    func run() throws(DecodingFault) {
        try self.checkNumbering()
        try self.checkLevels()
        let m0 = 2 * self.layout.m
        for node in 0..<self.layout.nodeCount {
            let position = self.layout.links0.lowerBound + node * m0 * 4
            try self.check(self.links0 + node * m0, of: node, width: m0, level: 0, at: position)
            let level = Int(self.levels[node])
            guard level > 0 else { continue }
            for l in 1...level {
                let list = Int(self.upperStart[node]) + l - 1
                try self.check(
                    self.upper + list * self.layout.m, of: node, width: self.layout.m, level: l,
                    at: self.layout.upper.lowerBound + list * self.layout.m * 4)
            }
        }
    }

    private func checkNumbering() throws(DecodingFault) {
        var known = 0
        for row in 0..<self.layout.rowCount {
            let node = self.nodeOf[row]
            if node == VK_NO_ROW { continue }
            guard node < self.layout.nodeCount, self.rowOf[Int(node)] == row else {
                throw DecodingFault(
                    position: self.layout.nodeOf.lowerBound + row * 4, what: "row \(row) is not node \(node)")
            }
            known += 1
        }
        // Each of these rows has a node to itself; so as many as there are nodes are all of them.
        guard known == self.layout.nodeCount else {
            throw DecodingFault(position: 28, what: "\(known) rows are nodes, not \(self.layout.nodeCount)")
        }
    }

    private func checkLevels() throws(DecodingFault) {
        var lists = 0
        var highest = -1
        for node in 0..<self.layout.nodeCount {
            guard Int(self.upperStart[node]) == lists else {
                throw DecodingFault(
                    position: self.layout.upperStart.lowerBound + node * 4,
                    what: "upper lists of node \(node) misplaced")
            }
            let level = Int(self.levels[node])
            guard level <= HNSWGraph.topLevel else {
                throw DecodingFault(
                    position: self.layout.levels.lowerBound + node, what: "node \(node) at level \(level)")
            }
            lists += level
            highest = max(highest, level)
        }
        guard lists == self.layout.upperLists else {
            throw DecodingFault(position: 32, what: "\(lists) upper lists, not \(self.layout.upperLists)")
        }
        if let entry = EntryPoint(word: self.layout.entry) {
            guard entry.row < self.layout.nodeCount, entry.level == highest, Int(self.levels[Int(entry.row)]) == highest
            else {
                throw DecodingFault(
                    position: 40, what: "entry point \(entry.row) at level \(entry.level), highest is \(highest)")
            }
        } else if self.layout.nodeCount > 0 {
            throw DecodingFault(position: 40, what: "no entry point to \(self.layout.nodeCount) nodes")
        }
    }

    private func check(
        _ links: UnsafePointer<UInt32>, of node: Int, width: Int, level: Int, at position: Int
    ) throws(DecodingFault) {
        var ended = false
        for i in 0..<width {
            let link = links[i]
            if link == VK_NO_ROW {
                ended = true
                continue
            }
            guard !ended, link < self.layout.nodeCount, link != node, Int(self.levels[Int(link)]) >= level else {
                throw DecodingFault(
                    position: position + i * 4, what: "node \(node) linked to \(link) on level \(level)")
            }
        }
    }
}
