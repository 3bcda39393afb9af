internal import Primitives
internal import ShardEngine
internal import Wire

/// The newest of what comes oldest first, in bounded memory.
///
/// What is too much for one answer is dropped from the old end; whether that was too much is known only when the last has come, for
/// larger entries may have made room for smaller ones.
struct Newest {
    let limit: Int
    let maxBytes: Int
    /// At most twice the limit.
    var entries: [VecraftV1.LineageEntry] = []
    private var bytes = 0
    private var came = 0

    init(limit: Int, maxBytes: Int) {
        self.limit = limit
        self.maxBytes = maxBytes
    }

    mutating func append(_ entry: VecraftV1.LineageEntry) {
        self.entries.append(entry)
        self.bytes += entry.roughBytes
        self.came += 1
        // Twice the limit before a cut, so that a long history costs no move per entry.
        if self.entries.count >= 2 * self.limit || self.bytes > self.maxBytes { self.cut() }
    }

    static func tooLarge(_ maxBytes: Int) -> VecraftError {
        VecraftError(
            .resourceExhausted,
            "the answer would be larger than \(maxBytes) bytes, the limit of a message; ask for fewer with limit",
            field: "limit", reason: AnswerRoom.tooLarge)
    }

    private mutating func cut() {
        var gone = 0
        while self.entries.count - gone > self.limit || self.bytes > self.maxBytes {
            self.bytes -= self.entries[gone].roughBytes
            gone += 1
        }
        self.entries.removeFirst(gone)
    }

    /// - Throws: RESOURCE_EXHAUSTED when the newest `limit` are too much for one answer.
    var response: VecraftV1.LineageResponse {
        get throws(VecraftError) {
            var cut = self
            cut.cut()
            guard cut.entries.count == min(self.limit, self.came) else { throw Self.tooLarge(self.maxBytes) }
            return VecraftV1.LineageResponse(entries: cut.entries, truncated: self.came > self.limit)
        }
    }
}

/// The newest of what comes newest first, of several partitions one after the other; one more than the limit, to know that there is more.
///
/// At the first that is too much for an answer nothing older is wanted: an answer that reached as far would have to hold it.
struct NewestFirst {
    private struct Place {
        let hlc: UInt64
        /// Nil: it would not fit. The last one.
        let entry: VecraftV1.LineageEntry?
    }
    private let limit: Int
    private let maxBytes: Int
    private var places: [Place] = []
    private var bytes = 0

    init(limit: Int, maxBytes: Int) {
        self.limit = limit
        self.maxBytes = maxBytes
    }

    /// Whatever is older could not be in the answer.
    var isFull: Bool { self.places.count > self.limit || self.places.last.map { $0.entry == nil } ?? false }

    /// - Parameter entry: Older than all before.
    mutating func append(_ entry: VecraftV1.LineageEntry) { self.append(Place(hlc: entry.hlc, entry: entry)) }

    private mutating func append(_ place: Place) {
        guard !self.isFull else { return }
        guard let entry = place.entry, self.bytes + entry.roughBytes <= self.maxBytes else {
            self.places.append(Place(hlc: place.hlc, entry: nil))
            return
        }
        self.bytes += entry.roughBytes
        self.places.append(place)
    }

    /// Puts in another partition's. Of those with one HLC the later partition's count as newer.
    mutating func merge(_ other: NewestFirst) {
        var merged = NewestFirst(limit: self.limit, maxBytes: self.maxBytes)
        var (own, theirs) = (self.places[...], other.places[...])
        while !merged.isFull, let next = Self.newer(&own, &theirs) { merged.append(next) }
        self = merged
    }

    private static func newer(_ own: inout ArraySlice<Place>, _ theirs: inout ArraySlice<Place>) -> Place? {
        guard let mine = own.first else { return theirs.popFirst() }
        guard let other = theirs.first, other.hlc >= mine.hlc else { return own.popFirst() }
        return theirs.popFirst()
    }

    /// Oldest first.
    ///
    /// - Throws: RESOURCE_EXHAUSTED when the newest `limit` are too much for one answer.
    var response: VecraftV1.LineageResponse {
        get throws(VecraftError) {
            let newest = self.places.prefix(self.limit)
            guard newest.allSatisfy({ $0.entry != nil }) else { throw Newest.tooLarge(self.maxBytes) }
            return VecraftV1.LineageResponse(
                entries: newest.reversed().compactMap(\.entry), truncated: self.places.count > self.limit)
        }
    }
}
