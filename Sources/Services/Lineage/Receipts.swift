internal import JournalService
internal import MetaManager
internal import Observability
package import Primitives
internal import ShardEngine
internal import StorageNode
package import Wire

extension LineageService {
    /// Adds when each entry became searchable, on every node that holds what it wrote to.
    ///
    /// - Parameter shard: The only one that is meant; nil: all of the entry's collection.
    /// - Returns: Names of nodes that did not answer.
    func addReceipts(
        _ entries: inout [VecraftV1.LineageEntry], shard: UInt32?, _ deadline: UInt64
    ) async -> [String] {
        let questions = entries.map { entry in
            VecraftInternalV1.ReceiptQuestion(
                partition: entry.partition, offset: entry.offset,
                collection: entry.refused.isEmpty ? entry.collectionID : 0,
                oneShard: shard != nil, shard: shard ?? 0)
        }
        for (i, question) in questions.enumerated() {
            entries[i].receipts = self.ownReceipt(question).map { [$0] } ?? []
        }
        guard questions.contains(where: { $0.collection != 0 }) else { return [] }
        let (replies, unanswered) = await self.peers.askAll(
            "Receipts", VecraftInternalV1.ReceiptsRequest(questions: questions), timeout: Self.patience(deadline),
            VecraftInternalV1.ReceiptsResponse.self)
        for reply in replies where reply.receipts.count == questions.count {
            for (i, receipt) in reply.receipts.enumerated() where receipt.lastOffset > 0 {
                entries[i].receipts.append(receipt)
            }
        }
        for i in entries.indices { entries[i].receipts.sort { $0.appliedHLC < $1.appliedHLC } }
        return unanswered
    }

    /// For other nodes: so that an answer still comes in time.
    static func patience(_ deadline: UInt64) -> Duration {
        let now = SystemTime.monotonicNanoseconds
        return min(Self.peerTimeout, .nanoseconds(Int64(clamping: deadline > now ? (deadline - now) / 2 : 0)))
    }

    /// What other nodes are told.
    package func receipts(
        _ request: VecraftInternalV1.ReceiptsRequest
    ) throws(VecraftError) -> VecraftInternalV1.ReceiptsResponse {
        guard request.questions.count <= Self.maxLimit else { throw .invalid("questions", "at most \(Self.maxLimit)") }
        return VecraftInternalV1.ReceiptsResponse(
            node: self.replica,
            receipts: request.questions.map { self.ownReceipt($0) ?? VecraftV1.Receipt(replica: self.replica) })
    }

    private func ownReceipt(_ question: VecraftInternalV1.ReceiptQuestion) -> VecraftV1.Receipt? {
        guard question.collection != 0, let partition = PartitionID(question.partition),
            let range = self.storage.replay(partition)?.receipts.receipt(for: question.offset)
        else { return nil }
        var shards: [UInt32] = []
        if let replica = self.storage.replica(question.collection) {
            shards = replica.shards.map(\.engine.id.shard)
            if question.oneShard { shards = shards.filter { $0 == question.shard } }
            guard !shards.isEmpty else { return nil }
        } else if self.meta.catalog.byID[question.collection] != nil {
            return nil
        }
        // Of a collection that was dropped nobody knows any more which shards were here.
        return VecraftV1.Receipt(
            replica: self.replica, firstOffset: range.first, lastOffset: range.last,
            appliedHLC: range.appliedHLC.rawValue,
            shards: shards)
    }
}
