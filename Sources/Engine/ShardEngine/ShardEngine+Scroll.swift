package import Filter
import PayloadIndex
package import Primitives

extension ShardEngine {
    /// Points one scroll call may look at when it reads payloads: about 30 ms.
    private static let scrolledRows = 20_000
    /// Below this many expected matches they are collected and sorted rather than met in id order.
    private static let collectedRows = 20_000

    /// One page in id order, after `after` (exclusive; nil: from the start).
    ///
    /// A point that exists throughout a scroll is met exactly once, whatever is written meanwhile: the last id says where
    /// to go on, and ids do not move.
    package func scroll(
        after: [UInt8]?, filter: Filter? = nil, limit: Int, withVectors: Bool = false, withPayload: Bool = true,
        deadline: UInt64? = nil, room: AnswerRoom = AnswerRoom()
    ) throws(VecraftError) -> ShardScrollResult {
        try self.checkOpen()
        guard limit >= 1 else { throw .invalid("page_size", "\(limit) is below 1") }
        let end = Deadline(deadline)
        try end.check()
        let compiled = filter.flatMap { $0.isEmpty ? nil : CompiledFilter($0, fields: self.shape.fields) }
        let context = self.contexts.take()
        defer { self.contexts.give(context) }
        var room = room
        room.deadline = deadline
        let columns = withVectors ? self.shape.columns.indices : nil
        func page(_ after: UnsafeRawBufferPointer?) throws(VecraftError) -> ShardScrollResult {
            try self.lock.reading { () throws(VecraftError) in
                let found = self.isSelective(compiled)
                    ? try self.collect(compiled!, after, limit, context, end)
                    : try self.walk(compiled, after, limit, end)
                return try self.page(found, columns, withPayload: withPayload, room)
            }
        }
        guard let after else { return try page(nil) }
        return try after.withBytes { (raw) throws(VecraftError) in try page(raw) }
    }

    /// The points of a page, cut where its room ends, though never before its first point.
    private func page(
        _ found: Page, _ columns: Range<Int>?, withPayload: Bool, _ room: AnswerRoom
    ) throws(VecraftError) -> ShardScrollResult {
        var points = try self.batchThatFits(found.places, columns, withPayload: withPayload, room)
        guard points.count < found.places.count else {
            return ShardScrollResult(points: points, next: found.next, applied: self.applied)
        }
        if points.isEmpty {
            points = try self.batch([found.places[0]], columns, withPayload: withPayload, AnswerRoom())
        }
        let last = points.withID(points.count - 1) { [UInt8]($0) }
        return ShardScrollResult(points: points, next: points.count == found.places.count ? found.next : last, applied: self.applied)
    }

    private typealias Page = (places: [Location], next: [UInt8]?)

    private func isSelective(_ filter: CompiledFilter?) -> Bool {
        guard let filter else { return false }
        var most = 0
        for segment in self.segments {
            most += segment.payloads.estimate(filter, rows: segment.rowCount).upper
            if most > Self.collectedRows { return false }
        }
        return true
    }

    // MARK: Few matches

    private func collect(
        _ filter: CompiledFilter, _ after: UnsafeRawBufferPointer?, _ limit: Int, _ context: SearchContext,
        _ deadline: Deadline
    ) throws(VecraftError) -> Page {
        let views = self.table.views
        var places: [Location] = []
        for segment in self.segments where segment.liveCount > 0 {
            try self.evaluate(filter, segment, context, deadline)
            context.matching.forEach { row in
                guard !segment.deleted[row] else { return }
                if let after, !ByteOrder.less(after, segment.storage.id(row)) { return }
                places.append(Location(slot: segment.slot, row: UInt32(row)))
            }
        }
        places.sort { ByteOrder.less(views.id($0), views.id($1)) }
        guard places.count > limit else { return (places, nil) }
        return (Array(places[..<limit]), [UInt8](views.id(places[limit - 1])))
    }

    // MARK: Many

    private func walk(
        _ filter: CompiledFilter?, _ after: UnsafeRawBufferPointer?, _ limit: Int, _ deadline: Deadline
    ) throws(VecraftError) -> Page {
        let views = self.table.views
        var cursors = IDCursors()
        for segment in self.segments where segment.liveCount > 0 { cursors.add(segment, after: after) }
        var places: [Location] = []
        places.reserveCapacity(limit)
        var looked = 0
        while let (segment, row) = cursors.next() {
            let place = Location(slot: segment.slot, row: row)
            if let filter {
                looked += 1
                if looked % 64 == 0 { try deadline.check() }
                let storage = segment.storage
                if filter.matches(id: storage.id(Int(row)), payload: storage.payload(Int(row))) { places.append(place) }
            } else {
                places.append(place)
            }
            if places.count == limit || looked == Self.scrolledRows {
                return (places, cursors.isAtEnd ? nil : [UInt8](views.id(place)))
            }
        }
        return (places, nil)
    }
}

/// The live rows of several segments in id order, from a place on.
struct IDCursors {
    private struct Cursor {
        var segment: Segment
        /// Keeps `rows` alive.
        var owner: AnyObject
        var rows: UnsafeBufferPointer<UInt32>
        var position: Int

        var id: UnsafeRawBufferPointer { self.segment.storage.id(Int(self.rows[self.position])) }
    }
    /// A binary heap, the least id first.
    private var heap: [Cursor] = []

    var isAtEnd: Bool { self.heap.isEmpty }

    mutating func add(_ segment: Segment, after: UnsafeRawBufferPointer?) {
        if let order = segment.order {
            self.add(segment, order, after)
            return
        }
        let runs = segment.runs.full(segment.rowCount, segment.storage)
        for run in runs { self.add(segment, run, after) }
        let tail = runs.count * IDRuns.runRows
        guard tail < segment.rowCount else { return }
        let storage = segment.storage
        let rest = (tail..<segment.rowCount).filter { row in
            guard !segment.deleted[row] else { return false }
            guard let after else { return true }
            return ByteOrder.less(after, storage.id(row))
        }
        self.add(segment, IDOrder(IDOrder.sort(rest, of: storage), owner: nil), nil)
    }

    private mutating func add(_ segment: Segment, _ order: IDOrder, _ after: UnsafeRawBufferPointer?) {
        var cursor = Cursor(
            segment: segment, owner: order, rows: order.rows,
            position: IDOrder.position(in: order.rows, after: after, segment.storage))
        guard Self.skipDeleted(&cursor) else { return }
        self.heap.append(cursor)
        var i = self.heap.count - 1
        while i > 0, ByteOrder.less(self.heap[i].id, self.heap[(i - 1) / 2].id) {
            self.heap.swapAt(i, (i - 1) / 2)
            i = (i - 1) / 2
        }
    }

    /// The least live row; the cursor moves behind it.
    mutating func next() -> (Segment, UInt32)? {
        guard !self.heap.isEmpty else { return nil }
        let found = (self.heap[0].segment, self.heap[0].rows[self.heap[0].position])
        self.heap[0].position += 1
        if !Self.skipDeleted(&self.heap[0]) {
            let last = self.heap.removeLast()
            if self.heap.isEmpty { return found }
            self.heap[0] = last
        }
        self.sink()
        return found
    }

    private static func skipDeleted(_ cursor: inout Cursor) -> Bool {
        while cursor.position < cursor.rows.count, cursor.segment.deleted[Int(cursor.rows[cursor.position])] {
            cursor.position += 1
        }
        return cursor.position < cursor.rows.count
    }

    private mutating func sink() {
        var i = 0
        while true {
            var child = 2 * i + 1
            guard child < self.heap.count else { return }
            if child + 1 < self.heap.count, ByteOrder.less(self.heap[child + 1].id, self.heap[child].id) { child += 1 }
            guard ByteOrder.less(self.heap[child].id, self.heap[i].id) else { return }
            self.heap.swapAt(i, child)
            i = child
        }
    }
}
