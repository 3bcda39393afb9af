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
    /// Where each term begins in it, in order: what a replica must know of its log at the start.
    var terms: [TermStart] = []
    /// Offsets of its configuration entries.
    var configurations: [JournalOffset] = []

    struct TermStart: Equatable, Sendable {
        let offset: JournalOffset
        let term: UInt64
    }

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

    mutating func add(_ entry: WrittenEntry) {
        self.add(frameBytes: entry.frameBytes, hlc: entry.hlc, term: entry.term)
        if entry.isConfiguration { self.configurations.append(self.lastOffset) }
    }

    /// Forgets the entries from an offset on, the first of which begins at `position`.
    mutating func cut(from offset: JournalOffset, position: Int, lastHLC: HLCTimestamp) {
        precondition(offset >= self.firstOffset && offset <= self.lastOffset, "\(offset) is not in \(self.path)")
        self.lastOffset = offset - 1
        self.end = position
        self.lastHLC = lastHLC
        if self.isEmpty { self.firstHLC = .zero }
        self.index = self.index.cut(from: offset)
        self.terms.removeAll { $0.offset >= offset }
        self.configurations.removeAll { $0 >= offset }
        self.term = self.terms.last?.term ?? 0
    }

    /// The same where no index is kept.
    mutating func grow(frameBytes: Int, hlc: HLCTimestamp, term: UInt64) {
        if self.isEmpty { self.firstHLC = hlc }
        self.lastOffset += 1
        if self.terms.last?.term != term { self.terms.append(TermStart(offset: self.lastOffset, term: term)) }
        self.end += frameBytes
        self.lastHLC = hlc
        self.term = term
    }
}

/// What the log keeps in mind of an entry that was written.
struct WrittenEntry: Sendable {
    let frameBytes: Int
    let hlc: HLCTimestamp
    let term: UInt64
    let isConfiguration: Bool
}
