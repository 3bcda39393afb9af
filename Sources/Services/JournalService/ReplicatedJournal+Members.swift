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

    /// A member that is caught up within this long is made a voter; the caller may ask again for one that is not.
    private static let catchUpPatience: Duration = .seconds(600)

    package func addReplica(
        _ node: ReplicaID, address: String, to partition: PartitionID
    ) async throws(VecraftError) {
        self.directory.learn(node, address)
        let clock = ContinuousClock()
        let end = clock.now + Self.catchUpPatience
        while true {
            let membership = try self.replica(partition).status.membership
            if membership.member(node)?.isVoter == true, !membership.isJoint { return }
            do throws(VecraftError) {
                if membership.member(node) == nil {
                    _ = try await self.change(.addLearner(node), partition, address: address)
                } else {
                    _ = try await self.change(.setVoters((membership.voters + [node]).sorted()), partition, address: address)
                }
            } catch {
                guard clock.now < end, Self.isPassing(error) else { throw error }
            }
            await Self.rest()
        }
    }

    package func removeReplica(_ node: ReplicaID, from partition: PartitionID) async throws(VecraftError) {
        let clock = ContinuousClock()
        let end = clock.now + Self.patience
        while true {
            let membership = try self.replica(partition).status.membership
            guard let member = membership.member(node) else { return }
            do throws(VecraftError) {
                if member.isVoter {
                    let rest = membership.voters.filter { $0 != node }
                    guard !rest.isEmpty else { throw .invalid("node_id", "\(node) is the last voter of \(partition)") }
                    _ = try await self.change(.setVoters(rest), partition, address: "")
                } else if !member.isOutgoing {
                    _ = try await self.change(.removeLearner(node), partition, address: "")
                }
            } catch {
                guard clock.now < end, Self.isPassing(error) else { throw error }
            }
            await Self.rest()
        }
    }

    private static func isPassing(_ error: VecraftError) -> Bool {
        ["CHANGE_PENDING", "LEARNER_BEHIND", "WOULD_LOSE_QUORUM", VecraftError.notLeaderReason, VecraftError.leadershipLostReason]
            .contains(error.reason) || error.code == .unavailable || error.message.contains("already")
    }

    private static func rest() async { try? await Task.sleep(for: .milliseconds(50)) }

    /// One change, at the partition's leader.
    private func change(
        _ change: MembershipChange, _ partition: PartitionID, address: String
    ) async throws(VecraftError) -> JournalOffset {
        self.log.notice("changes members", metadata: ["partition": "\(partition)", "change": "\(change)"])
        let replica = try self.replica(partition)
        let status = replica.status
        let result: Result<JournalOffset, VecraftError>
        if let leader = status.leader, leader != self.node {
            var request = VecraftInternalV1.ChangeMembersRequest(partition: partition.description, address: address)
            switch change {
            case .addLearner(let id): request.addLearner = id.rawValue
            case .removeLearner(let id): request.removeLearner = id.rawValue
            case .setVoters(let ids): request.voters = ids.map(\.rawValue)
            }
            let asked = request
            result = await withCheckedContinuation { continuation in
                self.clients.call("ChangeMembers", asked, at: leader, timeout: Self.patience) {
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
            let request = VecraftInternalV1.TransferLeadershipRequest(partition: partition.description, nodeID: node.rawValue)
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
