internal import Primitives

/// What is known in memory of one segment of the log.
struct Segment: Equatable, Sendable {
    let sequence: UInt64
    let path: String
    let salt: UInt32
    let firstOffset: JournalOffset
    /// One below `firstOffset` while it has no entry.
    var lastOffset: JournalOffset
    /// Where the last durable frame ends.
    var end = SegmentHeader.bytes
    var firstHLC = HLCTimestamp.zero
    var lastHLC = HLCTimestamp.zero
    var term: UInt64 = 0
    /// Length of the file, which is longer than `end` while it is written.
    var fileBytes: Int
    var index = SparseIndex()

    init(sequence: UInt64, path: String, salt: UInt32, firstOffset: JournalOffset, fileBytes: Int) {
        self.sequence = sequence
        self.path = path
        self.salt = salt
        self.firstOffset = firstOffset
        self.lastOffset = firstOffset - 1
        self.fileBytes = fileBytes
    }

    var isEmpty: Bool { self.lastOffset < self.firstOffset }

    /// Takes in the next entry, with its place in the index.
    mutating func add(frameBytes: Int, hlc: HLCTimestamp, term: UInt64) {
        self.index.add(offset: self.lastOffset + 1, position: self.end, spacing: SparseIndex.activeSpacing)
        self.grow(frameBytes: frameBytes, hlc: hlc, term: term)
    }

    /// The same where no index is kept.
    mutating func grow(frameBytes: Int, hlc: HLCTimestamp, term: UInt64) {
        if self.isEmpty { self.firstHLC = hlc }
        self.lastOffset += 1
        self.end += frameBytes
        self.lastHLC = hlc
        self.term = term
    }
}
