package import Primitives
package import ShardEngine

/// Points of one or several shards, as one list.
package struct MergedPoints: Sendable {
    package struct Place: Sendable {
        package var batch: Int
        package var index: Int
    }
    /// One a shard.
    package let batches: [PointBatch]
    /// Nil with one batch, whose order it is.
    private let order: [Place]?

    init(_ batch: PointBatch) {
        self.batches = [batch]
        self.order = nil
    }

    init(_ batches: [PointBatch], order: [Place]) {
        self.batches = batches
        self.order = order
    }

    package var count: Int { self.order?.count ?? self.batches[0].count }

    @inline(__always)
    package func place(_ i: Int) -> Place { self.order?[i] ?? Place(batch: 0, index: i) }

    /// The last point's id; nil if there is none.
    var lastID: [UInt8]? {
        guard self.count > 0 else { return nil }
        let place = self.place(self.count - 1)
        return self.batches[place.batch].withID(place.index) { [UInt8]($0) }
    }
}

/// How far the shards of an answer had been replayed, each at the moment it was read.
package struct ReadExtent: Sendable, Equatable {
    /// Everything up to here was seen, in every shard: the answer's index version.
    package var applied: JournalOffset
    /// Nothing behind here was seen, in any shard: what a session must have from now on.
    package var seen: JournalOffset

    package init(_ offsets: some Sequence<JournalOffset>) {
        self.applied = offsets.min() ?? 0
        self.seen = offsets.max() ?? 0
    }
    package init(applied: JournalOffset, seen: JournalOffset) {
        self.applied = applied
        self.seen = seen
    }
}

package struct MergedSearch: Sendable {
    /// Nearest first; equal distances in id order.
    package var points: MergedPoints
    /// Of `points`, in order.
    package var distances: [Float]
    package var plan: ShardSearchPlan
    package var extent: ReadExtent
}

package struct MergedGet: Sendable {
    /// Points found, in the order asked for.
    package var points: MergedPoints
    /// Positions in the request whose point does not exist.
    package var missing: [Int]
    package var extent: ReadExtent
}

package struct MergedScroll: Sendable {
    /// In id order.
    package var points: MergedPoints
    package var next: [UInt8]?
    package var extent: ReadExtent
}

/// Answers of several shards made one.
enum Merging {
    static func search(_ results: [ShardSearchResult], limit: Int) -> MergedSearch {
        if results.count == 1 {
            let only = results[0]
            return MergedSearch(
                points: MergedPoints(only.points), distances: only.distances, plan: only.plan,
                extent: ReadExtent([only.applied]))
        }
        var found: [(distance: Float, place: MergedPoints.Place)] = []
        found.reserveCapacity(results.reduce(0) { $0 + $1.distances.count })
        for (batch, result) in results.enumerated() {
            for (index, distance) in result.distances.enumerated() {
                found.append((distance, .init(batch: batch, index: index)))
            }
        }
        found.sort { a, b in
            if a.distance != b.distance { return a.distance < b.distance }
            return Self.isBefore(
                results[a.place.batch].points, a.place.index, results[b.place.batch].points, b.place.index)
        }
        if found.count > limit { found.removeSubrange(limit...) }
        return MergedSearch(
            points: MergedPoints(results.map(\.points), order: found.map(\.place)), distances: found.map(\.distance),
            plan: Self.plan(results.map(\.plan)), extent: ReadExtent(results.map(\.applied)))
    }

    private static func plan(_ plans: [ShardSearchPlan]) -> ShardSearchPlan {
        var merged = ShardSearchPlan()
        for plan in plans {
            merged.strategies.formUnion(plan.strategies)
            merged.visited += plan.visited
            if let matching = plan.matching { merged.matching = (merged.matching ?? 0) + matching }
            for field in plan.unindexed where !merged.unindexed.contains(field) { merged.unindexed.append(field) }
        }
        return merged
    }

    /// - Parameters:
    ///   - results: By shard; nil for those that nothing was asked of.
    ///   - positions: By shard, the request's positions in the order in which they were asked.
    ///   - applied: By all shards, asked or not.
    static func get(
        _ results: [ShardGetResult?], positions: [[Int]], count: Int, applied: JournalOffset
    ) -> MergedGet {
        var places = [MergedPoints.Place?](repeating: nil, count: count)
        var missing: [Int] = []
        var batches: [PointBatch] = []
        for (shard, result) in results.enumerated() {
            guard let result else { continue }
            var absent = result.missing[...]
            var index = 0
            for (asked, position) in positions[shard].enumerated() {
                if absent.first == asked {
                    absent.removeFirst()
                    missing.append(position)
                } else {
                    places[position] = .init(batch: batches.count, index: index)
                    index += 1
                }
            }
            batches.append(result.points)
        }
        return MergedGet(
            points: MergedPoints(batches, order: places.compactMap { $0 }), missing: missing.sorted(),
            extent: ReadExtent(results.compactMap { $0?.applied } + [applied]))
    }

    /// Pages of several shards as one page. A shard that goes on has told all its points up to where it stopped and none behind, so the
    /// page ends at the first of these places at the latest.
    static func scroll(_ results: [ShardScrollResult], limit: Int, room: AnswerRoom) -> MergedScroll {
        if results.count == 1 {
            return MergedScroll(
                points: MergedPoints(results[0].points), next: results[0].next, extent: ReadExtent([results[0].applied])
            )
        }
        let bound = results.compactMap(\.next).min { Self.less($0, $1) }
        let batches = results.map(\.points)
        var heads = [Int](repeating: 0, count: batches.count)
        var order: [MergedPoints.Place] = []
        var bytes = 0
        var isCut = false
        while true {
            var least: Int?
            for batch in batches.indices where heads[batch] < batches[batch].count {
                if let bound, batches[batch].withID(heads[batch], { Self.less(bound, $0) }) { continue }
                if let other = least, !Self.isBefore(batches[batch], heads[batch], batches[other], heads[other]) {
                    continue
                }
                least = batch
            }
            guard let batch = least else { break }
            bytes += room.bytes(batches[batch], heads[batch])
            if order.count == limit || (bytes > room.bytes && !order.isEmpty) {
                isCut = true
                break
            }
            order.append(.init(batch: batch, index: heads[batch]))
            heads[batch] += 1
        }
        let points = MergedPoints(batches, order: order)
        return MergedScroll(
            points: points, next: isCut ? points.lastID : bound, extent: ReadExtent(results.map(\.applied)))
    }

    private static func isBefore(_ a: PointBatch, _ i: Int, _ b: PointBatch, _ j: Int) -> Bool {
        a.withID(i) { first in b.withID(j) { second in ByteOrder.less(first, second) } }
    }

    private static func less(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.withUnsafeBytes { first in b.withUnsafeBytes { ByteOrder.less(first, $0) } }
    }
    private static func less(_ a: [UInt8], _ b: UnsafeRawBufferPointer) -> Bool {
        a.withUnsafeBytes { ByteOrder.less($0, b) }
    }
}
