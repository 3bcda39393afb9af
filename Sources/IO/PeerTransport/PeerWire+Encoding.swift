internal import JournalFormat
internal import Primitives
internal import Raft
internal import Wire

/// Messages of replicas as they stand in raft.proto.
enum PeerWire {
    typealias Proto = VecraftInternalV1

    static let protocolVersion: UInt32 = 1

    /// - Parameter frames: All of the message's, or the first of them; must stay valid until `out` is encoded.
    static func fill(_ out: Proto.ReplicaMessage.Builder, _ message: PeerMessage, frames: UnsafeRawBufferPointer?) {
        out.partitionKind = Proto.PartitionKind(rawValue: Int32(message.partition.kind.rawValue))
        out.partitionIndex = UInt32(message.partition.index)
        out.term = message.message.term
        out.clock = message.clock.rawValue
        out.unfit = message.isUnfit
        if let closed = message.closed {
            let part = out.closed.make()
            part.offset = closed.offset
            part.hlc = closed.hlc.rawValue
            part.sinceNanoseconds = closed.since ?? 0
        }
        switch message.message.body {
        case .preVote(let last): self.fill(out.preVote.make(), last, isTransfer: false)
        case .vote(let last, let isTransfer): self.fill(out.vote.make(), last, isTransfer: isTransfer)
        case .preVoteReply(let isGranted): out.preVoteReply.make().granted = isGranted
        case .voteReply(let isGranted): out.voteReply.make().granted = isGranted
        case .append(let append): self.fill(out.append.make(), append, message.frames, frames)
        case .heartbeat(let beat): self.fill(out.heartbeat.make(), beat)
        case .acknowledge(let reply): self.fill(out.acknowledge.make(), reply)
        case .reject(let reject): self.fill(out.reject.make(), reject)
        case .commit(let index): out.commit.make().index = index
        case .timeoutNow: out.timeoutNow.make()
        case .outdated: out.outdated.make()
        }
    }

    private static func fill(_ out: Proto.VoteRequest.Builder, _ last: LogPosition, isTransfer: Bool) {
        out.lastIndex = last.index
        out.lastTerm = last.term
        out.transfer = isTransfer
    }

    private static func fill(
        _ out: Proto.AppendEntries.Builder, _ append: RaftMessage.Append, _ run: FrameRun?,
        _ piece: UnsafeRawBufferPointer?
    ) {
        out.previousIndex = append.previous.index
        out.previousTerm = append.previous.term
        out.commit = append.commit
        out.round = append.round
        guard let range = append.entries, let run, let piece else { return }
        let part = out.entries.make()
        part.first = range.first
        part.last = range.last
        part.term = range.term
        part.bytes = UInt64(range.bytes)
        if let membership = range.membership { self.fill(part.membership.make(), membership) }
        part.salt = run.salt
        part.frameBytes = UInt64(run.bytes.count)
        part.frames.set(borrowing: piece)
    }

    private static func fill(_ out: Proto.Heartbeat.Builder, _ beat: RaftMessage.Heartbeat) {
        out.commit = beat.commit
        out.round = beat.round
        guard let point = beat.recovery else { return }
        let part = out.recovery.make()
        part.incarnation = point.incarnation
        part.through = point.through
    }

    private static func fill(_ out: Proto.Acknowledge.Builder, _ reply: RaftMessage.Acknowledge) {
        out.matched = reply.matched
        out.durable = reply.durable
        out.round = reply.round
        out.incarnation = reply.incarnation
        out.recovering = reply.isRecovering
    }

    private static func fill(_ out: Proto.Reject.Builder, _ reject: RaftMessage.Reject) {
        out.previous = reject.previous
        out.hintIndex = reject.hint.index
        out.hintTerm = reject.hint.term
        out.incarnation = reject.incarnation
        out.recovering = reject.isRecovering
    }

    static func fill(_ out: Proto.GroupMembership.Builder, _ membership: Membership) {
        let made = out.members.make(membership.members.count)
        for (part, member) in zip(made, membership.members) {
            part.id = member.id.rawValue
            part.voter = member.isVoter
            part.outgoing = member.isOutgoing
        }
    }

    static func fill(_ out: Proto.Hello.Builder, _ context: PeerContext, to: ReplicaID, wall: UInt64) {
        out.version = self.protocolVersion
        out.clusterID.set(context.settings.clusterID)
        out.from = context.own.rawValue
        out.to = to.rawValue
        out.wallNanoseconds = wall
        out.identity = context.identity
    }
}
