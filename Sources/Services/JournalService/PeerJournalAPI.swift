package import GRPC
internal import JournalFormat
internal import JournalStore
internal import NIOCore
internal import Primitives
internal import Raft
internal import Wire

/// `vecraft.internal.v1.Peer` on the wire: for the listener that other nodes reach, and no client.
package enum PeerJournalAPI {
    static let service = "/vecraft.internal.v1.Peer/"

    package static func methods(_ journal: ReplicatedJournal) -> [String: GRPCMethod] { self.methods(LateJournal(journal)) }

    /// For a listener that begins before its journal is open.
    package static func methods(_ journal: LateJournal) -> [String: GRPCMethod] {
        [
            self.service + "Forward": self.forward(journal),
            self.service + "ReadIndex": self.readIndex(journal),
            self.service + "ChangeMembers": self.changeMembers(journal),
            self.service + "TransferLeadership": self.transferLeadership(journal),
        ]
    }

    /// The entry was judged where it was made, and will be again where it is applied.
    private static func forward(_ journal: LateJournal) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let (partition, entry) = try JournalAPI.entry(message)
            let replica = try journal.opened().replica(partition)
            let reply = call.deferred(keepingMessage: false)
            replica.append(entry) { JournalAPI.answer(reply, $0) }
            return .later
        }
    }

    private static func readIndex(_ journal: LateJournal) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try VecraftInternalV1.ReadIndexRequest.decode(message)
            let replica = try journal.opened().replica(try JournalAPI.partition(request.partition))
            let reply = call.deferred()
            replica.readIndex { result in
                switch result {
                case .success(let offset): reply.reply(VecraftInternalV1.ReadIndexResponse(offset: offset).encode())
                case .failure(let error): reply.fail(error)
                }
            }
            return .later
        }
    }

    private static func changeMembers(_ journal: LateJournal) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try VecraftInternalV1.ChangeMembersRequest.decode(message)
            let replica = try journal.opened().replica(try JournalAPI.partition(request.partition))
            let change: MembershipChange
            if request.addLearner != 0 {
                change = .add(ReplicaID(request.addLearner))
                try journal.opened().directory.learn(ReplicaID(request.addLearner), request.address)
            } else if request.removeLearner != 0 {
                change = .remove(ReplicaID(request.removeLearner))
            } else {
                change = .setVoters(request.voters.map { ReplicaID($0) })
            }
            let reply = call.deferred()
            replica.change(change) { result in
                switch result {
                case .success(let offset): reply.reply(VecraftInternalV1.ChangeMembersResponse(offset: offset).encode())
                case .failure(let error): reply.fail(error)
                }
            }
            return .later
        }
    }

    private static func transferLeadership(_ journal: LateJournal) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try VecraftInternalV1.TransferLeadershipRequest.decode(message)
            let replica = try journal.opened().replica(try JournalAPI.partition(request.partition))
            let reply = call.deferred()
            replica.transferLeadership(to: ReplicaID(request.nodeID)) { result in
                switch result {
                case .success: reply.reply(VecraftInternalV1.TransferLeadershipResponse().encode())
                case .failure(let error): reply.fail(error)
                }
            }
            return .later
        }
    }
}

extension GRPCServerSettings {
    /// For a listener without a gateway behind it.
    package mutating func prepareForPeers() { self.statusDetails = { StatusDetails.encode($0) } }
}
