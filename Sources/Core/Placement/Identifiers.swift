internal import Primitives

/// One process of the cluster. Never given out twice: a removed node's id stays removed.
package struct NodeID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package let rawValue: UInt64
    package init(_ rawValue: UInt64) { self.rawValue = rawValue }
    package static func < (a: NodeID, b: NodeID) -> Bool { a.rawValue < b.rawValue }
    package var description: String { "n\(self.rawValue)" }
}

/// Counts the changes of a ``ClusterMap``, one each; 0 is the empty map.
package typealias MapEpoch = UInt64

/// Names one replica, of a shard or of a partition, for ever: removed and made again on the same node it is another one. 0 is none.
package typealias Incarnation = UInt64

extension VecraftError {
    /// The map has moved on since the change was thought of. Read it again and think again.
    static func stale(expected: MapEpoch, actual: MapEpoch) -> VecraftError {
        VecraftError(
            .aborted, "the cluster map is at epoch \(actual), the change was made for \(expected)",
            reason: "STALE_EPOCH")
    }

    /// The change is not allowed on this map, now or ever.
    static func refused(_ what: String) -> VecraftError {
        VecraftError(.failedPrecondition, what, reason: "MAP_CHANGE_REFUSED")
    }
}
