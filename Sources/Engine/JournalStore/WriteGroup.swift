internal import JournalFormat
internal import Primitives

/// Entries that are written and made durable together, in one segment.
struct WriteGroup {
    struct Item {
        /// In the batch that holds the entry.
        let index: Int
        let offset: JournalOffset
        let hlc: HLCTimestamp
        let frameBytes: Int
        let bodyHash: UInt64
        let key: IdempotencyTable.Key?
    }

    private(set) var items: [Item] = []
    /// What to write, in order: a stamped head from the scratch, the rest of the entry from where it is, and so on.
    var parts: [UnsafeRawBufferPointer] = []
    /// Appends that repeat one of this group: answered with it.
    var replays: [(completion: AppendCompletion, appended: Appended)] = []
    private(set) var bytes = 0
    /// When its oldest append came; nanoseconds of the monotonic clock.
    private(set) var oldest = UInt64.max
    private var positions: [IdempotencyTable.Key: Int] = [:]
    private var scratch = ScratchHeads()

    var count: Int { self.items.count }
    var isEmpty: Bool { self.items.isEmpty }

    mutating func begin(first: Int) {
        assert(self.items.isEmpty && self.parts.isEmpty && self.replays.isEmpty)
    }

    func item(of key: IdempotencyTable.Key) -> Item? { self.positions[key].map { self.items[$0] } }

    /// Stamps an entry behind those before it.
    mutating func add(
        _ pending: PendingAppend, at index: Int, key: IdempotencyTable.Key?, bodyHash: UInt64, offset: JournalOffset,
        term: UInt64, hlc: HLCTimestamp, durableThrough: JournalOffset, salt: UInt32
    ) {
        // The pointer outlives the closure: a native array's bytes stay where they are while it is held (the batch holds it until
        // the group is answered) and nobody writes it (it is a `let`).
        let entry = pending.entry.bytes.withUnsafeBytes { $0 }
        let head = self.scratch.next()
        Frame.write(
            into: head, entry: entry, offset: offset, term: term, hlc: hlc, appendedStart: pending.arrived,
            durableThrough: durableThrough, salt: salt)
        self.parts.append(UnsafeRawBufferPointer(head))
        if entry.count > EntryLayout.fixedBytes {
            self.parts.append(UnsafeRawBufferPointer(rebasing: entry[EntryLayout.fixedBytes...]))
        }
        if let key { self.positions[key] = self.items.count }
        let frameBytes = Frame.headBytes + entry.count
        self.items.append(
            Item(index: index, offset: offset, hlc: hlc, frameBytes: frameBytes, bodyHash: bodyHash, key: key))
        self.bytes += frameBytes
        self.oldest = min(self.oldest, pending.arrivedAt)
    }

    mutating func removeAll() {
        self.items.removeAll(keepingCapacity: true)
        self.parts.removeAll(keepingCapacity: true)
        self.replays.removeAll(keepingCapacity: true)
        if !self.positions.isEmpty { self.positions.removeAll(keepingCapacity: true) }
        self.bytes = 0
        self.oldest = .max
        self.scratch.reset()
    }
}

/// Memory for stamped heads, in blocks that never move, used again by each group.
final class ScratchHeads {
    private static let headsPerBlock = 256
    private var blocks: [UnsafeMutableRawBufferPointer] = []
    private var used = 0

    deinit { for block in self.blocks { block.deallocate() } }

    func reset() { self.used = 0 }

    func next() -> UnsafeMutableRawBufferPointer {
        let (block, place) = self.used.quotientAndRemainder(dividingBy: Self.headsPerBlock)
        if block == self.blocks.count {
            self.blocks.append(.allocate(byteCount: Self.headsPerBlock * Frame.stampedBytes, alignment: 64))
        }
        self.used += 1
        let start = place * Frame.stampedBytes
        return UnsafeMutableRawBufferPointer(rebasing: self.blocks[block][start..<start + Frame.stampedBytes])
    }
}
