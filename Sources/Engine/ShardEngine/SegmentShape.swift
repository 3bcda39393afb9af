import Primitives

/// What a collection's schema means for the rows of a segment. The same for every segment of a shard.
struct SegmentShape: Sendable {
    struct Column: Sendable {
        var name: String
        var dimension: Int
        /// Floats from one row to the next: the dimension rounded up to 64 bytes, the rest zero.
        var stride: Int
        var metric: Metric
        var m: Int
        var efConstruction: Int
        /// Hash of the name, part of a point's digest.
        var nameHash: UInt64

        var rowBytes: Int { self.stride * 4 }
    }
    let columns: [Column]
    let fields: [PayloadIndexField]
    /// Most rows of one segment.
    let capacity: Int
    /// Most bytes of one growing segment's heap. Room for at least one point of any allowed size.
    let heapCapacity: Int

    init(_ schema: CollectionSchema, _ settings: ShardSettings) {
        self.columns = schema.vectors.map {
            Column(
                name: $0.name, dimension: $0.dimension, stride: ($0.dimension + 15) / 16 * 16, metric: $0.metric,
                m: $0.m,
                efConstruction: $0.efConstruction, nameHash: StableHash.of($0.name))
        }
        self.fields = schema.payloadIndexes
        let vectorBytes = max(1, self.columns.reduce(0) { $0 + $1.rowBytes })
        self.capacity = max(1, min(settings.segmentPoints, settings.segmentBytes / vectorBytes))
        self.heapCapacity = max(settings.segmentBytes, Limits.idBytes + Limits.payloadBytes)
    }
}

/// The rows of one segment at fixed addresses: records, heap of ids and payloads, one column of floats a vector.
///
/// Either memory that fills (a growing segment) or mapped files (a sealed one); readers cannot tell.
///
/// `@unchecked Sendable`: pointers are fixed at init and kept alive by the owners; rows below the published count never
/// change.
final class SegmentStorage: @unchecked Sendable {
    let capacity: Int
    let rows: UnsafeMutablePointer<RowRecord>
    let heap: UnsafeMutableRawPointer
    let columns: [UnsafeMutablePointer<Float>]
    /// Nil when mapped.
    let memory: Memory?
    private let owners: [AnyObject]

    /// What a growing segment's one writer commits as it goes.
    struct Memory {
        var rows: ReservedMemory
        var heap: ReservedMemory
        var columns: [ReservedMemory]
    }

    /// - Throws: RESOURCE_EXHAUSTED if the kernel has no address space left.
    init(reserving shape: SegmentShape) throws(VecraftError) {
        let capacity = shape.capacity
        let memory = Memory(
            rows: try ReservedMemory(bytes: capacity * RowRecord.bytes),
            heap: try ReservedMemory(bytes: shape.heapCapacity),
            columns: try shape.columns.map { (column) throws(VecraftError) in
                try ReservedMemory(bytes: capacity * column.rowBytes)
            })
        self.capacity = capacity
        self.rows = memory.rows.base.assumingMemoryBound(to: RowRecord.self)
        self.heap = memory.heap.base
        self.columns = memory.columns.map { $0.base.assumingMemoryBound(to: Float.self) }
        self.memory = memory
        self.owners = []
    }

    /// Rows that lie in files. They are mapped read-only: whoever writes through these pointers crashes.
    init(
        mapped rows: UnsafeRawPointer, heap: UnsafeRawPointer, columns: [UnsafeRawPointer], count: Int,
        owners: [AnyObject]
    ) {
        self.capacity = count
        self.rows = UnsafeMutableRawPointer(mutating: rows).assumingMemoryBound(to: RowRecord.self)
        self.heap = UnsafeMutableRawPointer(mutating: heap)
        self.columns = columns.map { UnsafeMutableRawPointer(mutating: $0).assumingMemoryBound(to: Float.self) }
        self.memory = nil
        self.owners = owners
    }

    @inline(__always) func id(_ row: Int) -> UnsafeRawBufferPointer { self.rows[row].id(in: self.heap) }
    @inline(__always) func payload(_ row: Int) -> UnsafeRawBufferPointer? { self.rows[row].payload(in: self.heap) }

    func vector(_ column: Int, _ row: Int, stride: Int) -> UnsafeMutablePointer<Float> {
        self.columns[column] + row * stride
    }
}
