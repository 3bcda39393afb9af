internal import JournalFormat
internal import JournalStore
internal import Logging
package import Primitives
package import Raft
internal import Synchronization
internal import Wire

// Changes of members, led through from any node: learner first, voter when it has caught up (Raft thesis, 4.2.1).

extension ReplicatedJournal {
    /// Has whoever feeds on the journal say what it needs no more, before each trim: the last offset that may go.
    package func limitTrims(by limit: @escaping @Sendable (PartitionID) async throws(VecraftError) -> JournalOffset) {
        self.trimLimit.withLock { $0 = limit }
    }

    /// Until when a change that somebody waits for is tried.
    ///
    /// - Parameter left: Until the caller hears no more, if it said so. A part of that is kept, to say why it is not through.
    package static func changeEnd(
        _ left: Duration?, of patience: Duration = ReplicatedJournal.patience
    ) -> ContinuousClock.Instant {
        guard let left else { return .now + patience }
        return .now + max(left - min(left / 4, .seconds(2)), .zero)
    }

    /// A new node may take so long to be started; one that has answered may catch up until the caller leaves.
    private static let firstAnswerPatience: Duration = .seconds(60)

    /// Makes a node a voter, by way of learning. Ends when the caller's task is cancelled.
    ///
    /// - Throws: Also why the change does not go through by `end`. A node that never answered is no member then.
    package func addReplica(
        _ node: ReplicaID, address: String, to partition: PartitionID, until end: ContinuousClock.Instant
    ) async throws(VecraftError) {
        self.directory.learn(node, address)
        let start = ContinuousClock.now
        var steps = ChangeSteps(end: end)
        var hasAdded = false
        var hasAnswered = false
        do throws(VecraftError) {
            while true {
                let membership = try self.replica(partition).status.membership
                if membership.member(node)?.isVoter == true, !membership.isJoint { return }
                if membership.member(node) == nil {
                    let refusal = try await self.attempt(.add(node), partition, address: address, &steps)
                    // Whose outcome is not known may be there as well.
                    if refusal == nil || refusal?.reason == VecraftError.leadershipLostReason { hasAdded = true }
                } else {
                    let refusal = try await self.attempt(.add(node), partition, address: address, &steps)
                    if refusal == nil || refusal?.reason == "LEARNER_BEHIND" { hasAnswered = true }
                    if let refusal, refusal.reason == VecraftError.learnerSilentReason, !hasAnswered,
                        start.duration(to: .now) > Self.firstAnswerPatience
                    {
                        throw refusal
                    }
                }
                try await steps.rest()
            }
        } catch {
            guard hasAdded, !hasAnswered else { throw error }
            // Done all the same when the caller leaves; one who has left waits for nothing, so there is time. Ends with the journal.
            let hasLeft = Task.isCancelled
            let end = ContinuousClock.now + (hasLeft ? Self.patience : .seconds(1))
            let taking = Task { await self.takeBack(node, partition, until: end) }
            guard !hasLeft else { throw error }
            let isGone = await taking.value
            guard error.reason == VecraftError.learnerSilentReason else { throw error }
            throw self.silent(node, partition, isGone: isGone)
        }
    }

    private func silent(_ node: ReplicaID, _ partition: PartitionID, isGone: Bool) -> VecraftError {
        let address = self.directory.address(of: node)
        let rest =
            isGone
            ? "it is no member of the group" : "it is still a learner of the group (vecraft journal remove-replica)"
        return VecraftError(
            .failedPrecondition,
            "\(partition): node \(node) does not answer\(address.isEmpty ? "" : " at \(address)"); \(rest)",
            reason: VecraftError.learnerSilentReason)
    }

    /// Removes a learner that never answered.
    private func takeBack(
        _ node: ReplicaID, _ partition: PartitionID, until end: ContinuousClock.Instant
    ) async -> Bool {
        var steps = ChangeSteps(end: end)
        do throws(VecraftError) {
            while !self.isClosing.load(ordering: .relaxed) {
                guard let member = try self.replica(partition).status.membership.member(node) else { return true }
                if member.isVoter || member.isOutgoing { return false }
                _ = try await self.attempt(.remove(node), partition, address: "", &steps)
                try await steps.rest()
            }
            return false
        } catch { return false }
    }

    /// Takes a node out of a group. Ends when the caller's task is cancelled.
    ///
    /// Asked at the node that is to go, this ends when the leader says that the change is committed: what comes of it then this
    /// node is not told any more (thesis, 4.3).
    package func removeReplica(
        _ node: ReplicaID, from partition: PartitionID, until end: ContinuousClock.Instant
    ) async throws(VecraftError) {
        var steps = ChangeSteps(end: end)
        while true {
            let status = try self.replica(partition).status
            let membership = status.membership
            guard let member = membership.member(node) else { return }
            if node == self.node, status.isLeftOut { return }
            let stay = membership.voters.filter { $0 != node }
            guard !stay.isEmpty else { throw .invalid("node_id", "\(node) is the last voter of \(partition)") }
            if node == self.node {
                let refusal = try await self.attempt(.remove(node), partition, address: "", others: stay, &steps)
                if refusal == nil || refusal!.message.contains("is no member") { return }
            } else if !member.isOutgoing || member.isVoter {
                _ = try await self.attempt(.remove(node), partition, address: "", &steps)
            }
            try await steps.rest()
        }
    }

    /// Whether a node is in a partition's group, as the group's leader knows if not this node.
    package func isMember(
        _ node: ReplicaID, of partition: PartitionID, until end: ContinuousClock.Instant
    ) async throws(VecraftError) -> Bool {
        let replica = try self.replica(partition)
        if node == self.node, replica.status.isLeftOut { return false }
        if replica.status.membership.member(node) != nil { return true }
        let index = try await self.readIndex(partition)
        let steps = ChangeSteps(end: end)
        while replica.status.committed < index { try await steps.rest() }
        return replica.status.membership.member(node) != nil
    }

    /// One try of a change.
    ///
    /// - Parameter others: Who is asked in turn when no leader is known here.
    /// - Returns: Why it was not taken, if that may pass.
    private func attempt(
        _ change: MembershipChange, _ partition: PartitionID, address: String, others: [ReplicaID] = [],
        _ steps: inout ChangeSteps
    ) async throws(VecraftError) -> VecraftError? {
        do throws(VecraftError) {
            let offset = try await self.ask(
                change, partition, address: address, at: steps.turn(of: others), within: steps.left)
            self.log.notice(
                "members change", metadata: ["partition": "\(partition)", "change": "\(change)", "offset": "\(offset)"])
            steps.refusal = nil
            return nil
        } catch {
            guard Self.isPassing(error) else { throw error }
            if steps.refusal?.message != error.message {
                self.log.info(
                    "a change of members waits",
                    metadata: ["partition": "\(partition)", "change": "\(change)", "for": "\(error.message)"])
            }
            steps.refusal = error
            return error
        }
    }

    private static func isPassing(_ error: VecraftError) -> Bool {
        [
            "CHANGE_PENDING", "LEARNER_BEHIND", VecraftError.learnerSilentReason, "WOULD_LOSE_QUORUM",
            VecraftError.notLeaderReason,
            VecraftError.leadershipLostReason,
        ].contains(error.reason) || error.code == .unavailable || error.code == .deadlineExceeded
            || error.message.contains("already") || error.message.contains("is no member")
    }

    /// One change, at the partition's leader.
    private func ask(
        _ change: MembershipChange, _ partition: PartitionID, address: String, at other: ReplicaID?,
        within time: Duration
    ) async throws(VecraftError) -> JournalOffset {
        let replica = try self.replica(partition)
        let status = replica.status
        let result: Result<JournalOffset, VecraftError>
        if let leader = status.leader ?? other, leader != self.node {
            var request = VecraftInternalV1.ChangeMembersRequest(partition: partition.description, address: address)
            switch change {
            case .add(let id), .addLearner(let id): request.addLearner = id.rawValue
            case .remove(let id), .removeLearner(let id): request.removeLearner = id.rawValue
            case .setVoters(let ids): request.voters = ids.map(\.rawValue)
            }
            let asked = request
            result = await withCheckedContinuation { continuation in
                self.clients.call("ChangeMembers", asked, at: leader, timeout: min(time, Self.patience)) {
                    (reply: Result<VecraftInternalV1.ChangeMembersResponse, VecraftError>) in
                    continuation.resume(returning: reply.map(\.offset))
                }
            }
        } else {
            result = await withCheckedContinuation { continuation in
                replica.change(change) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    /// Hands a partition's leadership to a voter.
    package func transferLeadership(of partition: PartitionID, to node: ReplicaID) async throws(VecraftError) {
        let replica = try self.replica(partition)
        let status = replica.status
        if status.leader == node { return }
        let result: Result<Void, VecraftError>
        if let leader = status.leader, leader != self.node {
            let request = VecraftInternalV1.TransferLeadershipRequest(
                partition: partition.description, nodeID: node.rawValue)
            result = await withCheckedContinuation { continuation in
                self.clients.call("TransferLeadership", request, at: leader, timeout: Self.patience) {
                    (reply: Result<VecraftInternalV1.TransferLeadershipResponse, VecraftError>) in
                    continuation.resume(returning: reply.map { _ in })
                }
            }
        } else {
            result = await withCheckedContinuation { continuation in
                replica.transferLeadership(to: node) { continuation.resume(returning: $0) }
            }
        }
        return try result.get()
    }

    /// Trims this node's replica, though not beyond what the node's own shards have made durable (``limitTrims(by:)``).
    package func trim(_ partition: PartitionID, through offset: JournalOffset) async throws(VecraftError) {
        let replica = try self.replica(partition)
        var offset = offset
        if let limit = self.trimLimit.withLock({ $0 }) { offset = min(offset, try await limit(partition)) }
        guard offset >= replica.firstOffset else { return }
        let result = await withCheckedContinuation { continuation in
            replica.trim(through: offset) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }
}

/// The tries of one change: how long they may go on, and what the last one was refused for.
private struct ChangeSteps {
    let end: ContinuousClock.Instant
    var refusal: VecraftError?
    private var turns = 0

    init(end: ContinuousClock.Instant) { self.end = end }

    var left: Duration { max(ContinuousClock.now.duration(to: self.end), .milliseconds(50)) }

    /// Each in turn.
    mutating func turn(of nodes: [ReplicaID]) -> ReplicaID? {
        guard !nodes.isEmpty else { return nil }
        defer { self.turns += 1 }
        return nodes[self.turns % nodes.count]
    }

    /// Before the next try.
    ///
    /// - Throws: Nobody waits any more, or no longer: then with the last refusal.
    func rest() async throws(VecraftError) {
        if ContinuousClock.now < self.end { try? await Task.sleep(for: .milliseconds(50)) }
        // A cancelled sleep returns at once.
        if Task.isCancelled { throw VecraftError(.cancelled, "nobody waits for the change of members any more") }
        guard ContinuousClock.now < self.end else {
            throw self.refusal
                ?? VecraftError(
                    .deadlineExceeded, "the change of members is not through yet; ask again, it may go on meanwhile",
                    reason: "CHANGE_PENDING")
        }
    }
}
