package import Raft

/// An entry as the simulation knows it.
package struct SimulatedEntry: Equatable, Sendable {
    package enum Content: Equatable, Sendable {
        case barrier
        case configuration(Membership)
        /// A client's, under its idempotency key.
        case append(key: UInt64)
    }
    package var term: Term
    package var content: Content
    package var bytes: Int

    var key: UInt64? { if case .append(let key) = self.content { key } else { nil } }
}

/// A log as it stands somewhere: in a process, or on its disk.
struct LogImage: Sendable {
    var start: LogStart
    var entries: [SimulatedEntry] = []
    /// Idempotency keys of entries that have been trimmed: they are kept with the log and travel with it.
    var oldKeys: [UInt64: LogIndex] = [:]

    var lastIndex: LogIndex { self.start.position.index + UInt64(self.entries.count) }
    var firstIndex: LogIndex { self.start.position.index + 1 }

    subscript(index: LogIndex) -> SimulatedEntry { self.entries[Int(index - self.firstIndex)] }

    func slice(_ first: LogIndex, _ last: LogIndex) -> [SimulatedEntry] {
        guard first <= last else { return [] }
        return Array(self.entries[Int(first - self.firstIndex)...Int(last - self.firstIndex)])
    }

    mutating func truncate(from index: LogIndex) {
        let kept = index > self.start.position.index ? Int(index - self.firstIndex) : 0
        if kept < self.entries.count { self.entries.removeSubrange(kept...) }
    }

    mutating func trim(to start: LogStart) {
        let count = Int(start.position.index - self.start.position.index)
        for i in 0..<min(count, self.entries.count) {
            if let key = self.entries[i].key { self.oldKeys[key] = self.firstIndex + UInt64(i) }
        }
        self.entries.removeFirst(min(count, self.entries.count))
        self.start = start
    }

    var summary: LogSummary {
        var summary = LogSummary(start: self.start)
        for (i, entry) in self.entries.enumerated() {
            if case .configuration(let membership) = entry.content {
                summary.append(membership, term: entry.term)
            } else {
                summary.append(through: self.firstIndex + UInt64(i), term: entry.term)
            }
        }
        return summary
    }
}

/// A replica's log store: what its process sees, and what its disk would still hold after a crash.
final class SimulatedStore: RaftLogView, @unchecked Sendable {  // one thread runs a simulation
    var image: LogImage
    /// Where each client's entry is, trimmed ones too.
    var keys: [UInt64: LogIndex] = [:]
    private(set) var durable: LogImage
    private(set) var hardState = HardState()
    /// Entries on disk that no longer match their checksum.
    var damaged: [LogIndex] = []

    init(start: LogStart) {
        self.image = LogImage(start: start)
        self.durable = LogImage(start: start)
    }

    func extent(from first: LogIndex, through last: LogIndex, maxBytes: Int) -> (last: LogIndex, bytes: Int) {
        var index = first
        var bytes = self.image[first].bytes
        while index < last, bytes + self.image[index + 1].bytes <= maxBytes {
            index += 1
            bytes += self.image[index].bytes
        }
        return (index, bytes)
    }

    // MARK: In the process

    func write(_ entries: [SimulatedEntry], truncatingFrom cut: LogIndex?) {
        if let cut, cut <= self.image.lastIndex {
            for i in max(cut, self.image.firstIndex)...self.image.lastIndex {
                if let key = self.image[i].key, self.keys[key] == i { self.keys[key] = nil }
            }
            self.image.truncate(from: cut)
        }
        for entry in entries {
            self.image.entries.append(entry)
            if let key = entry.key { self.keys[key] = self.image.lastIndex }
        }
    }

    func replace(with image: LogImage) {
        self.image = image
        self.readKeys()
    }

    private func readKeys() {
        self.keys = self.image.oldKeys
        for (i, entry) in self.image.entries.enumerated() {
            if let key = entry.key { self.keys[key] = self.image.firstIndex + UInt64(i) }
        }
    }

    // MARK: On disk

    /// - Parameter part: Of a write's entries, how many reached the disk; nil for all.
    func persist(_ operation: DiskOperation, part: Int? = nil) {
        switch operation {
        case .write(_, let cut, let entries):
            if let cut {
                self.durable.truncate(from: cut)
                self.damaged.removeAll { $0 >= cut }
            }
            self.durable.entries.append(contentsOf: entries.prefix(part ?? entries.count))
        case .replace(_, let image):
            self.durable = image
            self.damaged = []
        case .trim(let start):
            self.durable.trim(to: start)
            self.damaged.removeAll { $0 <= start.position.index }
        case .save(_, let state):
            self.hardState = state
            // Now that a restart would know of the loss, the damage may go.
            if state.isRecovering { self.cutDamage() }
        }
    }

    /// What the next life of the process finds: the log ends before the first entry that is damaged.
    func restart() -> RaftStart {
        self.image = self.durable
        let first = self.damaged.min()
        if let first { self.image.truncate(from: first) }
        self.readKeys()
        return RaftStart(hardState: self.hardState, log: self.image.summary, hasLostEntries: first != nil)
    }

    private func cutDamage() {
        if let first = self.damaged.min() { self.durable.truncate(from: first) }
        self.damaged = []
    }
}

/// What a disk is asked to make durable.
enum DiskOperation: Sendable {
    case write(WriteTicket, truncateFrom: LogIndex?, [SimulatedEntry])
    case replace(WriteTicket, LogImage)
    case trim(LogStart)
    case save(SaveTicket, HardState)

    var isSave: Bool { if case .save = self { true } else { false } }
}
