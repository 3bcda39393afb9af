internal import Filter
internal import JournalService
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import ShardEngine
internal import StorageNode
internal import Wire

enum SearchOperation: ReadOperation {
    typealias Request = VecraftV1.SearchRequest.View
    typealias Reply = VecraftV1.SearchResponse.Builder
    static let defaultLimit = 10

    static func metrics(_ operations: Operations) -> OperationMetrics { operations.search }
    static func stages(of reply: VecraftV1.SearchResponse.View, into fields: inout some SpanFieldReceiver) {
        guard let plan = reply.plan else { return }
        fields.append(SpanField("vecraft.engine_ms", .number(Double(plan.engineTimeUs / 10) / 100)))
        fields.append(SpanField("vecraft.strategy", plan.strategy.string))
        fields.append(SpanField("vecraft.visited", UInt64(plan.visited)))
        fields.append(SpanField("vecraft.hits", reply.hits.count))
    }
    static func place(_ request: VecraftV1.SearchRequest.View) -> (collection: TextView, tenant: TextView) {
        (request.collection, request.tenant)
    }

    static func run(
        _ gateway: Gateway, _ request: VecraftV1.SearchRequest.View, _ context: RequestContext, _ parked: ParkedRead?,
        _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<VecraftV1.SearchResponse.Builder> {
        let schema = try gateway.schema(request.collection, request.tenant, context)
        let using = request.using.string
        guard let index = schema.vectorIndex(using) else {
            throw .invalid("using", "collection \"\(schema.name)\" has no vector \"\(using)\"")
        }
        let vector = schema.vectors[index]
        guard let query = request.vector else { throw .invalid("vector", "must be given") }
        let components = try PointValidation.components(query, vector, "vector")
        let limit = request.limit == 0 ? Self.defaultLimit : Int(request.limit)
        guard limit <= Limits.searchLimit else { throw .invalid("limit", "\(limit); at most \(Limits.searchLimit)") }
        guard request.ef <= Limits.searchLimit else {
            throw .invalid("ef", "\(request.ef); at most \(Limits.searchLimit)")
        }
        let filter = try request.filter.map { (view) throws(VecraftError) in try Filter(wire: view) }

        let read = try gateway.prepare(schema, request.read, context, parked)
        if let obstacle: ReadOutcome<Reply> = gateway.obstacle(read) { return obstacle }
        var search = ShardSearch(
            query: components.assumingMemoryBound(to: Float.self), using: using, limit: limit, filter: filter,
            ef: Int(request.ef), exact: request.exact, deadline: context.deadline, withVectors: request.withVectors,
            withPayload: !request.withoutPayload)
        search.onlyUsedVector = true
        search.room = gateway.room(context)
        let reply = VecraftV1.SearchResponse.Builder(in: arena)
        let (known, seen) = gateway.cache == nil ? (nil, nil) : try Self.look(gateway, search, read, components, schema)
        if let known, let seen {
            try known.withBytes { (raw) throws(VecraftError) in
                let part = try VecraftV1.SearchResponse.View.decode(raw, in: arena)
                try Self.merge([part], request, schema, gateway.room(context), without: [], into: reply)
            }
            let info = reply.info.make()
            gateway.fill(info, seen.answer, context)
            info.cacheHit = true
            return .answered(reply, seen.answer.achieved)
        }
        let (result, answer, spent) = try gateway.query.search(
            search, plan: read.plan, replica: read.replica, shards: read.shards)
        try context.checkDeadline()

        let points = result.points
        let hits = reply.hits.make(points.count)
        for i in 0..<points.count {
            let hit = hits[i]
            let place = points.place(i)
            points.batches[place.batch].withID(place.index) { hit.id.set($0) }
            let distance = result.distances[i]
            hit.distance = distance
            hit.score = vector.metric == .l2 ? -distance : 1 - distance
            hit.version = points.batches[place.batch].version(place.index).rawValue
            points.batches[place.batch].withPayload(place.index) { raw in
                if let raw { hit.payload.make().json.set(copying: raw) }
            }
            if request.withVectors {
                points.batches[place.batch].forEachVector(place.index) { _, values in
                    hit.vector.make().values.set(copying: values)
                }
            }
        }
        let plan = reply.plan.make()
        plan.strategy.set(result.plan.strategy)
        plan.visited = result.plan.visited
        plan.matching = result.plan.matching ?? 0
        if !result.plan.unindexed.isEmpty { plan.unindexed.set(result.plan.unindexed) }
        plan.engineTimeUs = (spent + 500) / 1000
        // Only if nothing was applied meanwhile: else the answer may hold what the key's points do not.
        if let seen, read.shards.map(\.engine.applied) == seen.applied {
            gateway.cache?.insert(seen.key, reply.encode())
        }
        gateway.fill(reply.info.make(), answer, context)
        return .answered(reply, answer.achieved)
    }

    /// What a search is kept under: what it asks, and of which points.
    private struct Seen {
        var key: [UInt8]
        var applied: [JournalOffset]
        var answer: ReadAnswer
    }

    private static func look(
        _ gateway: Gateway, _ search: ShardSearch, _ read: ParkedRead, _ query: UnsafeRawBufferPointer,
        _ schema: CollectionSchema
    ) throws(VecraftError) -> ([UInt8]?, Seen?) {
        // What is said of the answer must be true of just these points: where something is applied meanwhile, nothing is looked up.
        let states = read.shards.map(\.engine.state)
        let answer = try gateway.query.answer(read.plan, read.replica, shards: read.shards)
        guard read.shards.map(\.engine.applied) == states.map(\.applied) else { return (nil, nil) }
        var key = ByteWriter()
        key.write(schema.id)
        key.write(UInt32(read.shards.count))
        for (shard, state) in zip(read.shards, states) {
            key.write(shard.engine.id.shard)
            key.write(state.digest)
        }
        key.write(UInt32(search.limit))
        key.write(UInt32(search.ef))
        key.write(UInt8(search.exact ? 1 : 0) | UInt8(search.withVectors ? 2 : 0) | UInt8(search.withPayload ? 4 : 0))
        key.writeShort(search.using)
        key.write(query)
        if let filter = search.filter { key.write(filter.encoded()) }
        let seen = Seen(key: key.bytes, applied: states.map(\.applied), answer: answer)
        return (gateway.cache?.find(seen.key), seen)
    }
}

enum GetOperation: ReadOperation {
    typealias Request = VecraftV1.GetRequest.View
    typealias Reply = VecraftV1.GetResponse.Builder
    static func metrics(_ operations: Operations) -> OperationMetrics { operations.get }
    static func place(_ request: VecraftV1.GetRequest.View) -> (collection: TextView, tenant: TextView) {
        (request.collection, request.tenant)
    }

    static func run(
        _ gateway: Gateway, _ request: VecraftV1.GetRequest.View, _ context: RequestContext, _ parked: ParkedRead?,
        _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<VecraftV1.GetResponse.Builder> {
        let schema = try gateway.schema(request.collection, request.tenant, context)
        let ids = request.ids
        guard (1...Limits.idsPerRequest).contains(ids.count) else {
            throw .invalid("ids", "\(ids.count) ids; 1 to \(Limits.idsPerRequest)")
        }
        let read = try gateway.prepare(schema, request.read, context, parked)
        if let obstacle: ReadOutcome<Reply> = gateway.obstacle(read) { return obstacle }
        let (result, answer) = try gateway.query.get(
            ids: ids.map(\.bytes), withVectors: request.withVectors, withPayload: !request.withoutPayload,
            room: gateway.room(context), plan: read.plan, replica: read.replica, shards: read.shards)
        try context.checkDeadline()
        let reply = VecraftV1.GetResponse.Builder(in: arena)
        StoredPoints.fill(reply.points, result.points)
        if !result.missing.isEmpty { reply.missing.set(result.missing.map { ids[$0].bytes }) }
        gateway.fill(reply.info.make(), answer, context)
        return .answered(reply, answer.achieved)
    }
}

enum CountOperation: ReadOperation {
    typealias Request = VecraftV1.CountRequest.View
    typealias Reply = VecraftV1.CountResponse.Builder
    static func metrics(_ operations: Operations) -> OperationMetrics { operations.count }
    static func place(_ request: VecraftV1.CountRequest.View) -> (collection: TextView, tenant: TextView) {
        (request.collection, request.tenant)
    }

    static func run(
        _ gateway: Gateway, _ request: VecraftV1.CountRequest.View, _ context: RequestContext, _ parked: ParkedRead?,
        _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<VecraftV1.CountResponse.Builder> {
        let schema = try gateway.schema(request.collection, request.tenant, context)
        let filter = try request.filter.map { (view) throws(VecraftError) in try Filter(wire: view) }
        let read = try gateway.prepare(schema, request.read, context, parked)
        if let obstacle: ReadOutcome<Reply> = gateway.obstacle(read) { return obstacle }
        let (result, answer) = try gateway.query.count(
            filter, deadline: context.deadline, plan: read.plan, replica: read.replica, shards: read.shards)
        let reply = VecraftV1.CountResponse.Builder(in: arena)
        reply.count = result.count
        gateway.fill(reply.info.make(), answer, context)
        return .answered(reply, answer.achieved)
    }
}

/// Waits until shards are as fresh as is asked for, and reads nothing.
enum SyncOperation: ReadOperation {
    typealias Request = VecraftV1.CountRequest.View
    typealias Reply = VecraftV1.CountResponse.Builder
    static func metrics(_ operations: Operations) -> OperationMetrics { operations.count }
    static func place(_ request: VecraftV1.CountRequest.View) -> (collection: TextView, tenant: TextView) {
        (request.collection, request.tenant)
    }

    static func run(
        _ gateway: Gateway, _ request: VecraftV1.CountRequest.View, _ context: RequestContext, _ parked: ParkedRead?,
        _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<VecraftV1.CountResponse.Builder> {
        let schema = try gateway.schema(request.collection, request.tenant, context)
        let read = try gateway.prepare(schema, request.read, context, parked)
        if let obstacle: ReadOutcome<Reply> = gateway.obstacle(read) { return obstacle }
        let reply = VecraftV1.CountResponse.Builder(in: arena)
        let answer = try gateway.query.answer(read.plan, read.replica, shards: read.shards)
        gateway.fill(reply.info.make(), answer, context)
        return .answered(reply, answer.achieved)
    }
}

enum ScrollOperation: ReadOperation {
    typealias Request = VecraftV1.ScrollRequest.View
    typealias Reply = VecraftV1.ScrollResponse.Builder
    static let defaultPageSize = 100

    static func metrics(_ operations: Operations) -> OperationMetrics { operations.scroll }
    static func place(_ request: VecraftV1.ScrollRequest.View) -> (collection: TextView, tenant: TextView) {
        (request.collection, request.tenant)
    }

    static func run(
        _ gateway: Gateway, _ request: VecraftV1.ScrollRequest.View, _ context: RequestContext, _ parked: ParkedRead?,
        _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<VecraftV1.ScrollResponse.Builder> {
        let schema = try gateway.schema(request.collection, request.tenant, context)
        let filter = try request.filter.map { (view) throws(VecraftError) in try Filter(wire: view) }
        let token = request.pageToken.string
        let after = token.isEmpty ? nil : try PageToken.decode(token, collection: schema.id, filter: filter)
        let size = request.pageSize == 0 ? Self.defaultPageSize : min(Int(request.pageSize), Limits.scrollPageSize)
        guard request.read.map({ !$0.allowPartial }) ?? true else {
            throw .invalid("read.allow_partial", "is not for scrolls")
        }
        let read = try gateway.prepare(schema, request.read, context, parked)
        if let obstacle: ReadOutcome<Reply> = gateway.obstacle(read) { return obstacle }
        let (result, answer) = try gateway.query.scroll(
            after: after, filter: filter, limit: size, withVectors: request.withVectors,
            withPayload: !request.withoutPayload, deadline: context.deadline, room: gateway.pageRoom(context),
            plan: read.plan, replica: read.replica, shards: read.shards)
        try context.checkDeadline()
        let reply = VecraftV1.ScrollResponse.Builder(in: arena)
        StoredPoints.fill(reply.points, result.points)
        if let next = result.next {
            reply.nextPageToken.set(PageToken.encode(after: next, collection: schema.id, filter: filter))
        }
        gateway.fill(reply.info.make(), answer, context)
        return .answered(reply, answer.achieved)
    }
}

enum StoredPoints {
    static func fill(_ slot: RepeatedSlot<VecraftV1.StoredPoint.Builder>, _ points: MergedPoints) {
        let made = slot.make(points.count)
        for i in 0..<points.count {
            let place = points.place(i)
            Self.fill(made[i], points.batches[place.batch], place.index)
        }
    }

    private static func fill(_ point: VecraftV1.StoredPoint.Builder, _ points: PointBatch, _ i: Int) {
        points.withID(i) { point.id.set($0) }
        point.version = points.version(i).rawValue
        points.withPayload(i) { raw in if let raw { point.payload.make().json.set(copying: raw) } }
        var named: [(String, UnsafeBufferPointer<Float>)] = []
        points.forEachVector(i) { name, values in
            if name.isEmpty {
                point.vector.make().values.set(copying: values)
            } else {
                named.append((name, values))
            }
        }
        guard !named.isEmpty else { return }
        let entries = point.vectors.make(named.count)
        for (j, (name, values)) in named.enumerated() {
            entries[j].key.set(name)
            entries[j].value.make().values.set(copying: values)
        }
    }
}

/// Where a scroll goes on: the last id, bound to collection and filter so that a token cannot wander.
enum PageToken {
    private static let version: UInt8 = 1

    static func encode(after id: [UInt8], collection: UInt64, filter: Filter?) -> String {
        var writer = ByteWriter()
        writer.write(self.version)
        writer.write(self.binding(collection, filter))
        writer.write(id)
        return Base64Text.encode(writer.bytes)
    }

    static func decode(_ text: String, collection: UInt64, filter: Filter?) throws(VecraftError) -> [UInt8] {
        guard let bytes = Base64Text.decode(text), bytes.count > 9, bytes[0] == self.version else {
            throw .invalid("page_token", "not a page token of this server")
        }
        let bound = bytes.withUnsafeBytes { UInt64(littleEndian: $0.loadUnaligned(fromByteOffset: 1, as: UInt64.self)) }
        guard bound == self.binding(collection, filter) else {
            throw .invalid("page_token", "belongs to another collection or filter")
        }
        return Array(bytes[9...])
    }

    private static func binding(_ collection: UInt64, _ filter: Filter?) -> UInt64 {
        var hash = StableHash(seed: 11)
        hash.combine(collection)
        filter?.encoded().withUnsafeBytes { hash.combine($0) }
        return hash.finish()
    }
}
