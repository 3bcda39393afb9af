internal import Filter
internal import Primitives
internal import ShardEngine
internal import Wire

// Answers of several nodes made one. Their messages lie in one arena; what is taken over is not copied.

extension SearchOperation {
    static var shardOperation: VecraftInternalV1.ShardOperation { .search }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder> { reply.info }
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View? { reply.info }

    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom, without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError) {
        var hits = parts.flatMap { Array($0.hits) }
        hits.sort { a, b in
            a.distance == b.distance ? ByteOrder.less(a.id.bytes, b.id.bytes) : a.distance < b.distance
        }
        let limit = request.limit == 0 ? Self.defaultLimit : Int(request.limit)
        reply.hits.adopt(Array(hits.prefix(limit)))
        let plan = reply.plan.make()
        var strategies: [String] = []
        var unindexed: [String] = []
        for part in parts {
            guard let one = part.plan else { continue }
            for name in one.strategy.string.split(separator: ",").map(String.init) where !strategies.contains(name) {
                strategies.append(name)
            }
            for field in one.unindexed.map(\.string) where !unindexed.contains(field) { unindexed.append(field) }
            plan.visited += one.visited
            plan.matching += one.matching
            plan.engineTimeUs += one.engineTimeUs
        }
        plan.strategy.set(["graph", "graph+filter", "exact"].filter { strategies.contains($0) }.joined(separator: ","))
        if !unindexed.isEmpty { plan.unindexed.set(unindexed) }
    }
}

extension GetOperation {
    static var shardOperation: VecraftInternalV1.ShardOperation { .get }
    static func concerned(_ request: Request, _ schema: CollectionSchema) -> Set<UInt32>? {
        Set(request.ids.map { ShardSlots.shard(of: $0.bytes, of: schema.shards) })
    }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder> { reply.info }
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View? { reply.info }

    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom, without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError) {
        var found: [[UInt8]: VecraftV1.StoredPoint.View] = [:]
        for part in parts { for point in part.points { found[Array(point.id.bytes)] = point } }
        // In the order asked for; an id asked for twice comes twice.
        var points: [VecraftV1.StoredPoint.View] = []
        var missing: [UnsafeRawBufferPointer] = []
        for id in request.ids {
            if let point = found[Array(id.bytes)] {
                points.append(point)
            } else if absent.isEmpty || !absent.contains(ShardSlots.shard(of: id.bytes, of: schema.shards)) {
                missing.append(id.bytes)
            }
        }
        reply.points.adopt(points)
        if !missing.isEmpty { reply.missing.set(missing) }
    }
}

extension CountOperation {
    static var shardOperation: VecraftInternalV1.ShardOperation { .count }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder> { reply.info }
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View? { reply.info }

    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom, without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError) {
        for part in parts { reply.count += part.count }
    }
}

extension SyncOperation {
    static var shardOperation: VecraftInternalV1.ShardOperation { .sync }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder> { reply.info }
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View? { reply.info }
    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom, without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError) {}
}

extension ScrollOperation {
    static var shardOperation: VecraftInternalV1.ShardOperation { .scroll }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder> { reply.info }
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View? { reply.info }

    /// A node that goes on has told all its points up to where it stopped, and none behind.
    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom, without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError) {
        let filter = try request.filter.map { (view) throws(VecraftError) in try Filter(wire: view) }
        var bound: [UInt8]?
        for part in parts where !part.nextPageToken.isEmpty {
            let next = try PageToken.decode(part.nextPageToken.string, collection: schema.id, filter: filter)
            bound = bound.map { Self.less(next, $0) ? next : $0 } ?? next
        }
        var points = parts.flatMap { Array($0.points) }
        if let bound {
            bound.withUnsafeBytes { raw in points.removeAll { ByteOrder.less(raw, $0.id.bytes) } }
        }
        points.sort { ByteOrder.less($0.id.bytes, $1.id.bytes) }
        let size = request.pageSize == 0 ? Self.defaultPageSize : min(Int(request.pageSize), Limits.scrollPageSize)
        var bytes = 0
        var kept = 0
        for point in points.prefix(size) {
            bytes += room.bytes(point)
            if bytes > room.bytes, kept > 0 { break }
            kept += 1
        }
        if kept < points.count { bound = Array(points[kept - 1].id.bytes) }
        reply.points.adopt(Array(points.prefix(kept)))
        if let bound { reply.nextPageToken.set(PageToken.encode(after: bound, collection: schema.id, filter: filter)) }
    }

    private static func less(_ a: [UInt8], _ b: [UInt8]) -> Bool {
        a.withUnsafeBytes { first in b.withUnsafeBytes { ByteOrder.less(first, $0) } }
    }
}

extension AnswerRoom {
    /// What a point takes of the answer, as ``ShardEngine`` estimates it.
    fileprivate func bytes(_ point: VecraftV1.StoredPoint.View) -> Int {
        var bytes = self.frame + point.id.bytes.count + (point.payload?.json.count ?? 0)
        if let vector = point.vector { bytes += self.vector(name: 0, components: vector.values.count) }
        for named in point.vectors {
            bytes += self.vector(name: named.key.bytes.count, components: named.value?.values.count ?? 0)
        }
        return bytes
    }
}
