package import GRPC
internal import JournalFormat
internal import JournalStore
internal import NIOCore
internal import PeerTransport
internal import Primitives
internal import Raft
internal import Wire

/// `vecraft.internal.v1.Journal` on the wire.
package enum JournalAPI {
    private static let service = "/vecraft.internal.v1.Journal/"
    private static let defaultBatchBytes = 1 << 20
    private static let maxBatchBytes = 16 << 20

    /// - Parameter admit: Judges an entry before it gets an offset, as whoever applies it will: throws what the caller is told.
    package static func methods(
        _ journal: any JournalClient, admit: @escaping EntryAdmittance
    ) -> [String: GRPCMethod] {
        var methods = [
            self.service + "Append": self.append(journal, admit),
            self.service + "Read": self.read(journal),
            self.service + "Subscribe": self.subscribe(journal),
            self.service + "Partitions": self.partitions(journal),
        ]
        let replicated = journal as? ReplicatedJournal
        for (name, method) in self.administration(replicated) { methods[self.service + name] = method }
        return methods
    }

    /// Of groups; a node alone refuses.
    private static func administration(_ journal: ReplicatedJournal?) -> [String: GRPCMethod] {
        [
            "AddReplica": self.admin(journal) {
                (journal, request: VecraftInternalV1.AddReplicaRequest, left) throws(VecraftError) in
                let end = ReplicatedJournal.changeEnd(left, of: .seconds(600))
                guard request.nodeID > 0 else { throw .invalid("node_id", "must be given") }
                guard !request.address.isEmpty || !journal.directory.address(of: ReplicaID(request.nodeID)).isEmpty else {
                    throw .invalid("address", "of node \(request.nodeID) is not known here; give it")
                }
                let partitions = try self.partitions(request.partitions, journal)
                for id in partitions {
                    try await journal.addReplica(
                        ReplicaID(request.nodeID), address: request.address, to: id, until: end)
                }
                return VecraftInternalV1.MembersResponse(
                    partitions: try partitions.map { (id) throws(VecraftError) in try self.info(id, journal) })
            },
            "RemoveReplica": self.admin(journal) {
                (journal, request: VecraftInternalV1.RemoveReplicaRequest, left) throws(VecraftError) in
                let end = ReplicatedJournal.changeEnd(left)
                guard request.nodeID > 0 else { throw .invalid("node_id", "must be given") }
                let partitions = try self.partitions(request.partitions, journal)
                let node = ReplicaID(request.nodeID)
                var groups: [PartitionID] = []
                for id in partitions where try await journal.isMember(node, of: id, until: end) { groups.append(id) }
                guard !groups.isEmpty else {
                    throw VecraftError(
                        .notFound,
                        "node \(node) is no member of \(partitions.map(\.description).joined(separator: ", "))",
                        field: "node_id", reason: VecraftError.notAMemberReason)
                }
                for id in groups { try await journal.removeReplica(node, from: id, until: end) }
                return VecraftInternalV1.MembersResponse(
                    partitions: try partitions.map { (id) throws(VecraftError) in try self.info(id, journal) })
            },
            "TransferLeadership": self.admin(journal) {
                (journal, request: VecraftInternalV1.TransferLeadershipRequest, _) throws(VecraftError) in
                try await journal.transferLeadership(
                    of: try self.partition(request.partition), to: ReplicaID(request.nodeID))
                return VecraftInternalV1.TransferLeadershipResponse()
            },
            "Trim": self.admin(journal) { (journal, request: VecraftInternalV1.TrimRequest, _) throws(VecraftError) in
                let id = try self.partition(request.partition)
                try await journal.trim(id, through: request.through)
                return VecraftInternalV1.TrimResponse(firstOffset: try journal.position(id).first)
            },
        ]
    }

    private static func partitions(
        _ names: [String], _ journal: ReplicatedJournal
    ) throws(VecraftError) -> [PartitionID] {
        guard !names.isEmpty else { return journal.partitions }
        return try names.map { (name) throws(VecraftError) in
            let id = try self.partition(name)
            _ = try journal.replica(id)
            return id
        }
    }

    /// - Parameter act: Gets the time until the caller hears no more, if it said so; its task is cancelled when the caller is gone.
    private static func admin<Request: WireMessage, Reply: WireMessage>(
        _ journal: ReplicatedJournal?,
        _ act: @escaping @Sendable (ReplicatedJournal, Request, Duration?) async throws(VecraftError) -> Reply
    ) -> GRPCMethod {
        .clientStreaming { (call) throws(VecraftError) in
            guard let journal else {
                throw VecraftError(
                    .failedPrecondition, "this node is alone; give it cluster.node_id and cluster.peers",
                    reason: "NOT_REPLICATED")
            }
            let request: Request = try await call.request().decoded()
            let left = call.deadline.map { Duration($0 - .now()) }
            // Not on the event loop, which others' calls wait for.
            let reply = try await withTaskExecutorPreference(globalConcurrentExecutor) {
                () async throws(VecraftError) -> [UInt8] in
                try await act(journal, request, left).encode()
            }
            try await call.send(reply)
        }
    }

    private static func append(
        _ journal: any JournalClient, _ admit: @escaping EntryAdmittance
    ) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let (partition, entry) = try self.entry(message)
            try entry.withView { (view) throws(VecraftError) in try admit(view) }
            // All of the message that is still needed is in the entry.
            let reply = call.deferred(keepingMessage: false)
            journal.append(entry, to: partition) { self.answer(reply, $0) }
            return .later
        }
    }

    /// An entry ready made, checked whole.
    static func entry(_ message: UnsafeRawBufferPointer) throws(VecraftError) -> (PartitionID, EncodedEntry) {
        let (partition, entry) = try ArenaPool.shared.withArena {
            (arena) throws(VecraftError) -> (PartitionID, EncodedEntry) in
            let request = try VecraftInternalV1.AppendRequest.View.decode(message, in: arena)
            let name = request.partition
            guard let partition = PartitionID(utf8: name.bytes) else { throw self.noPartition(name.string) }
            do throws(DecodingFault) {
                return (partition, try EncodedEntry(copying: request.entry))
            } catch {
                throw .invalid("entry", "not a journal entry: \(error)")
            }
        }
        guard entry.partition == partition else {
            throw .invalid("partition", "the entry says \(entry.partition), the request \(partition)")
        }
        return (partition, entry)
    }

    static func answer(_ reply: GRPCDeferredReply, _ result: Result<Appended, VecraftError>) {
        switch result {
        case .success(let appended):
            reply.reply(
                VecraftInternalV1.AppendResponse(
                    offset: appended.offset, hlc: appended.hlc.rawValue, term: appended.term, replayed: appended.replayed
                ).encode())
        case .failure(let error): reply.fail(error)
        }
    }

    private static func read(_ journal: any JournalClient) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try VecraftInternalV1.ReadRequest.decode(message)
            out.writeBytes(try self.batch(journal, request, from: request.from).bytes)
            return .reply
        }
    }

    private static func subscribe(_ journal: any JournalClient) -> GRPCMethod {
        .serverStreaming { (call) throws(VecraftError) in
            let message = try await call.request()
            let request: VecraftInternalV1.ReadRequest = try message.decoded()
            let partition = try self.partition(request.partition)
            let (commits, more) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
            let subscription = try journal.onCommit(partition) { _ in more.yield() }
            defer { subscription.cancel() }
            call.onCancel { more.finish() }
            var next = request.from
            var waiting = commits.makeAsyncIterator()
            while !call.isCancelled {
                let (bytes, after) = try self.batch(journal, request, from: next)
                if after == max(next, 1) {
                    guard await waiting.next() != nil else { return }
                    continue
                }
                try await call.send(bytes)
                next = after
            }
        }
    }

    private static func partitions(_ journal: any JournalClient) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            var response = VecraftInternalV1.PartitionsResponse()
            for id in journal.partitions { response.partitions.append(try self.info(id, journal)) }
            out.writeBytes(response.encode())
            return .reply
        }
    }

    static func info(_ id: PartitionID, _ journal: any JournalClient) throws(VecraftError) -> VecraftInternalV1.PartitionInfo {
        let status = try journal.status(id)
        var info = VecraftInternalV1.PartitionInfo(
            partition: id.description, term: status.term, firstOffset: status.first, committedOffset: status.committed,
            lastHLC: status.lastHLC.rawValue, diskBytes: UInt64(status.diskBytes), segments: UInt64(status.segments))
        info.role = "leader"
        info.lastOffset = status.committed
        guard let replica = status.replica else { return info }
        info.role = replica.role.rawValue
        info.replica = replica.replica.rawValue
        info.leader = replica.leader?.rawValue ?? 0
        info.lastOffset = replica.last
        info.recovering = replica.isRecovering
        info.failure = replica.failure ?? ""
        let directory = (journal as? ReplicatedJournal)?.directory
        info.members = replica.membership.members.map { member in
            var part = VecraftInternalV1.MemberInfo(
                nodeID: member.id.rawValue, voter: member.isVoter, outgoing: member.isOutgoing,
                address: directory?.address(of: member.id) ?? "")
            if let peer = replica.peers.first(where: { $0.id == member.id }) {
                part.lagEntries = replica.last - min(peer.match, replica.last)
                part.silenceMs = peer.silence / 1_000_000
            }
            return part
        }
        return info
    }

    /// One encoded batch, and where the next begins.
    private static func batch(
        _ journal: any JournalClient, _ request: VecraftInternalV1.ReadRequest, from: JournalOffset
    ) throws(VecraftError) -> (bytes: [UInt8], next: JournalOffset) {
        let partition = try self.partition(request.partition)
        let wish = request.maxBytes == 0 ? self.defaultBatchBytes : Int(request.maxBytes)
        guard wish <= self.maxBatchBytes else { throw .invalid("max_bytes", "\(wish); at most \(self.maxBatchBytes)") }
        let closed = try journal.position(partition).closed
        let batch = try journal.read(partition, from: from, maxBytes: wish)
        let bytes = ArenaPool.shared.withArena { arena in
            withExtendedLifetime(batch) {
                let reply = VecraftInternalV1.EntryBatch.Builder(in: arena)
                reply.partition.set(partition.description)
                reply.entries.set(borrowing: batch.count) { batch[$0] }
                reply.committedOffset = batch.committed
                reply.closedHLC = closed.rawValue
                return reply.encode()
            }
        }
        return (bytes, batch.nextOffset)
    }

    static func partition(_ name: String) throws(VecraftError) -> PartitionID {
        guard let partition = PartitionID(name) else { throw self.noPartition(name) }
        return partition
    }

    private static func noPartition(_ name: String) -> VecraftError {
        .invalid("partition", "\"\(name.prefix(64))\" is not a partition, such as data-0")
    }
}
