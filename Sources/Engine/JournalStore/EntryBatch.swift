package import JournalFormat
package import Primitives

/// Committed entries, consecutive, in one buffer that they are read from in place.
///
/// Every checksum was verified. An ``EntryView`` taken from here is valid while the batch lives: keep it
/// (`withExtendedLifetime`) as long as its views are used.
package final class EntryBatch: Sendable, Sequence {
    private let buffer: AlignedBytes
    private let ranges: [Range<Int>]
    /// Offset of the first entry; for an empty batch the offset asked for.
    package let firstOffset: JournalOffset
    /// Durable when the batch was read.
    package let committed: JournalOffset

    init(buffer: AlignedBytes, ranges: [Range<Int>], firstOffset: JournalOffset, committed: JournalOffset) {
        self.buffer = buffer
        self.ranges = ranges
        self.firstOffset = firstOffset
        self.committed = committed
    }

    package var count: Int { self.ranges.count }
    package var isEmpty: Bool { self.ranges.isEmpty }
    /// Offset of the last entry; one below `firstOffset` when empty.
    package var lastOffset: JournalOffset { self.firstOffset + UInt64(self.count) - 1 }
    /// Where the next read goes on.
    package var nextOffset: JournalOffset { self.firstOffset + UInt64(self.count) }
    /// Bytes of entries.
    package var bytes: Int { self.ranges.reduce(0) { $0 + $1.count } }

    /// The bytes of one entry, 8-byte aligned.
    package subscript(index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self.buffer.raw)[self.ranges[index]])
    }

    package func view(_ index: Int) -> EntryView { EntryView(unchecked: self[index]) }
    package var views: [EntryView] { self.ranges.indices.map { self.view($0) } }

    package func makeIterator() -> Iterator { Iterator(batch: self) }

    package struct Iterator: IteratorProtocol {
        let batch: EntryBatch
        var index = 0
        package mutating func next() -> EntryView? {
            guard self.index < self.batch.count else { return nil }
            defer { self.index += 1 }
            return self.batch.view(self.index)
        }
    }
}
