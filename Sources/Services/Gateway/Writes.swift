internal import Filter
internal import HLC
internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import NIOCore
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import StorageNode
internal import Tracing
internal import Wire

/// A write, validated and encoded: nothing is left but to append it.
struct PreparedWrite: Sendable {
    let entry: EncodedEntry
    let schema: CollectionSchema
    let accepted: Int
    let waitApplied: Bool
    let requestID: String
    let trace: TraceContext
    let tier: Tier
    /// Of the writes in progress; held until the answer.
    let share: Budget.Share
}

extension Gateway {
    /// Requests of more points than this are bulk, and yield to interactive ones in the journal's queues.
    static let bulkPoints = 16

    func prepare(
        upsert request: VecraftV1.UpsertRequest.View, _ context: RequestContext
    ) throws(VecraftError) -> PreparedWrite {
        let received = self.clock.now()
        let share = try self.writes.take(context.requestBytes)
        let schema = try self.schema(request.collection, request.tenant)
        let points = request.points
        guard (1...Limits.pointsPerRequest).contains(points.count) else {
            throw .invalid("points", "\(points.count) points; 1 to \(Limits.pointsPerRequest)")
        }
        var size = UpsertSizer()
        for (i, point) in points.enumerated() { try Self.check(point, i, schema, &size) }
        var header = try self.header(
            .upsert, schema, context, key: request.idempotencyKey,
            tier: context.isOwn ? .background : points.count > Self.bulkPoints ? .batch : .interactive)
        self.stampSpans(&header, received)
        let entry = EncodedEntry.upsert(header: header, size: size) { writer in
            for point in points { Self.write(point, &writer) }
        }
        return try self.prepared(entry, schema, points.count, request.wait, header, share)
    }

    func prepare(
        delete request: VecraftV1.DeleteRequest.View, _ context: RequestContext
    ) throws(VecraftError) -> PreparedWrite {
        let received = self.clock.now()
        let share = try self.writes.take(context.requestBytes)
        let schema = try self.schema(request.collection, request.tenant)
        let ids = request.ids
        if let filter = request.filter {
            guard ids.isEmpty else { throw .invalid("ids", "give ids or a filter, not both") }
            let encoded = try Filter(wire: filter)
            guard !encoded.isEmpty else {
                throw .invalid("filter", "an empty filter would delete every point; drop the collection instead")
            }
            var header = try self.header(.deleteByFilter, schema, context, key: request.idempotencyKey, tier: .batch)
            self.stampSpans(&header, received)
            let stamped = header
            let entry = encoded.encoded().withUnsafeBytes { EncodedEntry.deleteByFilter(header: stamped, filter: $0) }
            return try self.prepared(entry, schema, 0, request.wait, header, share)
        }
        guard (1...Limits.idsPerRequest).contains(ids.count) else {
            throw .invalid("ids", "\(ids.count) ids; 1 to \(Limits.idsPerRequest), or a filter")
        }
        var idBytes = 0
        for (i, id) in ids.enumerated() {
            let bytes = id.bytes
            try PointValidation.id(bytes, "ids[\(i)]")
            idBytes += bytes.count
        }
        var header = try self.header(
            .delete, schema, context, key: request.idempotencyKey,
            tier: ids.count > Self.bulkPoints ? .batch : .interactive)
        self.stampSpans(&header, received)
        let entry = EncodedEntry.delete(header: header, count: ids.count, idBytes: idBytes) { writer in
            for id in ids { writer.id(id.bytes) }
        }
        return try self.prepared(entry, schema, ids.count, request.wait, header, share)
    }

    // MARK: Appending

    /// Appends, waits if asked to, remembers the writer. `completion` runs once, on a journal or replay thread, or on `loop`,
    /// where the wait for the replica is timed.
    func append(
        _ write: PreparedWrite, _ context: RequestContext, on loop: any EventLoop,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        let partition = write.schema.partition
        let handed = context.span == nil ? 0 : SystemTime.nanoseconds
        self.journal.append(write.entry, to: partition) { [self] result in
            if let span = context.span { Self.trace(write, result, span, since: handed) }
            guard case .success(let appended) = result else {
                completion(result)
                return
            }
            // Before the answer: the caller's next read must already know.
            self.recent.wrote(context.caller, partition, appended.offset)
            self.coverage?.acknowledged(appended, in: partition, requestID: write.requestID, always: context.isOwn)
            guard write.waitApplied, let replay = self.storage.replay(partition) else {
                completion(result)
                return
            }
            let timer = TimerBox()
            let since = SystemTime.monotonicNanoseconds
            let ticket = replay.waiters.wait(for: appended.offset) { waited in
                timer.cancel()
                context.span?.stage("wait for replay", since: since, error: waited.failure)
                switch waited {
                case .failure(let error): completion(.failure(error))
                case .success: self.awaitElsewhere(write, appended, context, on: loop, completion)
                }
            }
            guard let ticket else { return }
            timer.arm(
                loop.scheduleTask(deadline: .uptimeNanoseconds(context.lagDeadline)) {
                    replay.waiters.cancel(ticket, error: Self.behind(replay, appended))
                })
        }
    }

    /// The span whose identity the entry carries: what applies it links to it.
    @inline(never)
    private static func trace(
        _ write: PreparedWrite, _ result: Result<Appended, VecraftError>, _ span: RequestSpan, since start: UInt64
    ) {
        var fields: SpanFields = [SpanField("vecraft.partition", write.schema.partition.description)]
        var failure: VecraftError?
        switch result {
        case .success(let appended):
            fields.append(SpanField("vecraft.offset", appended.offset))
            fields.append(SpanField("vecraft.hlc", appended.hlc.rawValue))
        case .failure(let error): failure = error
        }
        span.report("journal append", .producer, as: write.trace, since: start, error: failure, fields)
        span.add { $0.append(SpanField("vecraft.points", write.accepted)) }
    }

    /// Applied here; of shards that lie elsewhere one holder each must have it too.
    private func awaitElsewhere(
        _ write: PreparedWrite, _ appended: Appended, _ context: RequestContext, on loop: any EventLoop,
        _ completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        let schema = write.schema
        guard let replica = self.storage.replica(schema.id), !replica.isWhole else {
            return completion(.success(appended))
        }
        do throws(VecraftError) {
            let requirement = ReadRequirement(level: .readYourWrites, remembered: appended.offset)
            let read = try self.read(requirement, replica)
            let message = VecraftV1.CountRequest(collection: schema.name, tenant: schema.tenant).encode()
            self.scatter(SyncOperation.self, ByteBuffer(bytes: message), context, read, on: loop) { result in
                completion(result.map { _ in appended })
            }
        } catch { completion(.failure(error)) }
    }

    /// The distinct error of a write that is durable, but was not applied in the time there was.
    private static func behind(_ replay: PartitionReplay, _ appended: Appended) -> VecraftError {
        let mark = replay.mark
        let applied = replay.waiters.applied
        let lag = appended.offset - min(applied, appended.offset)
        return VecraftError(
            .deadlineExceeded,
            "the write is committed (\(replay.partition) offset \(appended.offset), hlc \(appended.hlc.rawValue)), but the replica is behind: applied up to \(applied) (\(lag) entries, \(replay.staleness(applied: applied, since: mark)) ms of lag)",
            reason: "REPLICA_BEHIND", retryAfter: .milliseconds(100))
    }

    func fill(
        _ info: VecraftV1.WriteInfo.Builder, _ appended: Appended, _ write: PreparedWrite, session: SessionToken
    ) {
        var session = session
        session.merge(write.schema.partition, appended.offset)
        self.fill(
            info, appended, partition: write.schema.partition, requestID: write.requestID, trace: write.trace,
            session: session)
    }

    func fill(
        _ info: VecraftV1.WriteInfo.Builder, _ appended: Appended, partition: PartitionID, requestID: String,
        trace: TraceContext, session: SessionToken
    ) {
        info.hlc = appended.hlc.rawValue
        info.partition.set(partition.description)
        info.offset = appended.offset
        info.sessionToken.set(session.bytes)
        info.requestID.set(requestID)
        info.traceID.set(trace.traceIDHex)
        info.replayed = appended.replayed
    }

    // MARK: Encoding

    func header(
        _ operation: OperationKind, tenant: String, collection: UInt64, partition: PartitionID,
        _ context: RequestContext, key: String, tier: Tier
    ) throws(VecraftError) -> EntryHeader {
        guard key.isEmpty || context.idempotencyKey.isEmpty || key == context.idempotencyKey else {
            throw .invalid("idempotency_key", "the request says another key than the idempotency-key header")
        }
        var key = key.isEmpty ? context.idempotencyKey : key
        guard key.utf8.count <= Limits.idempotencyKeyBytes else {
            throw .invalid("idempotency_key", "\(key.utf8.count) bytes; at most \(Limits.idempotencyKeyBytes)")
        }
        var random = SystemRandomNumberGenerator()
        // In a cluster an append may have to be repeated at the next leader; only a key keeps it from being doubled.
        if key.isEmpty, self.journal.isReplicated {
            key = "~" + TraceContext.hex(random.next()) + TraceContext.hex(random.next())
        }
        let trace = context.trace?.child(using: &random) ?? .root(using: &random, sampled: false)
        let requestID = context.requestID.isEmpty ? TraceContext.hex(random.next()) : context.requestID
        return EntryHeader(
            partition: partition, tier: tier, operation: operation, tenant: tenant, collection: collection,
            requestID: requestID, idempotencyKey: key, principal: context.principal, trace: trace)
    }

    /// `received`: until the request was found good. `routed`: until its entry was handed to the journal.
    func stampSpans(_ header: inout EntryHeader, _ received: HLCTimestamp) {
        let validated = self.clock.now()
        header.spans = [
            EntrySpan(name: .received, start: received, end: validated),
            EntrySpan(name: .routed, start: validated, end: self.clock.now()),
        ]
    }

    private func header(
        _ operation: OperationKind, _ schema: CollectionSchema, _ context: RequestContext, key: TextView, tier: Tier
    ) throws(VecraftError) -> EntryHeader {
        guard schema.tenant != CollectionSchema.ownTenant || context.isOwn else {
            throw VecraftError(
                .permissionDenied, "tenant: \"\(schema.tenant)\" is the nodes' own", field: "tenant",
                reason: "TENANT_RESERVED")
        }
        context.span?.place(tenant: schema.tenant, collection: schema.name)
        return try self.header(
            operation, tenant: schema.tenant, collection: schema.id, partition: schema.partition, context,
            key: key.string, tier: tier)
    }

    private func prepared(
        _ entry: EncodedEntry, _ schema: CollectionSchema, _ accepted: Int, _ wait: VecraftV1.Wait,
        _ header: EntryHeader, _ share: Budget.Share
    ) throws(VecraftError) -> PreparedWrite {
        guard (0...2).contains(wait.rawValue) else { throw .invalid("wait", "\(wait.rawValue) is unknown") }
        return PreparedWrite(
            entry: entry, schema: schema, accepted: accepted, waitApplied: wait == .applied,
            requestID: header.requestID, trace: header.trace, tier: header.tier, share: share)
    }

    private static func check(
        _ point: VecraftV1.Point.View, _ i: Int, _ schema: CollectionSchema, _ size: inout UpsertSizer
    ) throws(VecraftError) {
        let id = point.id.bytes
        try PointValidation.id(id, "points[\(i)].id")
        let payload = point.payload?.json
        if let payload { try PointValidation.payload(payload, "points[\(i)].payload") }
        size.point(idBytes: id.count, payloadBytes: payload?.count)
        if let vector = point.vector {
            guard let index = schema.vectorIndex("") else {
                throw .invalid(
                    "points[\(i)].vector", "collection \"\(schema.name)\" has only named vectors; use vectors")
            }
            _ = try PointValidation.components(vector, schema.vectors[index], "points[\(i)].vector")
            size.vector(nameBytes: 0, dimension: schema.vectors[index].dimension)
        }
        let named = point.vectors
        guard named.count <= Limits.namedVectors else {
            throw .invalid("points[\(i)].vectors", "\(named.count) vectors; at most \(Limits.namedVectors)")
        }
        for (j, entry) in named.enumerated() {
            let name = entry.key.string
            guard let index = schema.vectorIndex(name), !name.isEmpty else {
                throw .invalid(
                    "points[\(i)].vectors.\(name)", "collection \"\(schema.name)\" has no vector of this name")
            }
            // Protobuf lets a map's key come twice; taking either would be a guess.
            for k in 0..<j where named[k].key == name { throw .invalid("points[\(i)].vectors.\(name)", "given twice") }
            guard let vector = entry.value else { throw .invalid("points[\(i)].vectors.\(name)", "is empty") }
            _ = try PointValidation.components(vector, schema.vectors[index], "points[\(i)].vectors.\(name)")
            size.vector(nameBytes: name.utf8.count, dimension: schema.vectors[index].dimension)
        }
    }

    private static func write(_ point: VecraftV1.Point.View, _ writer: inout UpsertWriter) {
        let vector = point.vector
        let named = point.vectors
        writer.point(
            id: point.id.bytes, payload: point.payload?.json, vectors: named.count + (vector == nil ? 0 : 1))
        if let vector { writer.vector(name: UnsafeRawBufferPointer(start: nil, count: 0), packed: vector.raw) }
        for entry in named {
            if let vector = entry.value { writer.vector(name: entry.key.bytes, packed: vector.raw) }
        }
    }
}

extension VecraftV1.Vector.View {
    /// The components as bytes, in whichever form they came.
    var raw: UnsafeRawBufferPointer { self.packed.isEmpty ? UnsafeRawBufferPointer(self.values) : self.packed }
}
