package import Filter
package import Primitives

/// One nearest-neighbour question to one shard. `query` must live until ``ShardEngine/search(_:)`` returns.
package struct ShardSearch {
    /// `dimension` finite components, in any scale: cosine queries are normalised on a copy.
    package var query: UnsafeBufferPointer<Float>
    /// Name of the vector to compare with; "" is the unnamed one.
    package var using: String
    /// Points wanted, 1...``Limits/searchLimit``.
    package var limit: Int
    package var filter: Filter?
    /// Candidates kept in the graph walk; 0 chooses by `limit`.
    package var ef: Int
    /// Compare with every matching point.
    package var exact: Bool
    /// Monotonic clock (`CLOCK_MONOTONIC`), nanoseconds; past it the search ends with DEADLINE_EXCEEDED.
    package var deadline: UInt64?
    package var withVectors: Bool
    package var withPayload: Bool
    /// Of the vectors, only the one compared with.
    package var onlyUsedVector = false
    package var room = AnswerRoom()

    package init(
        query: UnsafeBufferPointer<Float>, using: String = "", limit: Int, filter: Filter? = nil, ef: Int = 0,
        exact: Bool = false, deadline: UInt64? = nil, withVectors: Bool = false, withPayload: Bool = true
    ) {
        self.query = query
        self.using = using
        self.limit = limit
        self.filter = filter
        self.ef = ef
        self.exact = exact
        self.deadline = deadline
        self.withVectors = withVectors
        self.withPayload = withPayload
    }
}

/// How a search was done, over all segments.
package struct ShardSearchPlan: Sendable, Equatable {
    /// Ways of searching a segment.
    package struct Strategies: OptionSet, Sendable {
        package let rawValue: UInt8
        package init(rawValue: UInt8) { self.rawValue = rawValue }
        /// The graph, no filter.
        package static let graph = Strategies(rawValue: 1)
        /// The graph, walked within the filter.
        package static let filteredGraph = Strategies(rawValue: 2)
        /// Every (matching) row.
        package static let exact = Strategies(rawValue: 4)
    }
    package var strategies: Strategies = []
    /// Distances computed.
    package var visited: UInt64 = 0
    /// Points that match the filter; nil without a filter.
    package var matching: UInt64?
    /// Fields of the filter that have no payload index: they were read from payloads.
    package var unindexed: [String] = []

    /// "graph", "graph+filter", "exact", joined by "," when segments differ; "exact" for an empty shard.
    package var strategy: String {
        var names: [String] = []
        if self.strategies.contains(.graph) { names.append("graph") }
        if self.strategies.contains(.filteredGraph) { names.append("graph+filter") }
        if self.strategies.contains(.exact) || names.isEmpty { names.append("exact") }
        return names.joined(separator: ",")
    }

    package init() {}
}

package struct ShardSearchResult: Sendable {
    /// Nearest first; equal distances in id order.
    package var points: PointBatch
    /// Of `points`, in order. Cosine: `1 - cosine`; dot: `1 - dot`; L2: squared Euclidean.
    package var distances: [Float]
    /// Everything up to here, and nothing later, was seen.
    package var applied: JournalOffset
    package var plan: ShardSearchPlan
}

package struct ShardGetResult: Sendable {
    /// Points found, in the order asked for (an id asked for twice comes twice).
    package var points: PointBatch
    /// Positions in the request whose point does not exist.
    package var missing: [Int]
    package var applied: JournalOffset
}

package struct ShardCountResult: Sendable {
    package var count: UInt64
    /// By every shard.
    package var applied: JournalOffset
    /// By that which is furthest.
    package var seen: JournalOffset
    /// Fields of the filter that have no payload index.
    package var unindexed: [String]

    init(count: UInt64, applied: JournalOffset, unindexed: [String]) {
        self.count = count
        self.applied = applied
        self.seen = applied
        self.unindexed = unindexed
    }

    /// Shards whose points are others than those.
    package mutating func add(_ other: ShardCountResult) {
        self.count += other.count
        self.applied = min(self.applied, other.applied)
        self.seen = max(self.seen, other.seen)
        for field in other.unindexed where !self.unindexed.contains(field) { self.unindexed.append(field) }
    }
}

package struct ShardScrollResult: Sendable {
    /// In id order (bytes compared as unsigned).
    package var points: PointBatch
    /// Give this as `after` to go on. Nil at the end. A page may hold fewer points than asked for, or none, and still
    /// go on: one call looks at a bounded number of points, so that a rare filter does not hold up writes, and a page ends
    /// before the point that would make it larger than its room. The first point always fits.
    package var next: [UInt8]?
    package var applied: JournalOffset
}
