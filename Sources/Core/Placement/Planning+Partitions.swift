internal import Primitives

/// A partition with what is known of its group.
struct GroupView {
    struct Replica {
        let replica: JournalReplica
        let node: NodeView
        let isLost: Bool
        /// Halted, and for long.
        let isStuck: Bool
        /// Runs, as far as is known now.
        let isAlive: Bool
        let isCaughtUp: Bool

        var which: Incarnation { self.replica.incarnation }
        /// To be replaced.
        var isBad: Bool { self.isLost || self.isStuck || self.node.isDead || !self.node.isKept }
        var cause: String {
            self.isLost
                ? "\(self.node.id) lost its log"
                : self.isStuck
                    ? "\(self.node.id) cannot go on with its log"
                    : self.node.isDead ? "\(self.node.id) is down" : "\(self.node.id) is being drained"
        }
    }
    let record: JournalRecord
    let group: GroupObservation?
    let replicas: [Replica]

    init(_ id: PartitionID, _ planning: Planning) {
        self.record = planning.map.partitions[id]!
        let group = planning.observations.groups[id]
        self.group = group
        self.replicas = self.record.replicas.map { replica in
            let node = planning.node(replica.node)
            let isLost = node.hasLost(replica)
            let isRunning =
                node.isRunning(replica)
                || planning.bugs.contains(.countHalted) && node.isReachable && !isLost
            let isAlive = !isLost && isRunning
            return Replica(
                replica: replica, node: node, isLost: isLost, isStuck: node.isStuck(replica), isAlive: isAlive,
                isCaughtUp: isAlive && group?.caughtUp.contains(replica.incarnation) == true)
        }
    }

    var voters: [Replica] { self.replicas.filter { $0.replica.role == .voter } }
    var learners: [Replica] { self.replicas.filter { $0.replica.role == .learner } }

    /// The group is what the map says: the last change is through.
    var isSettled: Bool {
        guard let group = self.group, !group.isJoint else { return false }
        return group.voters == Set(self.voters.map(\.which)) && group.learners == Set(self.learners.map(\.which))
    }

    static func hasMajority(_ voters: [Replica]) -> Bool {
        voters.reduce(0) { $0 + ($1.isAlive ? 1 : 0) } > voters.count / 2
    }
}

extension Planning {
    mutating func planPartitions() {
        for record in self.map.partitions.values {
            for replica in record.replicas where replica.role != .leaving {
                if record.learners.contains(where: { $0.replaces == replica.incarnation }) { continue }
                self.loads[self.nodeIndex[replica.node]!].journals += 1
            }
        }
        for id in self.map.partitions.keys.sorted() {
            let before = self.plan.decisions.count
            let isWell = self.tendPartition(id)
            if !isWell || self.plan.decisions.count != before { self.isJournalCalm = false }
        }
    }

    /// At most one change of the group. False if something is missing or under way.
    private mutating func tendPartition(_ id: PartitionID) -> Bool {
        let view = GroupView(id, self)
        guard view.record.changed > 0 else {
            self.start(view.record)
            return false
        }
        guard view.isSettled || self.bugs.contains(.changeUnsettled) else {
            self.waitFor(view)
            return false
        }
        guard GroupView.hasMajority(view.voters) || self.bugs.contains(.ignoreMajority) else {
            let silent = view.voters.filter { !$0.isAlive }.map { "\($0.node.id)" }
            self.block("\(id): no majority of its voters is alive; not there: \(silent.joined(separator: ", "))")
            return false
        }
        for other in view.voters where other.node.hasHalted(other.replica) {
            self.block("\(id): the replica on \(other.node.id) has halted; a restart may mend it")
        }
        for other in view.replicas where other.replica.role == .leaving {
            self.decide(.forgetJournalReplica(id, other.which), "the group goes on without it")
        }
        if let learner = view.learners.first(where: { $0.isBad || $0.node.isDeafTo($0.replica.made) }) {
            return self.decide(
                .removeLearner(id, learner.which),
                learner.isBad ? learner.cause : "\(learner.node.id) does not hear of the map")
        }
        return self.changeVoters(view)
    }

    private mutating func start(_ record: JournalRecord) {
        let spread = self.takers(of: record.id, beside: [], count: record.wanted)
        let count = min(record.wanted, spread.count - (spread.count % 2 == 0 ? 1 : 0))
        guard count > 0 else { return self.block("\(record.id): no node can take its journal") }
        self.decide(
            .startPartition(record.id, spread.prefix(count).map(\.id)), "a new partition, spread over nodes and zones")
        for node in spread.prefix(count) { self.loads[self.nodeIndex[node.id]!].journals += 1 }
    }

    /// The group is not yet, or not any more, what the map says.
    private mutating func waitFor(_ view: GroupView) {
        let id = view.record.id
        guard let group = view.group else { return self.block("\(id): no leader is known") }
        // A new voter, or too many of the old, were lost before the group took the change: it cannot get there, so the map goes
        // back to where it is.
        let gone = view.voters.filter { $0.isLost || $0.isStuck || $0.node.isDead }
        let isOutOfReach = gone.count * 2 >= view.voters.count
        let stuck = gone.first { isOutOfReach || !group.voters.contains($0.which) }
        let known = view.replicas.filter { group.voters.contains($0.which) }
        guard let stuck, !group.isJoint, known.count == group.voters.count,
            group.voters != Set(view.voters.map(\.which))
        else { return }
        self.decide(.setVoters(id, known.map(\.which)), "\(stuck.cause) before it voted; the group stays as it is")
    }

    private mutating func changeVoters(_ view: GroupView) -> Bool {
        let voters = view.voters
        let bad = voters.filter(\.isBad).sorted { ($0.isAlive ? 1 : 0, $0.which) < ($1.isAlive ? 1 : 0, $1.which) }
        if voters.count > view.record.wanted { return self.shrink(view, bad) }
        let ready = view.learners.filter { $0.isCaughtUp && $0.node.health == .up && $0.node.isKept }

        if let goer = bad.first {
            // One that was to move another voter is taken rather than none.
            let fits = ready.filter { new in !voters.contains { $0.which != goer.which && $0.node.id == new.node.id } }
            let new =
                fits.first { $0.replica.replaces == goer.which } ?? fits.first { $0.replica.replaces == 0 }
                ?? fits.first
            if let new { return self.swap(view, goer, new, goer.cause) }
        } else {
            let free = ready.filter { $0.replica.replaces == 0 }
            if voters.count + 2 <= view.record.wanted, free.count >= 2 {
                let all = voters + free.prefix(2)
                return self.set(
                    view, all, "\(voters.count) of \(view.record.wanted) voters, and two learners have caught up")
            }
            for new in ready {
                guard let goer = voters.first(where: { $0.which == new.replica.replaces }) else { continue }
                return self.swap(view, goer, new, "moved to \(new.node.id)")
            }
        }
        return self.changeLearners(view, bad)
    }

    private mutating func swap(
        _ view: GroupView, _ goer: GroupView.Replica, _ new: GroupView.Replica, _ cause: String
    ) -> Bool {
        self.set(
            view, view.voters.filter { $0.which != goer.which } + [new],
            "\(cause); #\(new.which) on \(new.node.id) has caught up")
    }

    /// False in any case: a change is under way, or cannot be made now.
    private mutating func set(_ view: GroupView, _ voters: [GroupView.Replica], _ reason: String) -> Bool {
        guard GroupView.hasMajority(voters) || self.bugs.contains(.ignoreMajority) else {
            self.block("\(view.record.id): its next voters would have no majority alive")
            return false
        }
        self.decide(.setVoters(view.record.id, voters.map(\.which)), reason)
        return false
    }

    private mutating func shrink(_ view: GroupView, _ bad: [GroupView.Replica]) -> Bool {
        let order = view.voters.sorted { a, b in
            func rank(_ other: GroupView.Replica) -> (Int, Int, UInt64, Incarnation) {
                let load = self.loads[self.nodeIndex[other.node.id]!].journalsRelative()
                return (other.isBad ? 1 : 0, other.isAlive ? 0 : 1, load, other.which)
            }
            return rank(a) < rank(b)
        }
        return self.set(
            view, Array(order.prefix(view.record.wanted)), "\(view.voters.count) voters, \(view.record.wanted) wanted")
    }

    private mutating func changeLearners(_ view: GroupView, _ bad: [GroupView.Replica]) -> Bool {
        let id = view.record.id
        let need = bad.count + view.record.wanted - view.voters.count
        // Those that move a voter for balance are beside what is needed.
        let movers = view.learners.filter { learner in
            learner.replica.replaces != 0 && !bad.contains { $0.which == learner.replica.replaces }
        }
        let spare = view.learners.filter { learner in !movers.contains { $0.which == learner.which } }
        if spare.count > need {
            guard view.voters.allSatisfy({ $0.isAlive && ($0.isBad || $0.node.health == .up) }) else { return false }
            return self.decide(.removeLearner(id, spare.last!.which), "all voters are there again")
        }
        guard spare.count < need, view.learners.count < ClusterMap.maxLearners else { return view.learners.isEmpty }
        // Growing takes two at a time: an even number of voters survives no more than one less does.
        let taken = view.replicas.map(\.node)
        let takers = self.takers(of: id, beside: taken, count: 2)
        if bad.isEmpty, spare.count + takers.count < 2 {
            if let learner = spare.last {
                return self.decide(.removeLearner(id, learner.which), "no second one can be had")
            }
            self.block(
                "\(id): \(view.voters.count) of \(view.record.wanted) voters, and no two nodes more can take its journal"
            )
            return view.learners.isEmpty
        }
        let served = Set(spare.map(\.replica.replaces))
        let lost = bad.first { $0.isLost && $0.node.mayTakeJournal(of: id) && !served.contains($0.which) }
        if let node = takers.first {
            self.decide(
                .addLearner(id, node.id, replaces: 0),
                bad.first?.cause ?? "\(view.voters.count) of \(view.record.wanted) voters")
            self.loads[self.nodeIndex[node.id]!].journals += 1
        } else if let lost, view.replicas.allSatisfy({ $0.node.id != lost.node.id || $0.which == lost.which }) {
            self.decide(
                .addLearner(id, lost.node.id, replaces: lost.which),
                "\(lost.cause), and no other node can take its place")
        } else {
            self.block("\(id): \(bad.first?.cause ?? "too few voters"), and no node can take a replica")
            return false
        }
        return false
    }

    /// Nodes for a partition's replicas beside those that have one, the best first: zones with the fewest, then the least loaded.
    private func takers(of id: PartitionID, beside taken: [NodeView], count: Int) -> [NodeView] {
        var chosen: [NodeView] = []
        while chosen.count < count {
            let others = self.nodes.filter { node in
                node.mayTakeJournal(of: id) && !taken.contains { $0.id == node.id }
                    && !chosen.contains { $0.id == node.id }
            }
            func rank(_ node: NodeView) -> (Int, UInt64, NodeID) {
                let crowd = (taken + chosen).reduce(0) {
                    $0 + ($1.zone == node.zone && !$1.isDead && $1.isKept ? 1 : 0)
                }
                return (crowd, self.loads[self.nodeIndex[node.id]!].journalsRelative(with: 1), node.id)
            }
            guard let best = others.min(by: { rank($0) < rank($1) }) else { break }
            chosen.append(best)
        }
        return chosen
    }

    // MARK: Balance

    /// Moves a voter: out of a zone with two more than another, else from a node with more to one with less.
    mutating func balancePartitions() {
        guard self.isJournalCalm, !self.nodes.contains(where: { $0.isKept && $0.health == .suspected }) else { return }
        var moves = 0
        for id in self.map.partitions.keys.sorted() {
            guard moves < self.settings.maxJournalMoves else { return }
            let view = GroupView(id, self)
            let zoneCounts = view.voters.reduce(into: [Int: Int]()) { $0[$1.node.zone, default: 0] += 1 }
            var best: (gain: (Int, UInt64), from: GroupView.Replica, to: NodeView)?
            for from in view.voters {
                for to in self.nodes where to.mayTakeJournal(of: id) && view.record.replica(on: to.id) == nil {
                    let (here, there) = (zoneCounts[from.node.zone]!, zoneCounts[to.zone] ?? 0)
                    let spread = to.zone == from.node.zone ? 0 : max(0, here - there - 1)
                    let (source, target) = (
                        self.loads[self.nodeIndex[from.node.id]!], self.loads[self.nodeIndex[to.id]!]
                    )
                    let less = (source.journals - 1) * NodeLoad.scale / source.weight
                    let isLevel = less >= target.journalsRelative(with: 1)
                    guard spread > 0 || (isLevel && (to.zone == from.node.zone || there < here)) else { continue }
                    let gain = (spread, isLevel ? source.journalsRelative() - target.journalsRelative() : 0)
                    if best.map({ gain > $0.gain }) ?? true { best = (gain, from, to) }
                }
            }
            guard let best else { continue }
            let reason =
                best.gain.0 > 0
                ? "to spread it over zones" : "\(best.from.node.id) carries more partitions than \(best.to.id)"
            guard self.decide(.addLearner(id, best.to.id, replaces: best.from.which), reason) else { return }
            self.loads[self.nodeIndex[best.from.node.id]!].journals -= 1
            self.loads[self.nodeIndex[best.to.id]!].journals += 1
            moves += 1
        }
    }
}
