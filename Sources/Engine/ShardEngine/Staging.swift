import Glibc
import JournalFormat
import PayloadIndex
import Primitives

/// What has been read from entries and written into rows, but is not visible yet. The applying thread's own.
///
/// Rows go straight to their final place, behind the published rows of the growing segment; when that is full, into
/// another one that nobody knows of yet. ``ShardEngine/publish(through:)`` makes all of it visible at once;
/// ``discard()`` forgets it.
final class Staging {
    struct Operation {
        var hash: UInt64
        var id: UnsafeRawPointer
        var idCount: UInt32
        /// Position in ``Staging/targets``; -1: delete.
        var target: Int32
        var row: UInt32
    }
    /// A segment that takes rows.
    struct Target {
        var segment: Segment
        /// Not in the engine's list yet.
        var isNew: Bool
        /// Payload index values of its staged rows.
        var prepared: PreparedRows
    }

    private(set) var operations: ContiguousArray<Operation> = []
    private(set) var targets: [Target] = []
    private(set) var rows = 0
    var bytes = 0
    var offset: JournalOffset = 0
    var hlc = HLCTimestamp.zero

    let shape: SegmentShape
    private let columnNames: [[UInt8]]
    private let makeSegment: () throws(VecraftError) -> Segment
    private var spare = PreparedRows()

    init(shape: SegmentShape, makeSegment: @escaping () throws(VecraftError) -> Segment) {
        self.shape = shape
        self.columnNames = shape.columns.map { [UInt8]($0.name.utf8) }
        self.makeSegment = makeSegment
    }

    var isEmpty: Bool { self.operations.isEmpty }

    /// The segment that takes rows, if one is there already.
    func begin(growing: Segment?) {
        guard self.targets.isEmpty, let growing else { return }
        self.targets.append(Target(segment: growing, isNew: false, prepared: self.takeSpare()))
    }

    /// After publication.
    func clear() {
        for i in self.targets.indices {
            self.targets[i].prepared.removeAll()
            self.spare = self.targets[i].prepared
        }
        self.operations.removeAll(keepingCapacity: true)
        self.targets.removeAll(keepingCapacity: true)
        self.rows = 0
        self.bytes = 0
    }

    /// Forgets what was staged and not published.
    func discard() {
        for target in self.targets {
            let segment = target.segment
            segment.stagedRows = segment.rowCount
            segment.stagedHeap = 0
            if segment.rowCount > 0 {
                let last = segment.storage.rows[segment.rowCount - 1]
                segment.stagedHeap = Int(last.heapOffset) + last.heapBytes
            }
        }
        self.clear()
    }

    private func takeSpare() -> PreparedRows {
        var rows = PreparedRows()
        swap(&rows, &self.spare)
        return rows
    }

    // MARK: Operations

    /// - Parameter id: Must live until publication.
    func delete(_ id: UnsafeRawBufferPointer) {
        self.operations.append(
            Operation(
                hash: StableHash.of(id), id: id.baseAddress!, idCount: UInt32(id.count), target: -1, row: 0))
    }

    func upsert(_ point: PointView, version: HLCTimestamp) throws(StagingFault) {
        do throws(EntryRefusal) { try EntryJudgement.checkText(point) } catch { throw .content(error.what) }
        let payloadCount = point.payload?.count ?? 0
        let target = try self.target(heapBytes: point.id.count + payloadCount)
        let segment = self.targets[target].segment
        let row = segment.stagedRows
        let storage = segment.storage
        let heapStart = segment.stagedHeap
        let heap = storage.heap + heapStart
        heap.copyMemory(from: point.id.baseAddress!, byteCount: point.id.count)
        if let payload = point.payload, payloadCount > 0 {
            (heap + point.id.count).copyMemory(from: payload.baseAddress!, byteCount: payloadCount)
        }
        let present = try self.store(point, row, storage)
        let id = UnsafeRawBufferPointer(start: heap, count: point.id.count)
        var record = RowRecord(
            version: version.rawValue, digest: 0, heapOffset: UInt64(heapStart),
            payloadCount: point.payload == nil ? RowRecord.noPayload : UInt32(payloadCount), idCount: UInt16(id.count),
            present: present)
        record.digest = PointDigest.of(record, storage, row, self.shape)
        storage.rows[row] = record
        segment.payloads.prepare(record.payload(in: storage.heap), into: &self.targets[target].prepared)
        segment.stagedRows = row + 1
        segment.stagedHeap = heapStart + record.heapBytes
        self.rows += 1
        self.operations.append(
            Operation(
                hash: StableHash.of(id), id: id.baseAddress!, idCount: UInt32(id.count), target: Int32(target),
                row: UInt32(row)))
    }

    /// Copies the point's vectors into their columns.
    /// - Returns: Bit by column, which were given.
    private func store(_ point: PointView, _ row: Int, _ storage: SegmentStorage) throws(StagingFault) -> UInt16 {
        var present: UInt16 = 0
        try point.forEachVector { (name, values) throws(StagingFault) in
            guard let index = self.column(name) else {
                throw .content("a vector \"\(String(decoding: name, as: UTF8.self))\" that the collection does not have")
            }
            let column = self.shape.columns[index]
            guard values.count == column.dimension else {
                throw .content("vector \"\(column.name)\" of \(values.count) components, not \(column.dimension)")
            }
            guard present >> UInt16(index) & 1 == 0 else { throw .content("vector \"\(column.name)\" given twice") }
            present |= 1 << UInt16(index)
            let place = storage.vector(index, row, stride: column.stride)
            if column.metric == .cosine {
                guard ExactArithmetic.normalise(values.baseAddress!, column.dimension, into: place) else {
                    throw .content("vector \"\(column.name)\" has no direction")
                }
            } else {
                guard ExactArithmetic.isFinite(values.baseAddress!, column.dimension) else {
                    throw .content("vector \"\(column.name)\" has a component that is not finite")
                }
                place.update(from: values.baseAddress!, count: column.dimension)
            }
        }
        return present
    }

    private func column(_ name: UnsafeRawBufferPointer) -> Int? {
        for i in self.columnNames.indices where self.columnNames[i].count == name.count {
            if name.count == 0 { return i }
            if self.columnNames[i].withUnsafeBytes({ memcmp($0.baseAddress!, name.baseAddress!, name.count) }) == 0 {
                return i
            }
        }
        return nil
    }

    /// The segment for the next row, with memory for it.
    private func target(heapBytes: Int) throws(StagingFault) -> Int {
        precondition(
            heapBytes <= self.shape.heapCapacity,
            "a point of \(heapBytes) bytes; a segment holds \(self.shape.heapCapacity)")
        do throws(VecraftError) {
            if let last = self.targets.last?.segment, last.stagedRows < last.storage.capacity,
                last.stagedHeap + heapBytes <= self.shape.heapCapacity
            {
                try self.commit(last, heapBytes)
            } else {
                let segment = try self.makeSegment()
                self.targets.append(Target(segment: segment, isNew: true, prepared: self.takeSpare()))
                try self.commit(segment, heapBytes)
            }
        } catch {
            throw .resources(error)
        }
        return self.targets.count - 1
    }

    private func commit(_ segment: Segment, _ heapBytes: Int) throws(VecraftError) {
        guard let memory = segment.storage.memory else { preconditionFailure("rows for a mapped segment") }
        let rows = segment.stagedRows + 1
        try memory.rows.commit(through: rows * RowRecord.bytes)
        try memory.heap.commit(through: segment.stagedHeap + heapBytes)
        for (column, shape) in zip(memory.columns, self.shape.columns) {
            try column.commit(through: rows * shape.rowBytes)
        }
    }
}

/// Why a point could not be staged.
enum StagingFault: Error {
    /// The entry holds what the gateway should have refused.
    case content(String)
    /// No memory; the same entry may be applied later.
    case resources(VecraftError)
}

/// A point's share of the shard's digest.
enum PointDigest {
    /// Hash of id, version, vectors (names and stored bits) and payload: nothing of where the point lies.
    static func of(_ record: RowRecord, _ storage: SegmentStorage, _ row: Int, _ shape: SegmentShape) -> UInt64 {
        var hash = StableHash()
        let id = record.id(in: UnsafeRawPointer(storage.heap))
        hash.combine(UInt64(id.count))
        hash.combine(id)
        hash.combine(record.version)
        for index in shape.columns.indices where record.present >> UInt16(index) & 1 == 1 {
            let column = shape.columns[index]
            hash.combine(column.nameHash)
            hash.combine(
                UnsafeRawBufferPointer(
                    start: storage.vector(index, row, stride: column.stride), count: column.dimension * 4))
        }
        if let payload = record.payload(in: UnsafeRawPointer(storage.heap)) {
            hash.combine(UInt64(payload.count))
            hash.combine(payload)
        } else {
            hash.combine(UInt64.max)
        }
        return hash.finish()
    }
}
