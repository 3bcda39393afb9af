import HNSW
import PayloadIndex
import Primitives
import Synchronization

/// Some rows of a shard, searched as one unit.
///
/// A segment *grows* (one writer appends rows), is *closed* (full; what it lacks of graphs and indexes is being made) and
/// then *sealed* (final, in files). Rows never change and never move within a segment; a row of a point that was
/// replaced or deleted is marked.
///
/// `@unchecked Sendable`: what changes is guarded by the shard's lock (fields under "Published"), belongs to the one
/// applying thread ("Staged") or to whoever holds the shard's structure mutex ("Stored").
final class Segment: @unchecked Sendable {
    let number: UInt64
    let shape: SegmentShape
    let storage: SegmentStorage

    // MARK: Published, guarded by the shard's lock

    var slot: UInt32 = 0
    var state: ShardManifest.SegmentState
    private(set) var rowCount = 0
    private(set) var deletedCount = 0
    /// Grows with every row deleted: tells whether what was stored is still true.
    private(set) var deletions: UInt64 = 0
    let deleted: Bits
    /// Which rows have each vector.
    let present: [Bits]
    private(set) var presentCount: [Int]
    var payloads: SegmentPayloadIndex
    /// A graph for each vector; nil while there is none.
    var graphs: [HNSWGraph?]
    /// Who links rows into the graphs; nil when there is nothing to link.
    var linkers: [Linker?]
    /// Rows sorted by id; nil until made, and ``runs`` serve.
    var order: IDOrder?
    let runs = IDRuns()

    /// As ``rowCount``, for threads without the lock.
    let visibleRows = Atomic<Int>(0)
    /// Its live rows are being copied into another segment: linking and sealing it would be wasted.
    var isMerging = false

    // MARK: Staged, the applying thread's

    var stagedRows = 0
    var stagedHeap = 0

    // MARK: Stored, guarded by the structure mutex

    var stored = StoredSegment()
    /// Derived files that were damaged or missing at the start, until they are made again.
    var rebuilding: [String] = []

    init(number: UInt64, shape: SegmentShape, storage: SegmentStorage, state: ShardManifest.SegmentState) {
        self.number = number
        self.shape = shape
        self.storage = storage
        self.state = state
        self.deleted = Bits.allocate(bits: storage.capacity)
        self.present = shape.columns.map { _ in Bits.allocate(bits: storage.capacity) }
        self.presentCount = shape.columns.map { _ in 0 }
        self.payloads = SegmentPayloadIndex(fields: shape.fields)
        self.graphs = shape.columns.map { _ in nil }
        self.linkers = shape.columns.map { _ in nil }
    }

    deinit {
        self.deleted.deallocate()
        for bits in self.present { bits.deallocate() }
    }

    var liveCount: Int { self.rowCount - self.deletedCount }
    /// Share of rows that are deleted.
    var deletedShare: Double { self.rowCount == 0 ? 0 : Double(self.deletedCount) / Double(self.rowCount) }

    /// Makes rows up to `count` visible. Their payloads are in the index already.
    func publish(rows count: Int) {
        for row in self.rowCount..<count {
            let present = self.storage.rows[row].present
            for column in 0..<self.present.count where present >> UInt16(column) & 1 == 1 {
                self.present[column].set(row)
                self.presentCount[column] += 1
            }
        }
        self.rowCount = count
        self.visibleRows.store(count, ordering: .releasing)
    }

    /// Marks a row's point as deleted or replaced.
    func delete(row: Int) {
        precondition(!self.deleted[row], "row \(row) of segment \(self.number) deleted twice")
        self.deleted.set(row)
        self.deletedCount += 1
        self.deletions += 1
    }

    /// Takes the deletions of the segment this one replaces, row for row.
    func adopt(deletionsOf other: Segment) {
        let words = Bits.wordCount(self.rowCount)
        self.deleted.words.update(from: other.deleted.words, count: words)
        self.deletedCount = other.deletedCount
        self.deletions = other.deletions
    }

    /// Deletions read from a file, which may be older than the last rows. False if they contradict the segment.
    func adopt(deletions words: [UInt64], count: Int) -> Bool {
        guard words.count <= Bits.wordCount(self.rowCount) else { return false }
        for (i, word) in words.enumerated() { self.deleted.words[i] = word }
        self.deletedCount = words.reduce(0) { $0 + $1.nonzeroBitCount }
        return self.deletedCount == count && self.deleted.count(self.rowCount) == count
    }

    func rows(_ column: Int) -> VectorRows {
        let shape = self.shape.columns[column]
        return VectorRows(
            base: UnsafePointer(self.storage.columns[column]), stride: shape.stride, dimension: shape.dimension,
            metric: shape.metric)
    }

    /// Rows that every search of this vector must measure one by one start here.
    func linkedRows(_ column: Int) -> Int {
        guard let graph = self.graphs[column] else { return 0 }
        return self.linkers[column] == nil ? self.rowCount : min(Int(graph.linkedPrefix), self.rowCount)
    }

    /// Rows that will be linked and are not yet.
    var waitingRows: Int {
        self.linkers.indices.reduce(0) { $0 + (self.linkers[$1] == nil ? 0 : self.rowCount - self.linkedRows($1)) }
    }

    /// Bytes of rows, ids, payloads and vectors.
    var dataBytes: Int {
        guard self.rowCount > 0 else { return 0 }
        let last = self.storage.rows[self.rowCount - 1]
        return self.rowCount * (RowRecord.bytes + self.shape.columns.reduce(0) { $0 + $1.rowBytes })
            + Int(last.heapOffset) + last.heapBytes
    }
}

/// Hands out the rows of one graph to the threads that link them.
final class Linker: Sendable {
    let column: Int
    let graph: HNSWGraph
    private let next: Atomic<Int>

    /// - Parameter next: Rows before it are seen to already.
    init(column: Int, graph: HNSWGraph, from next: Int = 0) {
        self.column = column
        self.graph = graph
        self.next = Atomic(next)
    }

    /// Up to `most` rows below `limit` that nobody else has taken.
    func take(below limit: Int, most: Int) -> Range<Int>? {
        var start = self.next.load(ordering: .relaxed)
        while start < limit {
            let end = min(limit, start + most)
            let (exchanged, now) = self.next.compareExchange(
                expected: start, desired: end, ordering: .acquiringAndReleasing)
            if exchanged { return start..<end }
            start = now
        }
        return nil
    }
}

/// What of a segment is durable.
struct StoredSegment {
    var rows = 0
    var heapBytes = 0
    /// Rows, heap and vectors first, in that order; then what was derived.
    var files: [ShardFile] = []
    /// ``Segment/deletions`` when the deletes file was written.
    var deletions: UInt64 = 0
    var deletesFile: ShardFile?

    func file(_ kind: ShardFile.Kind, _ column: Int = 0) -> ShardFile? {
        self.files.first { $0.kind == kind && Int($0.column) == column }
    }
}
