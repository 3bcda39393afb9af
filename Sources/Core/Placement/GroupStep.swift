/// What a group's leader does next to bring its members to what the map says: pure, one change at a time.
package enum GroupStep: Equatable, Sendable {
    case addLearner(Incarnation)
    case setVoters([Incarnation])
    case removeLearner(Incarnation)

    /// - Parameters:
    ///   - record: Of the newest map that the leader has seen.
    ///   - group: As the leader's log has it. Whoever acts on a record puts its ``JournalRecord/changed`` beside the change in
    ///     the log: a leader whose map is older than that must not undo what a newer one decided.
    /// - Returns: Nil if nothing is to be done, or nothing can be now.
    package static func next(_ record: JournalRecord, _ group: GroupObservation) -> GroupStep? {
        guard !group.isJoint, record.changed >= group.changed else { return nil }
        let members = group.voters.union(group.learners)
        let wanted = record.replicas.filter { $0.role != .leaving }
        // Somebody new hears the log before anybody leaves.
        if let new = wanted.first(where: { !members.contains($0.incarnation) }) { return .addLearner(new.incarnation) }
        let voters = record.voters.map(\.incarnation)
        if Set(voters) != group.voters {
            // Whoever is new has the log, and a majority of all is there now: else the group would wait in the joint
            // configuration for somebody who may never come.
            let new = voters.filter { !group.voters.contains($0) }
            let isPossible =
                new.allSatisfy(group.caughtUp.contains)
                && voters.filter(group.caughtUp.contains).count > voters.count / 2
            return isPossible ? .setVoters(voters) : nil
        }
        let learners = Set(record.learners.map(\.incarnation))
        return group.learners.subtracting(learners).min().map { .removeLearner($0) }
    }
}
