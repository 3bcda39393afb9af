import Filter
import HNSW
import PayloadIndex
package import Primitives
import Synchronization
import VectorKernels

extension ShardEngine {
    /// The points nearest to the query. If `limit` points match, `limit` come back.
    ///
    /// - Throws: INVALID_ARGUMENT naming the field; DEADLINE_EXCEEDED.
    package func search(_ request: ShardSearch) throws(VecraftError) -> ShardSearchResult {
        try self.checkOpen()
        let deadline = Deadline(request.deadline)
        try deadline.check()
        let column = try self.validate(request)
        let context = self.contexts.take()
        defer { self.contexts.give(context) }
        try self.prepare(request, column, context)
        let filter = request.filter.flatMap { $0.isEmpty ? nil : CompiledFilter($0, fields: self.shape.fields) }
        var asked: RememberedFilter?
        if let filter, !request.exact, self.settings.filterGraphShare > 0 {
            asked = self.filterGraphs.remember(filter.filter, now: monotonicNanoseconds())
        }
        return try self.lock.reading { () throws(VecraftError) in
            var plan = ShardSearchPlan()
            if let filter {
                plan.matching = 0
                plan.unindexed = filter.unindexed
            }
            let usesGraph = !request.exact && self.segments.contains { $0.linkedRows(column) > 0 }
            if usesGraph {
                try self.searchGraphs(request, column, filter, asked, context, deadline, &plan)
            } else {
                try self.searchExactly(request, column, filter, context, deadline, &plan)
            }
            return try self.answer(request, column, context, usesGraph, plan)
        }
    }

    private func validate(_ request: ShardSearch) throws(VecraftError) -> Int {
        guard let column = self.schema.vectorIndex(request.using) else {
            throw .invalid("using", "the collection has no vector \"\(request.using)\"")
        }
        guard (1...Limits.searchLimit).contains(request.limit) else {
            throw .invalid("limit", "\(request.limit) is not in 1...\(Limits.searchLimit)")
        }
        guard (0...Limits.searchLimit).contains(request.ef) else {
            throw .invalid("ef", "\(request.ef) is not in 0...\(Limits.searchLimit)")
        }
        let dimension = self.shape.columns[column].dimension
        guard request.query.count == dimension else {
            throw .invalid("vector", "\(request.query.count) components, not \(dimension)")
        }
        return column
    }

    /// The query, normalised if need be, in the context's aligned memory.
    private func prepare(_ request: ShardSearch, _ column: Int, _ context: SearchContext) throws(VecraftError) {
        let shape = self.shape.columns[column]
        let query = request.query.baseAddress!
        context.reserveQuery(shape.dimension)
        guard ExactArithmetic.isFinite(query, shape.dimension) else {
            throw .invalid("vector", "a component is not finite")
        }
        if shape.metric == .cosine {
            guard ExactArithmetic.normalise(query, shape.dimension, into: context.query) else {
                throw .invalid("vector", "a zero vector has no direction to compare by cosine")
            }
        } else {
            context.query.update(from: query, count: shape.dimension)
        }
    }

    // MARK: Segments

    private func searchExactly(
        _ request: ShardSearch, _ column: Int, _ filter: CompiledFilter?, _ context: SearchContext,
        _ deadline: Deadline,
        _ plan: inout ShardSearchPlan
    ) throws(VecraftError) {
        context.nearest.reset(limit: request.limit)
        let views = self.table.views
        for segment in self.segments where self.isAsked(segment, column, filter) {
            var matches: [UInt64]?
            guard try self.select(filter, segment, column, context, deadline, &plan, &matches) > 0 else { continue }
            let measured = context.withAllowed(filter != nil) { allowed in
                ExactScan.scan(segment, column, 0..<segment.rowCount, allowed: allowed, context, views) {
                    deadline.hasPassed
                }
            }
            guard let measured else { throw deadline.error }
            plan.visited += UInt64(measured)
            plan.strategies.insert(.exact)
        }
        context.nearest.sort(views)
    }

    private func searchGraphs(
        _ request: ShardSearch, _ column: Int, _ filter: CompiledFilter?, _ asked: RememberedFilter?,
        _ context: SearchContext, _ deadline: Deadline,
        _ plan: inout ShardSearchPlan
    ) throws(VecraftError) {
        let top = context.top
        top.reset(k: request.limit)
        for segment in self.segments where self.isAsked(segment, column, filter) {
            var place: FilterPlace?
            var matches: [UInt64]?
            var began: UInt64 = 0
            if let asked, segment.state == .sealed, segment.graphs[column] != nil {
                let here = FilterPlace(segment: segment.number, column: column)
                switch asked.find(here) {
                case .ready(let graph):
                    try self.searchMatches(request, segment, graph, context, deadline, &plan)
                    continue
                case .wanted: matches = []
                case .nothing: place = here
                case .ordered: break
                }
                began = monotonicNanoseconds()
            }
            let selected = try self.select(filter, segment, column, context, deadline, &plan, &matches)
            if let asked, let matches, !matches.isEmpty {
                self.order(asked, FilterPlace(segment: segment.number, column: column), segment, matches)
            }
            guard selected > 0 else { continue }
            let linked = segment.linkedRows(column)
            // A tail that lacks the vector in places needs its rows named. A graph knows its own.
            let isPatchy = linked < segment.rowCount && segment.presentCount[column] < segment.rowCount
            if filter == nil, isPatchy { context.allow(presentIn: segment, column) }
            let interrupted = context.withAllowed(filter != nil || isPatchy) { allowed in
                var interrupted = false
                if linked < segment.rowCount {
                    interrupted = self.searchWaiting(
                        request, column, segment, linked, allowed, context, deadline, &plan)
                }
                if linked > 0, !interrupted {
                    var search = GraphSearch(query: UnsafePointer(context.query), k: request.limit)
                    search.ef = request.ef
                    search.rowLimit = UInt32(linked)
                    search.segment = segment.slot
                    search.deleted = UnsafePointer(segment.deleted.words)
                    if filter != nil {
                        search.allowed = allowed
                        if linked == segment.rowCount { search.allowedCount = selected }
                    }
                    let stats = segment.graphs[column]!.search(
                        search, scratch: context.scratch, into: top, interrupted: { deadline.hasPassed })
                    plan.visited += UInt64(stats.distances)
                    plan.strategies.insert(Self.strategy(stats.strategy, filtered: filter != nil))
                    interrupted = stats.interrupted
                }
                return interrupted
            }
            if interrupted { throw deadline.error }
            if let place, let asked {
                self.note(asked, place, segment, k: request.limit, ef: request.ef, selected: selected, began: began)
            }
        }
        top.sort()
    }

    /// Searches the rows of a segment that the filter matches by the graph they have of their own.
    private func searchMatches(
        _ request: ShardSearch, _ segment: Segment, _ graph: FilterGraph, _ context: SearchContext,
        _ deadline: Deadline, _ plan: inout ShardSearchPlan
    ) throws(VecraftError) {
        try deadline.check()
        let live = graph.live(segment)
        var search = GraphSearch(query: UnsafePointer(context.query), k: request.limit)
        search.ef = request.ef
        search.segment = segment.slot
        search.deleted = UnsafePointer(segment.deleted.words)
        let stats = graph.matches.withUnsafeBufferPointer { matches in
            search.allowed = matches.baseAddress
            return graph.graph.search(
                search, live: live.members, scratch: context.scratch, into: context.top,
                interrupted: { deadline.hasPassed })
        }
        plan.visited += UInt64(stats.distances)
        if stats.interrupted { throw deadline.error }
        graph.used.store(monotonicNanoseconds(), ordering: .relaxed)
        plan.matching! += UInt64(live.matching)
        if live.members > 0 { plan.strategies.insert(Self.strategy(stats.strategy, filtered: true)) }
    }

    /// Scans the rows of a segment that are not linked: on codes as far as there are, the rest on floats.
    /// - Returns: True if the deadline passed.
    private func searchWaiting(
        _ request: ShardSearch, _ column: Int, _ segment: Segment, _ linked: Int, _ allowed: UnsafePointer<UInt64>?,
        _ context: SearchContext, _ deadline: Deadline, _ plan: inout ShardSearchPlan
    ) -> Bool {
        let end = UInt32(segment.rowCount)
        var start = UInt32(linked)
        var interrupted = false
        func note(_ stats: SearchStats) {
            plan.visited += UInt64(stats.distances)
            if stats.distances > 0 { plan.strategies.insert(.exact) }
            interrupted = interrupted || stats.interrupted
        }
        if let graph = segment.graphs[column] {
            var search = GraphSearch(query: UnsafePointer(context.query), k: request.limit)
            search.segment = segment.slot
            search.deleted = UnsafePointer(segment.deleted.words)
            search.allowed = allowed
            let coded = max(start, min(graph.codedRows, end))
            if coded > start {
                note(
                    graph.scanWaiting(
                        search, range: start..<coded, scratch: context.scratch, into: context.top,
                        interrupted: { deadline.hasPassed }))
            }
            start = coded
        }
        if start < end, !interrupted {
            note(
                ExactSearch.scan(
                    segment.rows(column), range: start..<end, query: UnsafePointer(context.query), allowed: allowed,
                    deleted: UnsafePointer(segment.deleted.words), segment: segment.slot, scratch: context.scratch,
                    into: context.top, interrupted: { deadline.hasPassed }))
        }
        return interrupted
    }

    private static func strategy(_ strategy: GraphSearch.Strategy, filtered: Bool) -> ShardSearchPlan.Strategies {
        switch strategy {
        case .exact: .exact
        default: filtered ? .filteredGraph : .graph
        }
    }

    /// A segment without the vector holds no answer, but its matches count as well.
    private func isAsked(_ segment: Segment, _ column: Int, _ filter: CompiledFilter?) -> Bool {
        filter == nil ? segment.presentCount[column] > 0 : segment.liveCount > 0
    }

    /// Evaluates the filter on a segment: the context's `matching` then holds the live rows that match and have the vector.
    ///
    /// - Parameter matches: If not nil, becomes the live rows that match, with the vector or without.
    /// - Returns: How many they are; without a filter, an upper bound.
    private func select(
        _ filter: CompiledFilter?, _ segment: Segment, _ column: Int, _ context: SearchContext,
        _ deadline: Deadline, _ plan: inout ShardSearchPlan, _ matches: inout [UInt64]?
    ) throws(VecraftError) -> Int {
        guard let filter else { return min(segment.liveCount, segment.presentCount[column]) }
        try self.evaluate(filter, segment, context, deadline)
        var matching = 0
        var selected = 0
        context.matching.withUnsafeMutableWords { words in
            if matches != nil { matches = words.indices.map { words[$0] & ~segment.deleted.words[$0] } }
            for w in words.indices {
                let live = words[w] & ~segment.deleted.words[w]
                let present = live & segment.present[column].words[w]
                matching &+= live.nonzeroBitCount
                selected &+= present.nonzeroBitCount
                words[w] = present
            }
        }
        plan.matching! += UInt64(matching)
        return selected
    }

    /// Bytes of payloads read between two looks at the clock: some tens of microseconds.
    private static let payloadBytesPerCheck = 16 << 10

    /// Rows of a segment that a filter matches, deleted ones among them, into the context's `matching`. Under the lock.
    func evaluate(
        _ filter: CompiledFilter, _ segment: Segment, _ context: SearchContext, _ deadline: Deadline = Deadline(nil)
    ) throws(VecraftError) {
        let storage = segment.storage
        let views = self.table.views
        var read = 0
        do throws(EvaluationStopped) {
            try segment.payloads.evaluate(
                filter, rows: segment.rowCount,
                payloadOf: { (row) throws(EvaluationStopped) in
                    let payload = storage.payload(Int(row))
                    // A look at the clock costs as much as reading a small payload; to find one, as much as some bytes of it.
                    read += 64 + (payload?.count ?? 0)
                    if read > Self.payloadBytesPerCheck {
                        read = 0
                        if deadline.hasPassed { throw EvaluationStopped() }
                    }
                    return payload
                },
                idRows: { id in
                    var id = id
                    let location = id.withUTF8 { utf8 in
                        let raw = UnsafeRawBufferPointer(utf8)
                        return self.ids.find(StableHash.of(raw)) { views.matches($0, raw) }?.pointee.location
                    }
                    guard let location else { return nil }
                    let place = views.resolve(Location(rawValue: location))
                    return place.slot == segment.slot ? place.row : nil
                }, scratch: &context.filterScratch, into: &context.matching)
        } catch {
            throw deadline.error
        }
    }

    // MARK: Answer

    private func answer(
        _ request: ShardSearch, _ column: Int, _ context: SearchContext, _ usesGraph: Bool, _ plan: ShardSearchPlan
    ) throws(VecraftError) -> ShardSearchResult {
        let count = usesGraph ? context.top.count : context.nearest.count
        var distances: [Float] = []
        distances.reserveCapacity(count)
        var places: [Location] = []
        places.reserveCapacity(count)
        for i in 0..<count {
            if usesGraph {
                let found = context.top[i]
                distances.append(found.distance)
                places.append(Location(slot: found.segment, row: found.row))
            } else {
                distances.append(vk_distance(context.nearest[i].key))
                places.append(context.nearest[i].location)
            }
        }
        if usesGraph { self.orderTies(distances, &places) }
        var room = request.room
        room.deadline = request.deadline
        let columns = request.onlyUsedVector ? column..<column + 1 : self.shape.columns.indices
        return ShardSearchResult(
            points: try self.batch(places, request.withVectors ? columns : nil, withPayload: request.withPayload, room),
            distances: distances, applied: self.applied, plan: plan)
    }

    /// Points at one distance in the order of their ids, as an exact search has them.
    private func orderTies(_ distances: [Float], _ places: inout [Location]) {
        let views = self.table.views
        var start = 0
        while start < distances.count {
            var end = start + 1
            while end < distances.count, distances[end] == distances[start] { end += 1 }
            if end - start > 1 { places[start..<end].sort { ByteOrder.less(views.id($0), views.id($1)) } }
            start = end
        }
    }

    /// Copies points out. Under the lock.
    /// - Throws: RESOURCE_EXHAUSTED when they would take more than the room there is.
    func batch(
        _ places: [Location], _ columns: Range<Int>?, withPayload: Bool, _ room: AnswerRoom
    ) throws(VecraftError) -> PointBatch {
        let batch = try self.batchThatFits(places, columns, withPayload: withPayload, room)
        guard batch.count == places.count else { throw AnswerRoom.exceeded(room.bytes) }
        return batch
    }

    /// As many of the points as there is room for.
    func batchThatFits(
        _ places: [Location], _ columns: Range<Int>?, withPayload: Bool, _ room: AnswerRoom
    ) throws(VecraftError) -> PointBatch {
        let deadline = Deadline(room.deadline)
        var batch = PointBatch()
        batch.reserve(points: places.count)
        var left = room.bytes
        for (i, place) in places.enumerated() {
            // A look at the clock costs as much as copying a small point.
            if i % 16 == 15 { try deadline.check() }
            let segment = self.table.segments[Int(place.slot)]!
            left -= room.bytes(segment, Int(place.row), columns, withPayload: withPayload)
            if left < 0 { return batch }
            batch.append(segment, Int(place.row), columns, withPayload: withPayload)
        }
        return batch
    }
}

/// A moment of the monotonic clock after which a read gives up.
struct Deadline {
    let nanoseconds: UInt64?

    init(_ nanoseconds: UInt64?) { self.nanoseconds = nanoseconds }

    var hasPassed: Bool {
        guard let nanoseconds else { return false }
        return monotonicNanoseconds() >= nanoseconds
    }

    func check() throws(VecraftError) { if self.hasPassed { throw self.error } }

    var error: VecraftError { VecraftError(.deadlineExceeded, "the deadline passed in the shard", reason: "DEADLINE") }
}

extension SearchContext {
    /// `matching` as a bitmap of rows that may be returned; nil if none was asked for.
    func withAllowed<R>(_ isMasked: Bool, _ body: (UnsafePointer<UInt64>?) -> R) -> R {
        guard isMasked else { return body(nil) }
        return self.matching.withUnsafeWords { body($0.baseAddress) }
    }

    /// Makes `matching` the rows that have a vector.
    func allow(presentIn segment: Segment, _ column: Int) {
        self.matching.reset(size: segment.rowCount)
        self.matching.withUnsafeMutableWords { words in
            for w in words.indices { words[w] = segment.present[column].words[w] }
        }
    }
}
