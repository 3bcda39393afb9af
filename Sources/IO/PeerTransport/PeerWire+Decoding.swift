internal import JournalFormat
internal import Primitives
internal import Raft
internal import Wire

/// What came from a peer is checked here whole, so that nothing behind can trap on it.
extension PeerWire {
    /// A message, its frames aside.
    static func read(
        _ view: Proto.ReplicaMessage.View, from: ReplicaID, to: ReplicaID
    ) throws(PeerFault) -> PeerMessage {
        let partition = try self.partition(view.partitionKind, view.partitionIndex)
        let message = RaftMessage(
            from: from, to: to, term: try self.number(view.term, "term"), body: try self.body(view))
        var closed: ClosedTimestamp?
        if let part = view.closed {
            closed = ClosedTimestamp(
                offset: try self.number(part.offset, "closed.offset"), hlc: HLCTimestamp(rawValue: part.hlc),
                since: part.sinceNanoseconds == 0 ? nil : part.sinceNanoseconds)
        }
        var read = PeerMessage(partition: partition, message: message, closed: closed)
        read.clock = HLCTimestamp(rawValue: view.clock)
        read.isUnfit = view.unfit
        return read
    }

    static func partition(_ kind: Proto.PartitionKind, _ index: UInt32) throws(PeerFault) -> PartitionID {
        guard let raw = UInt8(exactly: kind.rawValue), let known = PartitionID.Kind(rawValue: raw),
            let index = UInt16(exactly: index)
        else { throw PeerFault(.malformed, "partition \(index) of kind \(kind.rawValue)") }
        return PartitionID(known, index)
    }

    /// Offsets, terms and rounds count from 0 by ones: none reaches 2^62, and arithmetic on smaller ones cannot overflow.
    static func number(_ value: UInt64, _ field: StaticString) throws(PeerFault) -> UInt64 {
        guard value < 1 << 62 else { throw PeerFault(.malformed, "\(field) is \(value)") }
        return value
    }

    private static func position(_ index: UInt64, _ term: UInt64) throws(PeerFault) -> LogPosition {
        LogPosition(index: try self.number(index, "index"), term: try self.number(term, "term"))
    }

    private static func body(_ view: Proto.ReplicaMessage.View) throws(PeerFault) -> RaftMessage.Body {
        switch view.body {
        case .preVote(let ask): return .preVote(last: try self.position(ask.lastIndex, ask.lastTerm))
        case .preVoteReply(let reply): return .preVoteReply(isGranted: reply.granted)
        case .vote(let ask):
            return .vote(last: try self.position(ask.lastIndex, ask.lastTerm), isTransfer: ask.transfer)
        case .voteReply(let reply): return .voteReply(isGranted: reply.granted)
        case .append(let append): return .append(try self.append(append))
        case .heartbeat(let beat): return .heartbeat(try self.heartbeat(beat))
        case .acknowledge(let reply): return .acknowledge(try self.acknowledge(reply))
        case .reject(let reject): return .reject(try self.reject(reject))
        case .commit(let notice): return .commit(try self.number(notice.index, "commit.index"))
        case .timeoutNow: return .timeoutNow
        case .outdated: return .outdated
        case nil: throw PeerFault(.malformed, "a message of no known kind")
        }
    }

    private static func append(_ view: Proto.AppendEntries.View) throws(PeerFault) -> RaftMessage.Append {
        let previous = try self.position(view.previousIndex, view.previousTerm)
        var entries: EntryRange?
        if let part = view.entries {
            let first = try self.number(part.first, "entries.first")
            let last = try self.number(part.last, "entries.last")
            guard first == previous.index + 1, last >= first else {
                throw PeerFault(.malformed, "entries \(first) to \(last) after \(previous.index)")
            }
            guard let bytes = Int32(exactly: part.bytes) else {
                throw PeerFault(.malformed, "entries.bytes is \(part.bytes)")
            }
            let membership = try part.membership.map { (view) throws(PeerFault) in try self.membership(view) }
            guard membership == nil || first == last else {
                throw PeerFault(.malformed, "a configuration with others, \(first) to \(last)")
            }
            entries = EntryRange(
                first: first, last: last, term: try self.number(part.term, "entries.term"), bytes: Int(bytes),
                membership: membership)
        }
        return RaftMessage.Append(
            previous: previous, entries: entries, commit: try self.number(view.commit, "append.commit"),
            round: try self.number(view.round, "append.round"))
    }

    private static func heartbeat(_ view: Proto.Heartbeat.View) throws(PeerFault) -> RaftMessage.Heartbeat {
        var recovery: RaftMessage.RecoveryPoint?
        if let part = view.recovery {
            recovery = RaftMessage.RecoveryPoint(
                incarnation: part.incarnation, through: try self.number(part.through, "recovery.through"))
        }
        return RaftMessage.Heartbeat(
            commit: try self.number(view.commit, "heartbeat.commit"),
            round: try self.number(view.round, "heartbeat.round"),
            recovery: recovery)
    }

    private static func acknowledge(_ view: Proto.Acknowledge.View) throws(PeerFault) -> RaftMessage.Acknowledge {
        let matched = try self.number(view.matched, "acknowledge.matched")
        guard view.durable <= matched else {
            throw PeerFault(.malformed, "durable through \(view.durable), matched through \(matched)")
        }
        return RaftMessage.Acknowledge(
            matched: matched, durable: view.durable, round: try self.number(view.round, "acknowledge.round"),
            incarnation: view.incarnation, isRecovering: view.recovering)
    }

    private static func reject(_ view: Proto.Reject.View) throws(PeerFault) -> RaftMessage.Reject {
        RaftMessage.Reject(
            previous: try self.number(view.previous, "reject.previous"),
            hint: try self.position(view.hintIndex, view.hintTerm), incarnation: view.incarnation,
            isRecovering: view.recovering)
    }

    /// Members of one group: far more than the seven that make sense.
    private static let maxMembers = 64

    static func membership(_ view: Proto.GroupMembership.View) throws(PeerFault) -> Membership {
        guard view.members.count <= self.maxMembers else {
            throw PeerFault(.malformed, "a group of \(view.members.count) members")
        }
        let members = view.members.map {
            Membership.Member(id: ReplicaID($0.id), isVoter: $0.voter, isOutgoing: $0.outgoing)
        }
        guard zip(members, members.dropFirst()).allSatisfy({ $0.id < $1.id }) else {
            throw PeerFault(.malformed, "members that are not in order, or twice")
        }
        return Membership(members: members)
    }

    /// Frames that came with an append must be those of its range.
    static func check(_ run: FrameRun, against range: EntryRange) throws(PeerFault) {
        guard run.firstOffset == range.first, UInt64(run.count) == range.count else {
            throw PeerFault(
                .damagedFrames,
                "\(run.count) entries from \(run.firstOffset) on where \(range.count) from \(range.first) are due")
        }
        for i in 0..<run.count where run.view(i).term != range.term {
            throw PeerFault(
                .damagedFrames, "entry \(run.firstOffset + UInt64(i)) of term \(run.view(i).term), not \(range.term)")
        }
    }

    /// - Throws: FAILED_PRECONDITION: the sender is not who should be there, or means somebody else.
    /// - Returns: The sender.
    static func check(_ hello: Proto.Hello.View?, _ context: PeerContext) throws(VecraftError) -> ReplicaID {
        guard let hello else { throw PeerWire.refusal("HELLO_MISSING", "the first message has no hello") }
        guard hello.version == self.protocolVersion else {
            throw PeerWire.refusal(
                "OTHER_PROTOCOL", "protocol \(hello.version); this node speaks \(self.protocolVersion)")
        }
        let (clusterID, own) = (context.settings.clusterID, context.own)
        guard hello.clusterID == clusterID else {
            throw PeerWire.refusal(
                "OTHER_CLUSTER",
                "cluster \"\(hello.clusterID.string.prefix(64))\"; this node belongs to \"\(clusterID)\"")
        }
        guard hello.to == own.rawValue else {
            throw PeerWire.refusal("OTHER_NODE", "node \(hello.to) is meant; this is node \(own)")
        }
        let from = ReplicaID(hello.from)
        if hello.identity != 0 { try context.receiver.admit(from, identity: hello.identity) }
        return from
    }

    static func refusal(_ reason: String, _ message: String) -> VecraftError {
        VecraftError(.failedPrecondition, message, reason: reason)
    }
}
