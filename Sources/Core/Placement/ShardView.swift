internal import Primitives

/// A shard with what is known of its replicas.
struct ShardView {
    struct Replica {
        let replica: ShardReplica
        let node: NodeView
        let isLost: Bool
        let isReady: Bool

        var isDead: Bool { self.node.isDead }
        var isLive: Bool { self.replica.state == .live }
        /// Live in the map, and nothing speaks against it for good.
        var isKept: Bool { self.isLive && !self.isDead && !self.isLost && self.node.isKept }
        /// Live, and known to be good now.
        var isConfirmed: Bool { self.isLive && self.isReady && !self.isLost }
        /// And likely to stay.
        var isSettled: Bool { self.isConfirmed && self.node.isKept && self.node.health == .up }
    }
    let id: ShardID
    let record: ShardRecord
    let wanted: Int
    let replicas: [Replica]

    init(_ id: ShardID, _ planning: Planning) {
        let collection = planning.map.collections[id.collection]!
        self.id = id
        self.wanted = collection.replication
        self.record = collection.shards[Int(id.shard)]
        var replicas: [Replica] = []
        for replica in self.record.replicas {
            let node = planning.node(replica.node)
            replicas.append(
                Replica(replica: replica, node: node, isLost: node.hasLost(replica), isReady: node.isReady(replica)))
        }
        self.replicas = replicas
    }

    var confirmed: Int { self.replicas.reduce(0) { $0 + ($1.isConfirmed ? 1 : 0) } }
    var kept: Int { self.replicas.reduce(0) { $0 + ($1.isKept ? 1 : 0) } }
    var settled: Int { self.replicas.reduce(0) { $0 + ($1.isSettled ? 1 : 0) } }

    /// A building replica that is to be a copy more, or in the place of one that is gone; not one that a move makes.
    func fills(_ other: Replica) -> Bool {
        guard other.replica.state == .building, !other.isDead, !other.isLost, other.node.isKept else { return false }
        return !self.replicas.contains { $0.replica.incarnation == other.replica.movesFrom && $0.isKept }
    }
    /// Copies, now or soon.
    var keepers: Int { self.replicas.reduce(0) { $0 + ($1.isKept || self.fills($1) ? 1 : 0) } }

    /// The live copy furthest on, by its last report: what a new one is measured against.
    var furthest: JournalOffset {
        self.replicas.reduce(0) { furthest, other in
            guard other.replica.state != .building, !other.isLost else { return furthest }
            return max(furthest, other.node.report?.replicas[other.replica.incarnation]?.applied ?? 0)
        }
    }

    /// Bytes of the largest copy that is known.
    var bytes: UInt64 {
        self.replicas.reduce(0) { max($0, $1.node.report?.replicas[$1.replica.incarnation]?.bytes ?? 0) }
    }

    /// Nothing to do here but what balance may want.
    var isWell: Bool {
        self.replicas.count == self.wanted && self.replicas.allSatisfy(\.isSettled)
    }
    /// The source of a move under way: its load is gone from the node in a while. Where more copies were asked for meanwhile, it stays.
    func isMovedAway(_ other: Replica) -> Bool {
        self.replicas.contains {
            $0.replica.movesFrom == other.replica.incarnation && !$0.isDead && !$0.isLost && $0.node.isKept
                && ($0.replica.state == .building || self.record.liveCount > self.wanted)
        }
    }

    /// How many copies that stay are in the zone.
    func count(inZone zone: Int) -> Int {
        self.replicas.reduce(0) { count, other in
            let stays =
                (other.isKept && !self.isMovedAway(other)) || (other.replica.state == .building && !other.isDead)
            return count + (stays && other.node.zone == zone ? 1 : 0)
        }
    }

    func cost(_ settings: PlannerSettings) -> UInt64 { 1 + self.bytes / settings.bytesPerUnit }
}
