/// Who belongs to a group, and whose majority decides.
///
/// Voters change by joint consensus (thesis, 4.3): while `isJoint`, a majority of the new voters *and* one of the old must agree.
/// Chosen over one change at a time because replacing a dead replica then never passes through an even number of voters, where
/// the next failure stops the group; one path for all changes also means one path to test. Learners are replicated to and counted never.
package struct Membership: Equatable, Sendable, CustomStringConvertible {
    package struct Member: Equatable, Sendable {
        package let id: ReplicaID
        /// Votes in the configuration that is, or is being entered.
        package var isVoter: Bool
        /// Votes in the configuration that is being left.
        package var isOutgoing: Bool

        package init(id: ReplicaID, isVoter: Bool, isOutgoing: Bool = false) {
            self.id = id
            self.isVoter = isVoter
            self.isOutgoing = isOutgoing
        }
    }

    /// In order of id.
    package let members: [Member]

    package init(members: [Member]) { self.members = members.sorted { $0.id < $1.id } }

    package init(voters: [ReplicaID], learners: [ReplicaID] = []) {
        self.init(
            members: voters.map { Member(id: $0, isVoter: true) } + learners.map { Member(id: $0, isVoter: false) })
    }

    /// What a replica holds that has not been told of a group yet.
    package static let none = Membership(members: [])

    package var isJoint: Bool { self.members.contains { $0.isOutgoing } }
    package var voters: [ReplicaID] { self.members.filter(\.isVoter).map(\.id) }
    package var outgoing: [ReplicaID] { self.members.filter(\.isOutgoing).map(\.id) }
    package var learners: [ReplicaID] { self.members.filter { !$0.isVoter && !$0.isOutgoing }.map(\.id) }

    package func member(_ id: ReplicaID) -> Member? { self.members.first { $0.id == id } }

    /// May campaign, and counts in a majority.
    package func isVoter(_ id: ReplicaID) -> Bool { self.member(id).map { $0.isVoter || $0.isOutgoing } ?? false }

    /// Whether those for whom `has` is true decide.
    package func isQuorum(_ has: (ReplicaID) -> Bool) -> Bool {
        func majority(_ isCounted: (Member) -> Bool) -> Bool {
            var count = 0, agreeing = 0
            for member in self.members where isCounted(member) {
                count += 1
                if has(member.id) { agreeing += 1 }
            }
            return agreeing > count / 2
        }
        return majority(\.isVoter) && (!self.isJoint || majority(\.isOutgoing))
    }

    // MARK: Changes

    func adding(learner id: ReplicaID) -> Membership {
        Membership(members: self.members + [Member(id: id, isVoter: false)])
    }

    func removing(learner id: ReplicaID) -> Membership {
        Membership(members: self.members.filter { $0.id != id })
    }

    /// Enters the joint configuration of the present voters and `voters`.
    func entering(voters: [ReplicaID]) -> Membership {
        Membership(
            members: self.members.map { Member(id: $0.id, isVoter: voters.contains($0.id), isOutgoing: $0.isVoter) })
    }

    /// Leaves it: who votes no more is a member no more.
    func leavingJoint() -> Membership {
        Membership(
            members: self.members.filter { $0.isVoter || !$0.isOutgoing }.map { Member(id: $0.id, isVoter: $0.isVoter) }
        )
    }

    /// "{1 2 3}", "{1 2 4 <- 1 2 3}" while joint, "{1 2 3 learning 4}".
    package var description: String {
        func list(_ ids: [ReplicaID]) -> String { ids.map(\.description).joined(separator: " ") }
        let joint = self.isJoint ? " <- \(list(self.outgoing))" : ""
        let learning = self.learners.isEmpty ? "" : " learning \(list(self.learners))"
        return "{\(list(self.voters))\(joint)\(learning)}"
    }
}

/// What may be asked of a leader.
package enum MembershipChange: Equatable, Sendable {
    case addLearner(ReplicaID)
    case removeLearner(ReplicaID)
    /// The next step to being a voter: a learner, or a voter if it is one that has caught up. Unlike ``setVoters(_:)`` it says nothing
    /// of the others, of whom only the leader knows for sure.
    case add(ReplicaID)
    /// A voter, or a learner, is a member no more.
    case remove(ReplicaID)
    /// The voters wanted; whoever is new among them must be a learner that has caught up.
    case setVoters([ReplicaID])
}
