internal import HLC
internal import Lineage
internal import Logging
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

    /// An answer is ready: what is worth a line or a note gets one.
    ///
    /// - Parameter origins: Nil: all of its shards are here.
    @inline(__always)
    func answered<Op: ReadOperation>(
        _: Op.Type, _ request: Op.Request, _ reply: Op.Reply, _ context: RequestContext, _ origins: [ReadOrigin]? = nil
    ) {
        let taken = SystemTime.monotonicNanoseconds &- context.arrived
        if taken >= self.settings.slowQueryNanoseconds, context.scope == nil {
            self.logSlow(Op.self, request, reply, context, origins, nanoseconds: taken)
        }
        if let span = context.span, !context.isPart { self.trace(Op.self, reply, span, origins) }
        if self.logsReads(context) { self.logRead(Op.self, request, reply, context, origins) }
    }

    /// One line of the log for a read that took long, with where its time went.
    @inline(never)
    private func logSlow<Op: ReadOperation>(
        _: Op.Type, _ request: Op.Request, _ reply: Op.Reply, _ context: RequestContext, _ origins: [ReadOrigin]?,
        nanoseconds: UInt64
    ) {
        // A flood of slow reads must not become a flood of lines.
        guard self.slowLines.take() else { return }
        let place = Op.place(request)
        var fields: Logger.Metadata = [
            "operation": "\(Op.metrics(self.operations).name)",
            "tenant": "\(place.tenant.isEmpty ? "default" : place.tenant.string)",
            "collection": "\(place.collection.string)", "total_ms": "\(Double(nanoseconds / 10_000) / 100)",
        ]
        if let info = Op.info(of: reply.view) {
            fields["level"] = "\(info.achieved)"
            fields["staleness_ms"] = "\(info.stalenessMs)"
            fields["waited_for_replay"] = "\(info.syncPerformed)"
            if let version = info.indexVersion.first {
                fields["index_version"] = "\(version.partition.string) \(version.offset)"
            }
        }
        for (name, value) in Op.stages(of: reply.view) { fields[name] = "\(value)" }
        if let origins { fields["nodes_asked"] = "\(Set(origins.map(\.node)).count)" }
        fields.merge(context.logFields) { own, _ in own }
        self.log.warning("slow query", metadata: fields)
    }

    /// Notes what a read was answered from.
    ///
    /// - Parameter origins: Nil: all of its shards are here.
    @inline(never)
    private func logRead<Op: ReadOperation>(
        _: Op.Type, _ request: Op.Request, _ reply: Op.Reply, _ context: RequestContext, _ origins: [ReadOrigin]?
    ) {
        guard let reads = self.lineage.reads, let info = Op.info(of: reply.view) else {
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
