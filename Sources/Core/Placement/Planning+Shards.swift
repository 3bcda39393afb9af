internal import Primitives

extension Planning {
    /// Reads all shards once: loads, builds under way, and who needs something.
    mutating func survey() {
        for id in self.map.collections.keys.sorted() {
            for i in self.map.collections[id]!.shards.indices {
                let view = ShardView(ShardID(collection: id, shard: UInt32(i)), self)
                let cost = view.cost(self.settings)
                for other in view.replicas {
                    let place = self.nodeIndex[other.replica.node]!
                    if other.replica.state == .building, view.record.firstLive == 0 { self.firstBuilds += 1 }
                    if other.replica.state == .building, view.record.firstLive > 0 {
                        self.builds += 1
                        self.loads[place].builds += 1
                        self.loads[place].take(view.bytes)
                        if other.replica.movesFrom != 0 { self.moves += 1 }
                    }
                    if other.replica.state != .leaving && !view.isMovedAway(other) { self.loads[place].units += cost }
                }
                guard !view.isWell else { continue }
                self.unwell.append((view.confirmed, view.id))
            }
        }
        self.unwell.sort { ($0.confirmed, $0.id) < ($1.confirmed, $1.id) }
    }

    /// building -> live, of all that have caught up: a decision a collection.
    mutating func promote() {
        var ready: [UInt64: [ReplicaName]] = [:]
        for (_, id) in self.unwell {
            let view = ShardView(id, self)
            for other in view.replicas where other.replica.state == .building && self.mayPromote(other, view) {
                ready[id.collection, default: []].append(
                    ReplicaName(shard: id.shard, incarnation: other.replica.incarnation))
            }
        }
        for (id, names) in ready.sorted(by: { $0.key < $1.key }) {
            let names = names.sorted { ($0.shard, $0.incarnation) < ($1.shard, $1.incarnation) }
            self.decide(.promoteReplicas(id, names), "complete, and within \(self.settings.maxPromotionLag) entries")
        }
    }

    private func mayPromote(_ other: ShardView.Replica, _ view: ShardView) -> Bool {
        if self.bugs.contains(.promoteUnready) { return other.node.isReachable && !other.isLost }
        guard other.isReady, let seen = other.node.report?.replicas[other.replica.incarnation] else { return false }
        return seen.applied + self.settings.maxPromotionLag >= view.furthest
    }

    mutating func tendShards() {
        for (_, id) in self.unwell {
            guard self.plan.decisions.count < self.settings.maxDecisions else { return }
            self.dropLost(id)
            self.dropBuilds(id)
            self.reinstate(id)
            self.fill(id)
            // In this order: a copy retired in this plan is forgotten by a later one, from a newer report at the earliest.
            self.forget(id)
            self.trim(id)
        }
    }

    // MARK: What is gone

    private mutating func dropLost(_ id: ShardID) {
        let view = ShardView(id, self)
        for other in view.replicas where other.isLost {
            let which = other.replica.incarnation
            switch other.replica.state {
            case .building: self.cancel(other, view, "\(other.node.id) does not have it any more")
            case .leaving:
                // It is no copy; but the map may have no other.
                guard view.confirmed > 0 else { continue }
                self.decide(.forgetReplica(id, which), "\(other.node.id) does not have it any more")
            case .live:
                guard view.confirmed > 0 else {
                    self.block("\(id): \(other.node.id) lost its copy, and no other is there to copy from")
                    continue
                }
                if self.decide(.discardReplica(id, which), "\(other.node.id) lost its copy") {
                    self.unload(other.node.id, view)
                }
            }
        }
    }

    private mutating func dropBuilds(_ id: ShardID) {
        let view = ShardView(id, self)
        for other in view.replicas where other.replica.state == .building && !other.isLost {
            let seen = other.node.report?.replicas[other.replica.incarnation]?.state
            if other.isDead {
                self.cancel(other, view, "\(other.node.id) is down")
            } else if other.node.isReachable && seen == .failed {
                self.cancel(other, view, "copying to \(other.node.id) failed")
            } else if !other.node.isKept {
                self.cancel(other, view, "\(other.node.id) is being drained")
            } else if other.node.isDeafTo(other.replica.made) {
                self.cancel(other, view, "\(other.node.id) does not hear of the map")
            }
        }
        // What was down is back, and steady, before its successor was ready.
        let after = ShardView(id, self)
        var surplus = after.keepers - after.wanted
        guard surplus > 0, after.settled >= after.wanted else { return }
        for other in after.replicas.reversed() where surplus > 0 && after.fills(other) {
            self.cancel(other, after, "\(after.settled) of \(after.wanted) copies are live without it")
            surplus -= 1
        }
    }

    private mutating func cancel(_ other: ShardView.Replica, _ view: ShardView, _ reason: String) {
        guard self.decide(.cancelReplica(view.id, other.replica.incarnation), reason) else { return }
        self.unload(other.node.id, view)
        guard view.record.firstLive > 0 else { return }
        self.builds -= 1
        self.loads[self.nodeIndex[other.node.id]!].builds -= 1
        if other.replica.movesFrom != 0 { self.moves -= 1 }
    }

    private mutating func unload(_ node: NodeID, _ view: ShardView) {
        let place = self.nodeIndex[node]!
        self.loads[place].units -= min(self.loads[place].units, view.cost(self.settings))
    }

    /// leaving -> live: what was to replace it is gone before it was.
    private mutating func reinstate(_ id: ShardID) {
        let view = ShardView(id, self)
        var live = view.replicas.reduce(0) { $0 + ($1.isLive && !$1.isDead && !$1.isLost ? 1 : 0) }
        // A copy that is here already is better than one more to make, too.
        var keepers = view.keepers
        for other in view.replicas where other.replica.state == .leaving && other.isReady {
            guard live < view.wanted || (keepers < view.wanted && other.node.isKept) else { continue }
            let reason = "only \(min(live, keepers)) of \(view.wanted) copies stay without it"
            guard self.decide(.reinstateReplica(id, other.replica.incarnation), reason) else { return }
            live += 1
            keepers += other.node.isKept ? 1 : 0
            self.loads[self.nodeIndex[other.node.id]!].units += view.cost(self.settings)
        }
    }

    // MARK: What is missing

    private mutating func fill(_ id: ShardID) {
        let view = ShardView(id, self)
        let need = view.wanted - view.keepers
        guard need > 0 else { return }
        if view.record.firstLive > 0, view.confirmed == 0 {
            let holders = view.replicas.filter { $0.replica.state != .building && !$0.isLost }.map { "\($0.node.id)" }
            // Of those that lost their copies it was said already.
            guard !holders.isEmpty else { return }
            return self.block("\(id): no live copy can be reached; waiting for \(holders.joined(separator: ", "))")
        }
        // A new collection's shards come in one decision.
        if view.record.replicas.isEmpty, view.record.firstLive == 0 { return self.placeNew(id.collection) }
        for _ in 0..<need {
            let view = ShardView(id, self)
            guard let node = self.choose(for: view) else { return }
            let gone = view.replicas.filter { $0.isLive && !$0.isKept }.map { other in
                other.isDead ? "\(other.node.id) is down" : "\(other.node.id) is being drained"
            }
            let cause = gone.isEmpty ? "\(view.keepers) of \(view.wanted) copies" : gone.joined(separator: ", ")
            guard self.place(view, node, movesFrom: 0, "\(cause); \(node.id) holds least") else { return }
        }
    }

    mutating func place(_ view: ShardView, _ node: NodeView, movesFrom: Incarnation, _ reason: String) -> Bool {
        let new = NewReplica(shard: view.id.shard, node: node.id, movesFrom: movesFrom)
        guard self.decide(.placeReplicas(view.id.collection, [new]), reason) else { return false }
        self.load(node.id, view)
        guard view.record.firstLive > 0 else { return true }
        self.builds += 1
        self.loads[self.nodeIndex[node.id]!].builds += 1
        return true
    }

    private mutating func load(_ node: NodeID, _ view: ShardView) {
        let place = self.nodeIndex[node]!
        self.loads[place].units += view.cost(self.settings)
        self.loads[place].take(view.bytes)
    }

    /// All shards of a collection that have no replica at all.
    private mutating func placeNew(_ id: UInt64) {
        guard self.placedNew.insert(id).inserted else { return }
        let collection = self.map.collections[id]!
        var new: [NewReplica] = []
        for (i, shard) in collection.shards.enumerated() where shard.replicas.isEmpty && shard.firstLive == 0 {
            let view = ShardView(ShardID(collection: id, shard: UInt32(i)), self)
            var taken: [NodeView] = []
            while taken.count < collection.replication, let node = self.choose(for: view, besides: taken) {
                taken.append(node)
                self.load(node.id, view)
                new.append(NewReplica(shard: UInt32(i), node: node.id))
            }
        }
        guard !new.isEmpty else { return }
        self.decide(.placeReplicas(id, new), "a new collection, spread over nodes and zones")
    }

    /// The best node for a copy more: in the zone with the fewest copies, then with the least load.
    private mutating func choose(for view: ShardView, besides taken: [NodeView] = []) -> NodeView? {
        guard view.record.firstLive == 0 || self.builds < self.settings.maxBuilds else {
            self.block("\(view.id): \(self.builds) copies are under way already")
            return nil
        }
        typealias Score = (Int, Int, UInt64, Int, NodeID)
        var best: (score: Score, node: NodeView)?
        var busy = 0
        for (i, node) in self.nodes.enumerated() where node.mayTake(.storage) {
            guard view.record.replica(on: node.id) == nil, !taken.contains(where: { $0.id == node.id }),
                self.hasRoom(i, view.bytes)
            else { continue }
            guard view.record.firstLive == 0 || self.loads[i].builds < self.settings.maxBuildsPerNode else {
                busy += 1
                continue
            }
            let zone = node.zone
            let score: Score = (
                node.report!.failedBuilds,
                view.count(inZone: zone) + taken.reduce(0) { $0 + ($1.zone == zone ? 1 : 0) },
                self.loads[i].relative(with: view.cost(self.settings)), node.report!.busy / 100, node.id
            )
            if best.map({ score < $0.score }) ?? true { best = (score, node) }
        }
        if best == nil {
            self.block(
                busy > 0
                    ? "\(view.id): the nodes that could take a copy are copying already"
                    : "\(view.id): no node without a copy can take one")
        }
        return best?.node
    }

    func hasRoom(_ place: Int, _ bytes: UInt64) -> Bool {
        guard let free = self.loads[place].diskFree, let total = self.nodes[place].report?.diskTotal else {
            return true
        }
        return free >= bytes && free - bytes >= total / 1000 * self.settings.minDiskFree
    }

    // MARK: What is too much

    /// live -> leaving, one at a time: what is down, being drained or moved away, else where it crowds most.
    private mutating func trim(_ id: ShardID) {
        let view = ShardView(id, self)
        // What counts is good now and steady; the copy that goes does not count.
        var good = view.settled
        if self.bugs.contains(.countDeadCopies) {
            good = view.replicas.reduce(0) { $0 + ($1.isLive && ($1.node.isKept || $1.isDead) ? 1 : 0) }
        }
        if self.bugs.contains(.trimBeforeLive) {
            good = view.keepers + view.replicas.reduce(0) { $0 + ($1.replica.movesFrom != 0 ? 1 : 0) }
        }
        func mayGo(_ other: ShardView.Replica) -> Bool {
            good - (other.isSettled ? 1 : 0) >= view.wanted && !(other.node.health == .suspected && other.node.isKept)
        }
        let live = view.replicas.filter { $0.isLive && !$0.isLost }
        guard live.count > view.wanted || self.bugs.contains(.trimBeforeLive) else { return }
        let candidates = live.filter(mayGo)
        func rank(_ other: ShardView.Replica) -> (Int, Int, UInt64, Incarnation) {
            let kind =
                other.isDead && !other.node.isKept
                ? 0 : other.isDead ? 1 : !other.node.isKept ? 2 : view.isMovedAway(other) ? 3 : 4
            let crowd = -view.count(inZone: other.node.zone)
            return (kind, crowd, .max - self.loads[self.nodeIndex[other.node.id]!].relative, other.replica.incarnation)
        }
        guard let goer = candidates.min(by: { rank($0) < rank($1) }) else { return }
        let kind = rank(goer).0
        if self.bugs.contains(.trimBeforeLive), kind == 4, live.count <= view.wanted { return }
        let cause = ["down and being drained", "down", "being drained", "moved away", "one more than wanted"][kind]
        let reason =
            "on \(goer.node.id), \(cause); \(good - (goer.isSettled ? 1 : 0)) of \(view.wanted) copies are live without it"
        guard self.decide(.retireReplica(id, goer.replica.incarnation), reason) else { return }
        if kind != 3 { self.unload(goer.node.id, view) }
    }

    /// leaving -> none, once enough good copies are there without it and nobody reads it.
    private mutating func forget(_ id: ShardID) {
        let view = ShardView(id, self)
        for other in view.replicas where other.replica.state == .leaving && !other.isLost {
            guard
                view.settled >= view.wanted || self.bugs.contains(.trimBeforeLive)
                    || self.bugs.contains(.countDeadCopies)
            else { continue }
            let reads = other.node.report?.replicas[other.replica.incarnation]?.readsInFlight ?? 0
            // Of a node that is to go and is silent nobody waits for the last word.
            guard
                other.isDead || (!other.node.isKept && !other.node.isReachable)
                    || (other.node.isReachable && reads == 0)
            else { continue }
            self.decide(.forgetReplica(id, other.replica.incarnation), "\(view.settled) copies are live without it")
        }
    }
}

extension NodeLoad {
    mutating func take(_ bytes: UInt64) {
        guard let free = self.diskFree else { return }
        self.diskFree = free - min(free, bytes)
    }
}
