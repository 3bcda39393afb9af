internal import FileStore
internal import JournalFormat
internal import Primitives
internal import Synchronization

/// What the writer publishes and all others read: the segments, how far they are durable, and the closed timestamp's floor.
final class PartitionLog: Sendable {
    let partition: PartitionID
    let directory: String
    let files: any FileStore
    let notices = CommitNotices()
    let lineage: LineageIndex
    /// In order; the last is the one being written. Never empty.
    let segments: Mutex<[Segment]>
    private let openFiles = Mutex<[(sequence: UInt64, file: any File)]>([])

    private let committedOffset: Atomic<UInt64>
    private let committedHLC: Atomic<UInt64>
    private let currentTerm: Atomic<UInt64>
    /// Entries stamped but not durable have HLCs above this; `UInt64.max` when there are none.
    private let inFlightFloor = Atomic<UInt64>(.max)

    /// Sealed segments that readers look into at once, before descriptors are closed and opened again.
    private static let maxOpenFiles = 16

    /// Nothing at or before it belongs to the log any more, though the first segment may still hold some.
    private let start: Atomic<UInt64>

    /// - Parameters:
    ///   - committed: Nil: all of it.
    ///   - indexesLineage: Files are written beside sealed segments.
    init(
        partition: PartitionID, directory: String, files: any FileStore, segments: [Segment], term: UInt64,
        start: JournalOffset = 0, committed: JournalOffset? = nil, indexesLineage: Bool = false
    ) {
        self.partition = partition
        self.directory = directory
        self.files = files
        self.lineage = LineageIndex(files: files, isKept: indexesLineage)
        self.start = Atomic(start)
        self.committedOffset = Atomic(committed ?? segments.last!.lastOffset)
        self.committedHLC = Atomic((segments.last { !$0.isEmpty }?.lastHLC ?? .zero).rawValue)
        self.currentTerm = Atomic(term)
        self.segments = Mutex(segments)
    }

    var committed: JournalOffset { self.committedOffset.load(ordering: .acquiring) }
    var lastHLC: HLCTimestamp { HLCTimestamp(rawValue: self.committedHLC.load(ordering: .acquiring)) }
    var term: UInt64 { self.currentTerm.load(ordering: .relaxed) }
    var firstOffset: JournalOffset {
        max(self.segments.withLock { $0[0].firstOffset }, self.start.load(ordering: .acquiring) + 1)
    }
    /// Written, perhaps not durable, perhaps not committed.
    var lastWritten: JournalOffset { self.segments.withLock { $0[$0.count - 1].lastOffset } }
    var segmentCount: Int { self.segments.withLock { $0.count } }
    var diskBytes: Int { self.segments.withLock { $0.reduce(0) { $0 + $1.fileBytes } } }

    /// Must be called with a fresh timestamp before any entry of a batch is stamped.
    func beginStamping(after floor: HLCTimestamp) {
        self.inFlightFloor.store(floor.rawValue, ordering: .sequentiallyConsistent)
    }

    /// What was stamped is committed or given up.
    func endStamping() { self.inFlightFloor.store(.max, ordering: .sequentiallyConsistent) }

    /// - Parameter now: A fresh timestamp, taken before this call: a batch that this does not see is stamped later, so above it.
    func closed(now: HLCTimestamp) -> HLCTimestamp {
        min(now, HLCTimestamp(rawValue: self.inFlightFloor.load(ordering: .sequentiallyConsistent)))
    }

    /// Entries have become durable at the end of `segment`.
    ///
    /// - Parameter segment: As it is with them; its index is kept here, not there.
    func committed(_ items: [WriteGroup.Item], in segment: Segment) {
        self.grow(segment) { last in
            for item in items { last.add(frameBytes: item.frameBytes, hlc: item.hlc, term: segment.term) }
        }
        self.committedHLC.store(segment.lastHLC.rawValue, ordering: .releasing)
        self.committedOffset.store(segment.lastOffset, ordering: .releasing)
    }

    /// Entries stand at the end of `segment`, not yet committed.
    func written(_ entries: [WrittenEntry], in segment: Segment) {
        self.grow(segment) { last in for entry in entries { last.add(entry) } }
    }

    private func grow(_ segment: Segment, _ add: (inout Segment) -> Void) {
        self.segments.withLock { segments in
            if segments[segments.count - 1].sequence != segment.sequence {
                // What was the last one is sealed: its readers are no longer at its tail.
                segments[segments.count - 1].index = segments[segments.count - 1].index.thinned(
                    to: SparseIndex.sealedSpacing)
                segments.append(
                    Segment(
                        sequence: segment.sequence, path: segment.path, salt: segment.salt,
                        firstOffset: segment.firstOffset, fileBytes: segment.fileBytes))
            }
            let last = segments.count - 1
            add(&segments[last])
            segments[last].fileBytes = segment.fileBytes
            assert(segments[last].lastOffset == segment.lastOffset && segments[last].end == segment.end)
        }
    }

    /// Committed through `offset`; never goes back.
    func commit(through offset: JournalOffset, hlc: HLCTimestamp) {
        self.committedHLC.store(hlc.rawValue, ordering: .releasing)
        self.committedOffset.store(offset, ordering: .releasing)
    }

    func set(term: UInt64) { self.currentTerm.store(term, ordering: .relaxed) }

    /// Other segments take the place of all: the log was cut, trimmed, or came anew.
    func replace(segments: [Segment], start: JournalOffset) {
        self.segments.withLock { known in
            known = segments
            // A file of the same name may be another one now.
            self.openFiles.withLock { $0.removeAll() }
        }
        self.start.store(start, ordering: .releasing)
    }

    /// A segment's index, for its sidecar.
    func index(of sequence: UInt64) -> SparseIndex {
        self.segments.withLock { $0.first { $0.sequence == sequence }?.index ?? SparseIndex() }
    }

    /// The space behind a sealed segment's end was given back.
    func trimmed(sequence: UInt64, fileBytes: Int) {
        self.segments.withLock { segments in
            guard let i = segments.firstIndex(where: { $0.sequence == sequence }) else { return }
            segments[i].fileBytes = fileBytes
        }
    }

    /// A segment's file for reading, from a few that stay open.
    func file(of segment: Segment) throws(FileFault) -> any File {
        let known = self.openFiles.withLock { open -> (any File)? in
            guard let i = open.firstIndex(where: { $0.sequence == segment.sequence }) else { return nil }
            let hit = open.remove(at: i)
            open.append(hit)
            return hit.file
        }
        if let known { return known }
        let file = try self.files.open(segment.path, .read)
        self.openFiles.withLock { open in
            // A reader that still holds the oldest keeps it open until it is done: files close when nobody has them.
            if open.count >= Self.maxOpenFiles { open.removeFirst() }
            open.append((segment.sequence, file))
        }
        return file
    }
}
