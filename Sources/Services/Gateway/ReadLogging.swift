internal import HLC
internal import HTTP
internal import Lineage
internal import Logging
internal import MetaManager
internal import NIOCore
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
        var stages: [SpanField] = []
        Op.stages(of: reply.view, into: &stages)
        for stage in stages { fields[String(stage.key.dropFirst("vecraft.".count))] = "\(stage.value)" }
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

// MARK: Reads that failed

/// What of a request says how fresh an answer had to be.
private protocol CarriesReadOptions {
    var read: VecraftV1.ReadOptions.View? { get }
}
extension VecraftV1.SearchRequest.View: CarriesReadOptions {}
extension VecraftV1.GetRequest.View: CarriesReadOptions {}
extension VecraftV1.CountRequest.View: CarriesReadOptions {}
extension VecraftV1.ScrollRequest.View: CarriesReadOptions {}

extension Gateway {
    /// A read ends with an error: it gets a note as an answer does.
    ///
    /// - Parameters:
    ///   - context: Nil: it was not even known who asks.
    ///   - message: The request, which may be no message at all.
    @inline(__always)
    func failed<Op: ReadOperation>(
        _: Op.Type, _ error: VecraftError, _ context: RequestContext?, _ message: UnsafeRawBufferPointer
    ) {
        guard let context, self.logsReads(context) else { return }
        self.logFailure(Op.self, error, context) { (arena) throws(VecraftError) in
            try Op.Request.decode(message, in: arena)
        }
    }

    @inline(__always)
    func failed<Op: ReadOperation>(
        _: Op.Type, _ error: VecraftError, _ context: RequestContext, _ message: ByteBuffer
    ) {
        guard self.logsReads(context) else { return }
        self.logFailure(Op.self, error, context) { (arena) throws(VecraftError) in
            try message.decode(Op.Request.self, in: arena)
        }
    }

    @inline(__always)
    func failed<Op: ReadOperation, Message: WireMessage>(
        _: Op.Type, _ error: VecraftError, _ context: RequestContext, _ message: Message
    ) where Message.Builder.View == Op.Request {
        guard self.logsReads(context) else { return }
        self.logFailure(Op.self, error, context) { message.built(in: $0).view }
    }

    @inline(never)
    private func logFailure<Op: ReadOperation>(
        _: Op.Type, _ error: VecraftError, _ context: RequestContext,
        _ decode: (Arena) throws(VecraftError) -> Op.Request
    ) {
        ArenaPool.shared.withArena { arena in
            guard let request = try? decode(arena) else {
                return self.logFailure(Op.self, error, context, collection: "", tenant: "", wish: nil)
            }
            let place = Op.place(request)
            self.logFailure(
                Op.self, error, context, collection: place.collection.string, tenant: place.tenant.string,
                wish: (request as? any CarriesReadOptions)?.read?.consistency ?? .unspecified)
        }
    }

    /// Makes the request of an HTTP call; one that is none is a read that failed.
    func noting<Op: ReadOperation, Message>(
        _: Op.Type, _ call: HTTPCall, _ context: RequestContext, _ make: () throws(VecraftError) -> Message
    ) throws(VecraftError) -> Message {
        do throws(VecraftError) { return try make() } catch {
            if self.logsReads(context) {
                self.logFailure(
                    Op.self, error, context, collection: call.parameter("collection"),
                    tenant: call.optionalParameter("tenant") ?? "", wish: nil)
            }
            throw error
        }
    }

    /// - Parameters:
    ///   - collection: As the request has it, "" if it is not known; there may be none. Cut to what a name may be.
    ///   - wish: How fresh an answer had to be; nil: it is not known.
    private func logFailure<Op: ReadOperation>(
        _: Op.Type, _ error: VecraftError, _ context: RequestContext, collection: String, tenant: String,
        wish: VecraftV1.ConsistencyLevel?
    ) {
        guard let reads = self.lineage.reads else { return }
        let tenant = tenant.isEmpty ? "default" : tenant
        let level = wish.flatMap { try? ConsistencyLevel(wire: $0) }
        reads.note(
            VecraftV1.AnsweredRead(
                requestID: context.requestID, node: self.lineage.nodeName(0), hlc: self.clock.now().rawValue,
                operation: Op.metrics(self.operations).name, tenant: String(tenant.prefix(Self.maxNoted)),
                collection: String(collection.prefix(Self.maxNoted)),
                collectionID: (try? self.meta.collection(tenant: tenant, name: collection).id) ?? 0,
                traceID: context.trace?.traceIDHex ?? "", principal: context.principal,
                requested: level.map { VecraftV1.ConsistencyLevel($0) } ?? .unspecified,
                durationUs: (SystemTime.monotonicNanoseconds &- context.arrived) / 1_000, status: error.code.name,
                reason: error.reason ?? ""))
    }

    /// Characters of a name that nobody has checked.
    private static let maxNoted = 128
}
