package import Primitives
internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// What a sealed graph is tried at before its codes are chosen: candidates kept.
    package static let trialEfs = [24, 96]

    /// The graph as one block, its points numbered so that neighbours lie together, with the codes asked for. No insertion
    /// may run meanwhile. A sealed graph can be sealed again, with other codes.
    ///
    /// - Parameters:
    ///   - rowCount: Rows of the segment, when some at its end were never linked.
    ///   - rescoring: What candidates are measured again on.
    package func sealed(
        _ quantisation: Quantisation = .auto, rowCount: Int? = nil, rescoring: Rescoring = .float32
    ) -> SealedBlock {
        self.seal(quantisation, rowCount: rowCount, rescoring: rescoring, interrupted: { false })!
    }

    /// - Returns: Nil if interrupted.
    private func seal(
        _ quantisation: Quantisation, rowCount: Int?, rescoring: Rescoring, interrupted: () -> Bool
    ) -> SealedBlock? {
        let bound = Int(self.rowBound.load(ordering: .acquiring))
        let rowCount = rowCount ?? bound
        precondition(rowCount >= bound, "a segment of \(rowCount) rows, of which row \(bound - 1) is linked")
        var sealing = GraphSealing(
            self, rowCount: rowCount, largest: quantisation == .none ? .none : .int8, halves: rescoring == .float16,
            asked: quantisation)
        let halves = rescoring == .float16
        let choices: [(CodeKind, Bool)] =
            switch quantisation {
            case .none: [(.none, false)]
            case .int8: [(.int8, halves)]
            case .int4: [(.int4, halves)]
            case .auto: [(.int4, halves), (.int8, halves)] + (halves ? [(.int8, false)] : []) + [(.none, false)]
            }
        var trials: [SealReport.Trial] = []
        for (kind, halves) in choices {
            guard sealing.encode(kind, halves: halves, interrupted) else { return nil }
            if quantisation != .auto || kind == .none { break }
            guard let trial = sealing.trial(interrupted) else { return nil }
            trials.append(trial)
            if trial.holds { break }
        }
        return sealing.finish(trials, interrupted)
    }

    /// As ``sealed(_:rowCount:rescoring:)``, of a part of the rows: without nodes by row, and with codes taken from the centre
    /// of the whole, so that they are as good for a query that lies apart as there.
    func sealedSubset(_ kind: CodeKind, centre: UnsafePointer<Float>?) -> SealedBlock {
        precondition(self.rowOf != nil && !self.isSealed, "a graph of all rows")
        var sealing = GraphSealing(
            self, rowCount: 0, largest: kind == .none ? .none : .int8, halves: false, asked: .auto, centre: centre)
        _ = sealing.encode(kind, halves: false) { false }
        return sealing.finish([]) { false }!
    }

    /// Writes what ``sealed(_:rowCount:rescoring:)`` makes.
    ///
    /// - Parameter interrupted: Asked some hundred times a second; true ends it.
    /// - Returns: Nil if interrupted: nothing was written.
    @discardableResult
    package func serialise<Failure: Error>(
        _ quantisation: Quantisation = .auto, rowCount: Int? = nil, rescoring: Rescoring = .float32,
        interrupted: () -> Bool = { false }, to sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> SealReport? {
        guard let block = self.seal(quantisation, rowCount: rowCount, rescoring: rescoring, interrupted: interrupted)
        else { return nil }
        try block.withBytes { (bytes) throws(Failure) in try sink(bytes) }
        return block.report
    }
}

/// A sealed graph in the making.
private struct GraphSealing {
    private let source: HNSWGraph
    private var layout: GraphLayout
    private let memory: SealedMemory
    /// Rows between two questions whether to go on.
    private static let rowsPerCheck = 1_024
    /// For float16 rows; nil if these rows cannot be kept so.
    private let halfShift: Int?

    /// Writes all but codes and float16 rows, leaving room for those of `largest`.
    /// - Parameter rowCount: 0 for a graph of a part of the rows.
    init(
        _ source: HNSWGraph, rowCount: Int, largest: CodeKind, halves: Bool, asked: Quantisation,
        centre given: UnsafePointer<Float>? = nil
    ) {
        let order = NodeOrder(source)
        self.source = source
        self.layout = GraphLayout(
            metric: source.rows.metric, kind: largest, m: source.m, efConstruction: source.efConstruction,
            dimension: source.rows.dimension, rowCount: rowCount, nodeCount: order.nodes.count,
            upperLists: order.nodes.reduce(0) { $0 + Int(source.levels[Int($1)]) }, halfShift: halves ? 0 : nil,
            asked: asked.code, entry: order.entry)
        self.layout.isSketched = rowCount > 0
        self.memory = SealedMemory(bytes: self.layout.bytes)
        let base = self.memory.base
        let centre = (base + self.layout.centre.lowerBound).bindMemory(to: Float.self, capacity: source.rows.dimension)
        if let given {
            centre.update(from: given, count: source.rows.dimension)
        } else if largest != .none {
            let rows = order.nodes.map { source.row(of: $0) }
            let step = max(1, rows.count / 20_000)
            CodeBook.mean(source.rows, stride(from: 0, to: rows.count, by: step).map { rows[$0] }, into: centre)
        }
        var most: Float = 0
        var suit = halves
        for node in order.nodes where halves {
            let vector = source.rows.base + Int(source.row(of: node)) * source.rows.stride
            let squares = VectorMath.dot(vector, vector, count: source.rows.dimension)
            suit = suit && HalfRows.suits(source.rows.metric, squaredLength: squares)
            most = max(most, vk_largest(vector, centre, source.rows.dimension))
        }
        self.halfShift = suit ? HalfRows.shift(largest: most) : nil
        if rowCount > 0,
            let dimension = IntrinsicDimension.measured(source.rows, order.nodes.map { source.row(of: $0) })
        {
            self.layout.intrinsicEighths = UInt8(max(1, min(255, (8 * dimension).rounded())))
        }
        self.writeNumbering(order)
        self.writeLinks(order)
    }

    private func section<T>(_ range: Range<Int>, _: T.Type) -> UnsafeMutablePointer<T> {
        (self.base + range.lowerBound).assumingMemoryBound(to: T.self)
    }

    private func writeNumbering(_ order: NodeOrder) {
        let levels = self.section(self.layout.levels, UInt8.self)
        let rowOf = self.section(self.layout.rowOf, UInt32.self)
        let nodeOf = self.section(self.layout.nodeOf, UInt32.self)
        nodeOf.update(repeating: VK_NO_ROW, count: self.layout.rowCount)
        for (node, from) in order.nodes.enumerated() {
            levels[node] = self.source.levels[Int(from)]
            rowOf[node] = self.source.row(of: from)
            if self.layout.rowCount > 0 { nodeOf[Int(rowOf[node])] = UInt32(node) }
        }
    }

    private func writeLinks(_ order: NodeOrder) {
        let links0 = self.section(self.layout.links0, UInt32.self)
        let upperStart = self.section(self.layout.upperStart, UInt32.self)
        let upper = self.section(self.layout.upper, UInt32.self)
        var lists = 0
        for (node, from) in order.nodes.enumerated() {
            self.copy(from, level: 0, order, to: links0 + node * self.source.m0)
            upperStart[node] = UInt32(lists)
            for level in 0..<Int(self.source.levels[Int(from)]) {
                self.copy(from, level: level + 1, order, to: upper + lists * self.source.m)
                lists += 1
            }
        }
    }

    private func copy(_ node: UInt32, level: Int, _ order: NodeOrder, to links: UnsafeMutablePointer<UInt32>) {
        let from = self.source.view.links(node, level: level)
        for i in 0..<self.source.view.width(level: level) {
            links[i] = from[i] == VK_NO_ROW ? VK_NO_ROW : order.place[Int(from[i])]
        }
    }

    private var base: UnsafeMutableRawPointer { self.memory.base }

    /// Writes codes, their terms and the float16 rows, over those of the last attempt. False if interrupted.
    mutating func encode(_ kind: CodeKind, halves: Bool, _ interrupted: () -> Bool) -> Bool {
        self.layout.kind = kind
        self.layout.halfShift = halves ? self.halfShift : nil
        precondition(self.layout.bytes <= self.memory.capacity, "\(self.layout.bytes) bytes in \(self.memory.capacity)")
        let rows = self.source.rows
        let rowOf = self.section(self.layout.rowOf, UInt32.self)
        let centre = self.section(self.layout.centre, Float.self)
        let book = CodeBook(kind: kind, metric: rows.metric, dimension: rows.dimension, centre: centre)
        let codes = self.section(self.layout.codes, UInt8.self)
        let terms = self.section(self.layout.terms, Float.self)
        if kind != .none {
            for node in 0..<self.layout.nodeCount {
                if node % Self.rowsPerCheck == 0, interrupted() { return false }
                book.encode(
                    rows.base + Int(rowOf[node]) * rows.stride, codes: codes + node * book.stride,
                    terms: terms + 2 * node)
            }
        }
        if let shift = self.layout.halfShift {
            let halves = self.section(self.layout.halves, UInt16.self)
            let stride = HalfRows.stride(dimension: rows.dimension)
            withUnsafeTemporaryAllocation(of: Float.self, capacity: stride) { scratch in
                scratch.initialize(repeating: 0)
                for node in 0..<self.layout.nodeCount {
                    HalfRows.encode(
                        rows.base + Int(rowOf[node]) * rows.stride, dimension: rows.dimension, shift: shift,
                        centre: centre,
                        scratch: scratch.baseAddress!, to: halves + node * stride)
                }
            }
        }
        self.section(0..<GraphLayout.headerBytes, UInt8.self).update(
            from: self.layout.header, count: GraphLayout.headerBytes)
        return !interrupted()
    }

    private var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: self.base, count: self.layout.bytes) }

    /// Nil if interrupted.
    func trial(_ interrupted: () -> Bool) -> SealReport.Trial? {
        var plain = self.layout
        plain.kind = .none
        plain.halfShift = nil
        var coded = self.layout
        coded.isSketched = false  // they are written when the codes are chosen
        let trial = SealTrial(
            coded: HNSWGraph(sound: coded, in: self.bytes, rows: self.source.rows),
            floats: HNSWGraph(sound: plain, in: self.bytes, rows: self.source.rows))
        return trial.run(interrupted)
    }

    /// Over what there is of codes larger than those chosen.
    /// False if interrupted.
    private func writeSketches(_ interrupted: () -> Bool) -> Bool {
        let rows = self.source.rows
        let stride = self.layout.sketchStride
        guard stride > 0 else { return true }
        let sketches = self.base + self.layout.sketches.lowerBound
        sketches.initializeMemory(as: UInt8.self, repeating: 0, count: self.layout.sketches.count)
        let book = CodeBook(
            kind: self.layout.kind, metric: rows.metric, dimension: rows.dimension,
            centre: self.section(self.layout.centre, Float.self))
        let nodeOf = self.section(self.layout.nodeOf, UInt32.self)
        for row in 0..<self.layout.rowCount {
            if row % Self.rowsPerCheck == 0, interrupted() { return false }
            if nodeOf[row] == VK_NO_ROW {
                CodeBook.sketchNothing(sketches + row * stride, dimension: rows.dimension)
            } else {
                book.sketch(rows.base + row * rows.stride, to: sketches + row * stride)
            }
        }
        return true
    }

    /// Nil if interrupted.
    func finish(_ trials: [SealReport.Trial], _ interrupted: () -> Bool) -> SealedBlock? {
        guard self.writeSketches(interrupted) else { return nil }
        return SealedBlock(
            self.memory,
            report: SealReport(
                kind: self.layout.kind, halves: self.layout.halfShift != nil, bytes: self.layout.bytes,
                residentBytes: self.layout.residentBytes, trials: trials))
    }
}

/// The points of a graph in the order in which a breadth-first search from the entry point meets them: those that a walk
/// visits one after another share cache lines and pages. Those of upper levels come first, for every search meets many of
/// them on its way down: together they stay in the cache.
private struct NodeOrder {
    /// Nodes of the source, and the new number of each.
    private(set) var nodes: [UInt32] = []
    private(set) var place: [UInt32]
    private(set) var entry: UInt64 = 0

    init(_ source: HNSWGraph) {
        let entry = EntryPoint(word: source.entry.load(ordering: .acquiring))
        let isSealed = source.isSealed
        let bound = isSealed ? source.linked : Int(source.rowBound.load(ordering: .acquiring))
        self.place = [UInt32](repeating: VK_NO_ROW, count: bound)
        self.nodes.reserveCapacity(source.linked)
        if isSealed {
            for node in 0..<UInt32(bound) { self.append(node) }
        } else if let entry {
            self.follow(entry.row, source)
            // What no link leads to keeps a place all the same: a scan finds it.
            for node in 0..<UInt32(bound) where self.place[Int(node)] == VK_NO_ROW && source.isLinked(node) {
                self.follow(node, source)
            }
            self.putUpperFirst(source)
        }
        if let entry { self.entry = EntryPoint(row: self.place[Int(entry.row)], level: entry.level).word }
    }

    private mutating func append(_ node: UInt32) {
        self.place[Int(node)] = UInt32(self.nodes.count)
        self.nodes.append(node)
    }

    private mutating func putUpperFirst(_ source: HNSWGraph) {
        let isUpper = { (node: UInt32) in source.levels[Int(node)] > 0 }
        self.nodes = self.nodes.filter(isUpper) + self.nodes.filter { !isUpper($0) }
        for (place, node) in self.nodes.enumerated() { self.place[Int(node)] = UInt32(place) }
    }

    private mutating func follow(_ start: UInt32, _ source: HNSWGraph) {
        var next = self.nodes.count
        self.append(start)
        while next < self.nodes.count {
            let links = source.view.links(self.nodes[next], level: 0)
            for i in 0..<source.m0 {
                let link = links[i]
                if link == VK_NO_ROW { break }
                if self.place[Int(link)] == VK_NO_ROW { self.append(link) }
            }
            next += 1
        }
    }
}

/// Recall of a sealed graph on its own points.
private struct SealTrial {
    let coded: HNSWGraph
    let floats: HNSWGraph
    private static let queries = 200
    private static let k = 10
    /// What stands for the truth: floats with so many candidates.
    private static let truthEf = 400
    /// Recall that codes may cost at each of the efs, beside chance.
    private static let losses = [0.01, 0.005]

    /// Nil if interrupted.
    func run(_ interrupted: () -> Bool) -> SealReport.Trial? {
        let scratch = SearchScratch()
        let top = TopK()
        let count = min(Self.queries, self.floats.linked)
        let queries = (0..<count).map { UInt32($0 * self.floats.linked / count) }
        var truths: [Float] = []
        for node in queries {
            if interrupted() { return nil }
            truths.append(self.find(self.floats, node, ef: Self.truthEf, scratch, top).map(\.distance).max() ?? 0)
        }
        func recall(_ graph: HNSWGraph, _ ef: Int) -> Double {
            var hits = 0
            for (node, limit) in zip(queries, truths) {
                if interrupted() { return 0 }
                let found = self.find(graph, node, ef: ef, scratch, top)
                hits += found.filter { self.distance(node, $0.row) <= limit + 1e-6 * abs(limit) }.count
            }
            return Double(hits) / Double(max(1, count * min(Self.k, self.floats.linked - 1)))
        }
        let baseline = HNSWGraph.trialEfs.map { recall(self.floats, $0) }
        let recalls = HNSWGraph.trialEfs.map { recall(self.coded, $0) }
        if interrupted() { return nil }
        let holds = zip(zip(recalls, baseline), Self.losses).allSatisfy { $0.0 >= $0.1 - $1 }
        return SealReport.Trial(
            kind: self.coded.kind, halves: self.coded.halves != nil, recalls: recalls, baseline: baseline, holds: holds)
    }

    private func vector(_ row: UInt32) -> UnsafePointer<Float> {
        self.floats.rows.base + Int(row) * self.floats.rows.stride
    }

    private func distance(_ node: UInt32, _ row: UInt32) -> Float {
        let rows = self.floats.rows
        let query = self.vector(self.floats.row(of: node))
        return rows.metric == .l2
            ? VectorMath.l2(query, self.vector(row), count: rows.dimension)
            : 1 - VectorMath.dot(query, self.vector(row), count: rows.dimension)
    }

    /// The nearest to a point, itself left out.
    private func find(_ graph: HNSWGraph, _ node: UInt32, ef: Int, _ scratch: SearchScratch, _ top: TopK) -> [Neighbour]
    {
        let row = self.floats.row(of: node)
        var request = GraphSearch(query: self.vector(row), k: Self.k + 1)
        request.ef = ef
        request.strategy = .plainWalk
        top.reset(k: request.k)
        graph.search(request, scratch: scratch, into: top)
        return top.neighbours().filter { $0.row != row }.prefix(Self.k).map { $0 }
    }
}
