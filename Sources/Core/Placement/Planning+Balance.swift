internal import Primitives

extension Planning {
    /// Moves shards where that is worth it: first to spread copies over zones, then loads over nodes.
    ///
    /// Each move makes the sum over shards of squared copies in a zone smaller, or leaves it and makes the sum of squared loads
    /// smaller: so moves come to an end.
    mutating func balanceShards() {
        guard self.builds == self.moves, self.firstBuilds == 0,
            !self.nodes.contains(where: { $0.isKept && $0.health == .suspected })
        else { return }
        var moved: Set<ShardID> = []
        if self.zones > 1 { self.spreadZones(&moved) }
        self.levelLoads(&moved)
    }

    private mutating func spreadZones(_ moved: inout Set<ShardID>) {
        for id in self.map.collections.keys.sorted() {
            for i in self.map.collections[id]!.shards.indices {
                guard self.moves < self.settings.maxMoves else { return }
                // Two copies at least in one zone: few are so, and only these are looked at closely.
                let replicas = self.map.collections[id]!.shards[i].replicas
                guard self.crowdsAZone(replicas) else { continue }
                let view = ShardView(ShardID(collection: id, shard: UInt32(i)), self)
                guard view.isWell, let (from, to) = self.wayOut(view) else { continue }
                let reason =
                    "\(from.node.id) is in a zone with \(view.count(inZone: from.node.zone)) copies, \(to.id) in one with \(view.count(inZone: to.zone))"
                if self.move(view, from, to, reason) { moved.insert(view.id) }
            }
        }
    }

    private func crowdsAZone(_ replicas: [ShardReplica]) -> Bool {
        for (i, one) in replicas.enumerated() {
            let zone = self.node(one.node).zone
            for other in replicas[(i + 1)...] where self.node(other.node).zone == zone { return true }
        }
        return false
    }

    /// From the most crowded zone to one with two copies less, the least loaded node there.
    private func wayOut(_ view: ShardView) -> (from: ShardView.Replica, to: NodeView)? {
        let crowded = view.replicas.max { a, b in
            let (x, y) = (view.count(inZone: a.node.zone), view.count(inZone: b.node.zone))
            return x != y
                ? x < y
                : self.load(a.node) != self.load(b.node) ? self.load(a.node) < self.load(b.node) : a.node.id > b.node.id
        }
        guard let crowded else { return nil }
        let most = view.count(inZone: crowded.node.zone)
        let target = self.nodes.filter { node in
            self.mayReceive(node, view) && view.count(inZone: node.zone) + 2 <= most
        }.min { a, b in
            (view.count(inZone: a.zone), self.load(a), a.id) < (view.count(inZone: b.zone), self.load(b), b.id)
        }
        return target.map { (crowded, $0) }
    }

    private func load(_ node: NodeView) -> UInt64 { self.loads[self.nodeIndex[node.id]!].relative }

    private func mayReceive(_ node: NodeView, _ view: ShardView) -> Bool {
        let place = self.nodeIndex[node.id]!
        return node.mayTake(.storage) && view.record.replica(on: node.id) == nil
            && self.loads[place].builds < self.settings.maxBuildsPerNode && self.hasRoom(place, view.bytes)
    }

    private mutating func move(_ view: ShardView, _ from: ShardView.Replica, _ to: NodeView, _ reason: String) -> Bool {
        guard self.builds < self.settings.maxBuilds,
            self.place(view, to, movesFrom: from.replica.incarnation, reason)
        else { return false }
        self.moves += 1
        let source = self.nodeIndex[from.node.id]!
        self.loads[source].units -= min(self.loads[source].units, view.cost(self.settings))
        return true
    }

    // MARK: Loads

    private mutating func levelLoads(_ moved: inout Set<ShardID>) {
        let takers = self.nodes.indices.filter { self.nodes[$0].mayTake(.storage) }
        guard takers.count > 1 else { return }
        let mean = takers.reduce(0) { $0 + self.loads[$1].relative } / UInt64(takers.count)
        let worth = self.bugs.contains(.rebalanceForEver) ? 0 : mean * self.settings.worthMoving / 1000
        var views: [Int: [ShardView]] = [:]
        while self.moves < self.settings.maxMoves, self.levelOnce(takers, worth, &views, &moved) {}
    }

    /// One move, from as full a node as can be to as empty a one.
    private mutating func levelOnce(
        _ takers: [Int], _ worth: UInt64, _ views: inout [Int: [ShardView]], _ moved: inout Set<ShardID>
    ) -> Bool {
        let byLoad = takers.sorted { (self.loads[$0].relative, $0) < (self.loads[$1].relative, $1) }
        let emptiest = self.loads[byLoad[0]].relative
        for source in byLoad.reversed() {
            let full = self.loads[source].relative
            guard full >= emptiest + worth, full > emptiest || self.bugs.contains(.rebalanceForEver) else {
                return false
            }
            if views.isEmpty { views = self.viewsByNode() }
            for target in byLoad where target != source {
                guard full >= self.loads[target].relative + worth else { break }
                let (from, to) = (self.nodes[source], self.nodes[target])
                let best = (views[source] ?? []).filter { view in
                    !moved.contains(view.id) && self.mayReceive(to, view) && self.isLighter(view, source, target)
                        && (to.zone == from.zone || view.count(inZone: to.zone) < view.count(inZone: from.zone))
                }.max { a, b in
                    let (x, y) = (a.cost(self.settings), b.cost(self.settings))
                    return x != y ? x < y : a.id > b.id
                }
                guard let best, let replica = best.replicas.first(where: { $0.node.id == from.id }) else { continue }
                let reason =
                    "\(from.id) carries \(self.loads[source].units), \(to.id) \(self.loads[target].units) of weights \(from.record.weight) and \(to.record.weight)"
                guard self.move(best, replica, to, reason) else { return false }
                moved.insert(best.id)
                return true
            }
        }
        return false
    }

    /// The fuller stays the fuller, or they become equal: so no move asks for the one back.
    private func isLighter(_ view: ShardView, _ source: Int, _ target: Int) -> Bool {
        let cost = view.cost(self.settings)
        return self.bugs.contains(.rebalanceForEver)
            || self.loads[source].relative(without: cost) >= self.loads[target].relative(with: cost)
    }

    /// The shards that may be moved, by the place of each node that has them.
    private func viewsByNode() -> [Int: [ShardView]] {
        var views: [Int: [ShardView]] = [:]
        for id in self.map.collections.keys.sorted() {
            for i in self.map.collections[id]!.shards.indices {
                let view = ShardView(ShardID(collection: id, shard: UInt32(i)), self)
                guard view.isWell else { continue }
                for other in view.replicas { views[self.nodeIndex[other.node.id]!, default: []].append(view) }
            }
        }
        return views
    }
}
