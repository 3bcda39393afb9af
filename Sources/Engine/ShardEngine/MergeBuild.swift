import FileStore
import HNSW
import Primitives

/// The live rows of some segments on their way into one.
///
/// The inputs go on serving, and losing rows, until ``ShardEngine/install(_:_:)`` puts the output in their place.
final class MergeBuild {
    let inputs: [Segment]
    /// Deleted rows of each input when copying began. What is deleted later is deleted again in the output.
    let snapshots: [[UInt64]]
    /// For each input, the new row of each row.
    let forward: [UnsafeMutablePointer<UInt32>]
    /// Nil when no row is live.
    var output: Segment?
    let began = monotonicNanoseconds()

    init(inputs: [Segment], snapshots: [[UInt64]]) {
        self.inputs = inputs
        self.snapshots = snapshots
        self.forward = inputs.map { .allocate(capacity: max(1, $0.rowCount)) }
    }

    deinit { for table in self.forward { table.deallocate() } }

    /// Calls `body` with each row to copy: position of the input, row. Order: inputs, then rows.
    func forEachRow(_ body: (Int, Int) throws(FileFault) -> Void) throws(FileFault) {
        for (i, input) in self.inputs.enumerated() {
            for (w, word) in self.snapshots[i].enumerated() {
                var live = ~word
                if w == input.rowCount >> 6 { live &= Bits.lowMask(input.rowCount & 63) }
                while live != 0 {
                    try body(i, w << 6 | live.trailingZeroBitCount)
                    live &= live &- 1
                }
            }
        }
    }
}

/// Gathers small pieces into large writes.
struct GatheringSink {
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentFiles.piece, alignment: 64)
    private var filled = 0

    func free() { self.buffer.deallocate() }

    mutating func write(
        _ raw: UnsafeRawBufferPointer, to sink: (UnsafeRawBufferPointer) throws(FileFault) -> Void
    ) throws(FileFault) {
        if self.filled + raw.count > self.buffer.count { try self.flush(to: sink) }
        guard raw.count <= self.buffer.count else { return try sink(raw) }
        if raw.count > 0 { (self.buffer.baseAddress! + self.filled).copyMemory(from: raw.baseAddress!, byteCount: raw.count) }
        self.filled += raw.count
    }

    mutating func flush(to sink: (UnsafeRawBufferPointer) throws(FileFault) -> Void) throws(FileFault) {
        try sink(UnsafeRawBufferPointer(rebasing: self.buffer[..<self.filled]))
        self.filled = 0
    }
}
