import Glibc
import HNSW
import Primitives
import Synchronization

/// Where a filter may have a graph of its own: one vector of one sealed segment.
struct FilterPlace: Hashable, Sendable {
    var segment: UInt64
    var column: Int
}

/// A graph over the rows of a sealed segment that one filter matches.
///
/// What a filter matches among the rows of a sealed segment shrinks with deletions and never changes otherwise: rows keep
/// their payload for good. So the live ones of the rows that matched when the graph was ordered are those that match now.
///
/// `@unchecked Sendable`: the bitmap is constant; ``users`` is guarded by ``FilterGraphs``.
final class FilterGraph: @unchecked Sendable {
    let place: FilterPlace
    let graph: SubsetGraph
    /// Live rows that the filter matched, with the vector or without.
    let matches: [UInt64]
    let bytes: Int
    /// Monotonic nanoseconds of the last search.
    let used: Atomic<UInt64>
    /// Filters that match these rows, each spelled in its way.
    var users: [RememberedFilter] = []
    /// What the graph reads besides its own memory.
    private let storage: SegmentStorage
    /// Counts in the low half, and in the high half ``Segment/deletions`` they are true for, plus one.
    private let matching = Atomic<UInt64>(0)
    private let members = Atomic<UInt64>(0)

    init(_ place: FilterPlace, _ graph: SubsetGraph, matches: [UInt64], storage: SegmentStorage, now: UInt64) {
        self.place = place
        self.graph = graph
        self.matches = matches
        self.storage = storage
        self.bytes = graph.bytes + matches.count * 8
        self.used = Atomic(now)
    }

    /// Live rows that match, and those of them that have the vector: counted when rows were deleted since the last time.
    /// Under the shard's lock.
    func live(_ segment: Segment) -> (matching: Int, members: Int) {
        let stamp = (segment.deletions & 0x7fff_ffff + 1) << 32
        let known = (self.matching.load(ordering: .relaxed), self.members.load(ordering: .relaxed))
        if known.0 & ~0xffff_ffff == stamp, known.1 & ~0xffff_ffff == stamp {
            return (Int(known.0 & 0xffff_ffff), Int(known.1 & 0xffff_ffff))
        }
        let deleted = segment.deleted.words
        let present = segment.present[self.place.column].words
        var matching = 0
        var members = 0
        for (w, word) in self.matches.enumerated() {
            let live = word & ~deleted[w]
            matching &+= live.nonzeroBitCount
            members &+= (live & present[w]).nonzeroBitCount
        }
        self.matching.store(stamp | UInt64(matching), ordering: .relaxed)
        self.members.store(stamp | UInt64(members), ordering: .relaxed)
        return (matching, members)
    }

    /// Whether the rows that match here are these, deleted ones apart. Under the shard's lock.
    func isSame(_ other: [UInt64], _ deleted: UnsafePointer<UInt64>) -> Bool {
        self.matches.indices.allSatisfy { (self.matches[$0] ^ other[$0]) & ~deleted[$0] == 0 }
    }
}

/// A filter that was asked, as it was spelled, and what is known of it by place.
final class RememberedFilter: Sendable {
    enum Finding {
        /// Search as if it were the first time, and say how long it took.
        case nothing
        /// The same, and hand in which rows match: a graph would pay.
        case wanted
        /// It is being made, or waits for that.
        case ordered
        case ready(FilterGraph)
    }
    private struct Interest {
        var finding = Finding.nothing
        /// Nanoseconds that searches took longer than they would have with a graph; halved with time.
        var lost = 0.0
        var since: UInt64 = 0
    }
    let key: [UInt8]
    private let interests = Mutex<[FilterPlace: Interest]>([:])

    /// What is lost counts half after so long: ten minutes.
    private static let halfLife = 600e9

    init(_ key: [UInt8]) { self.key = key }

    func find(_ place: FilterPlace) -> Finding { self.interests.withLock { $0[place]?.finding ?? .nothing } }

    /// A search took so many nanoseconds longer than with a graph, which `cost` nanoseconds would make.
    func lost(_ nanoseconds: Double, at place: FilterPlace, now: UInt64, cost: Double) {
        self.interests.withLock { interests in
            var interest = interests[place, default: Interest()]
            guard case .nothing = interest.finding else { return }
            let age = Double(now - min(now, interest.since))
            interest.lost = nanoseconds + (interest.since == 0 ? 0 : interest.lost * exp2(-age / Self.halfLife))
            interest.since = now
            // Made when as much was lost as it costs: whatever is asked from then on, at most twice what the best would be.
            if interest.lost >= cost { interest.finding = .wanted }
            interests[place] = interest
        }
    }

    /// Begins anew at nothing lost when it is set to `nothing`.
    func set(_ finding: Finding, at place: FilterPlace) {
        self.interests.withLock { interests in
            if case .nothing = finding {
                interests[place] = nil
            } else {
                interests[place, default: Interest()].finding = finding
            }
        }
    }

    /// Of `.wanted` alone; false if another search was quicker.
    func order(at place: FilterPlace) -> Bool {
        self.interests.withLock { interests in
            guard case .wanted = interests[place]?.finding ?? .nothing else { return false }
            interests[place]!.finding = .ordered
            return true
        }
    }

    func forget(segments: Set<UInt64>) {
        self.interests.withLock { interests in interests = interests.filter { !segments.contains($0.key.segment) } }
    }

    /// Graphs, or orders of such: it must be remembered.
    var isInUse: Bool {
        self.interests.withLock { interests in
            interests.values.contains {
                switch $0.finding {
                case .nothing, .wanted: false
                case .ordered, .ready: true
                }
            }
        }
    }
}
