internal import HLC
internal import Lineage
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import Wire

/// Which node answered for some shards of a read.
struct ReadOrigin: Sendable {
    /// 0: this one.
    var node: UInt64
    var shards: [UInt32]
    /// Offset up to which it had applied the partition.
    var version: UInt64 = 0
}

extension Gateway {
    /// Reads that carry a request id can be asked for later; others could not be named.
    func logsReads(_ context: RequestContext) -> Bool {
        !context.requestID.isEmpty && context.scope == nil && self.lineage.reads != nil
    }

    /// Notes what a read was answered from.
    ///
    /// - Parameter origins: Nil: all of its shards are here.
    func logRead<Op: ReadOperation>(
        _: Op.Type, _ request: Op.Request, _ reply: Op.Reply, _ context: RequestContext, _ origins: [ReadOrigin]? = nil
    ) {
        guard self.logsReads(context), let reads = self.lineage.reads, let info = Op.info(of: reply.view) else {
            return
        }
        let place = Op.place(request)
        guard let schema = try? self.schema(place.collection, place.tenant), let version = info.indexVersion.first
        else { return }
        let all =
            origins ?? [
                ReadOrigin(
                    node: 0, shards: (Op.concerned(request, schema) ?? Set(0..<schema.shards)).sorted(),
                    version: version.offset)
            ]
        let partition = version.partition.string
        var shards: [VecraftV1.ShardVersion] = []
        for origin in all {
            let replica = self.lineage.nodeName(origin.node)
            for shard in origin.shards {
                shards.append(.init(shard: shard, replica: replica, partition: partition, indexVersion: origin.version))
            }
        }
        reads.note(
            VecraftV1.AnsweredRead(
                requestID: context.requestID, node: self.lineage.nodeName(0), hlc: self.clock.now().rawValue,
                operation: Op.metrics(self.operations).name, tenant: schema.tenant, collection: schema.name,
                collectionID: schema.id, traceID: context.trace?.traceIDHex ?? "", principal: context.principal,
                requested: info.requested, achieved: info.achieved, stalenessMs: info.stalenessMs,
                durationUs: (SystemTime.monotonicNanoseconds &- context.arrived) / 1_000,
                status: VecraftError.Code.ok.name,
                shards: shards.sorted { $0.shard < $1.shard }))
    }
}
