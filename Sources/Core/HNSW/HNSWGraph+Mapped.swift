package import Primitives
internal import VectorKernels

extension HNSWGraph {
    /// Opens a graph in place; `mapped` is 64-byte aligned and outlives the graph, which cannot grow.
    ///
    /// Every link is checked before the first search, so bytes that are not a sound graph over these rows are refused and
    /// never crash a walk. It reads the links once: about a millisecond for 100,000 rows in memory.
    /// - Throws: `DecodingFault` naming the byte. The checksum is the caller's to verify.
    package convenience init(mapped: UnsafeRawBufferPointer, rows: VectorRows, rowCount: Int) throws(DecodingFault) {
        let layout = try GraphLayout(reading: mapped)
        precondition(Int(bitPattern: mapped.baseAddress) % 64 == 0, "a graph mapped at \(String(describing: mapped.baseAddress))")
        guard layout.rowCount == rowCount, layout.dimension == rows.dimension, layout.metric == rows.metric else {
            throw DecodingFault(
                position: 12,
                what: """
                    a graph of \(layout.rowCount) rows of \(layout.dimension) by \(layout.metric), \
                    for \(rowCount) rows of \(rows.dimension) by \(rows.metric)
                    """)
        }
        try GraphAudit(layout, mapped).run()
        self.init(sound: layout, in: mapped, rows: rows)
    }
}

/// Checks that links of a serialised graph lead where links may lead.
private struct GraphAudit {
    private let layout: GraphLayout
    private let levels: UnsafePointer<UInt8>
    private let links0: UnsafePointer<UInt32>
    private let upperStart: UnsafePointer<UInt32>
    private let upper: UnsafePointer<UInt32>

    init(_ layout: GraphLayout, _ mapped: UnsafeRawBufferPointer) {
        let base = mapped.baseAddress!
        self.layout = layout
        self.levels = (base + layout.levels.lowerBound).assumingMemoryBound(to: UInt8.self)
        self.links0 = (base + layout.links0.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.upperStart = (base + layout.upperStart.lowerBound).assumingMemoryBound(to: UInt32.self)
        self.upper = (base + layout.upper.lowerBound).assumingMemoryBound(to: UInt32.self)
    }

    func run() throws(DecodingFault) {
        try self.checkLevels()
        let m0 = 2 * self.layout.m
        for row in 0..<self.layout.rowCount {
            try self.check(self.links0 + row * m0, of: row, width: m0, level: 0, at: self.layout.links0.lowerBound + row * m0 * 4)
            let level = self.levels[row]
            guard level != GraphLayout.notLinked, level > 0 else { continue }
            for l in 1...Int(level) {
                let list = Int(self.upperStart[row]) + l - 1
                try self.check(
                    self.upper + list * self.layout.m, of: row, width: self.layout.m, level: l,
                    at: self.layout.upper.lowerBound + list * self.layout.m * 4)
            }
        }
    }

    private func checkLevels() throws(DecodingFault) {
        var linked = 0
        var lists = 0
        var highest = 0
        for row in 0..<self.layout.rowCount {
            guard Int(self.upperStart[row]) == lists else {
                throw DecodingFault(position: self.layout.upperStart.lowerBound + row * 4, what: "upper lists of row \(row) misplaced")
            }
            let level = self.levels[row]
            if level == GraphLayout.notLinked { continue }
            guard level <= HNSWGraph.topLevel else {
                throw DecodingFault(position: self.layout.levels.lowerBound + row, what: "row \(row) at level \(level)")
            }
            linked += 1
            lists += Int(level)
            highest = max(highest, Int(level))
        }
        guard linked == self.layout.linkedCount, lists == self.layout.upperLists else {
            throw DecodingFault(position: 28, what: "\(linked) rows linked and \(lists) upper lists, not as the header says")
        }
        if let entry = EntryPoint(word: self.layout.entry) {
            guard entry.row < self.layout.rowCount, entry.level == highest, Int(self.levels[Int(entry.row)]) == highest else {
                throw DecodingFault(position: 40, what: "entry point \(entry.row) at level \(entry.level), highest is \(highest)")
            }
        } else if linked > 0 {
            throw DecodingFault(position: 40, what: "no entry point to \(linked) rows")
        }
    }

    private func check(
        _ links: UnsafePointer<UInt32>, of row: Int, width: Int, level: Int, at position: Int
    ) throws(DecodingFault) {
        let mayLink = self.levels[row] != GraphLayout.notLinked
        var ended = false
        for i in 0..<width {
            let link = links[i]
            if link == VK_NO_ROW {
                ended = true
                continue
            }
            guard mayLink, !ended, link < self.layout.rowCount, link != row, self.levels[Int(link)] != GraphLayout.notLinked,
                Int(self.levels[Int(link)]) >= level
            else {
                throw DecodingFault(position: position + i * 4, what: "row \(row) linked to \(link) on level \(level)")
            }
        }
    }
}
