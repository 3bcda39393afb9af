internal import Filter
internal import JournalFormat
internal import MetaManager
internal import Primitives
internal import ShardEngine
internal import Wire

/// Judges entries that come ready made over the wire (`vecraft.internal.v1.Journal/Append`) before they get an offset: by
/// the rules of the public API, and by those of whoever will apply them.
struct EntryAdmission: Sendable {
    private let meta: MetaManager

    init(_ meta: MetaManager) { self.meta = meta }

    /// - Throws: FAILED_PRECONDITION for an operation that is not taken from the wire, NOT_FOUND for a collection that is
    ///   not there, else INVALID_ARGUMENT naming what is wrong below `entry`.
    func admit(_ entry: EntryView) throws(VecraftError) {
        try Self.checkHeader(entry)
        switch entry.operation {
        case .barrier: return
        case .upsert, .delete, .deleteByFilter: try self.checkData(entry)
        case .ddl, .configuration, .decision, .payloadPatch, .transactionPrepare, .transactionCommit, .transactionAbort:
            throw VecraftError(
                .failedPrecondition, "entry: \(entry.operation.name) entries are not taken from the wire",
                field: "entry",
                reason: "OPERATION_NOT_ADMITTED")
        }
    }

    private static func checkHeader(_ entry: EntryView) throws(VecraftError) {
        try CollectionSchema.validate(name: String(decoding: entry.tenant, as: UTF8.self), at: "entry.tenant")
        guard entry.requestID.count <= Limits.requestIDBytes, entry.requestID.allSatisfy({ $0 > 0x20 && $0 < 0x7f })
        else {
            throw .invalid(
                "entry.request_id", "at most \(Limits.requestIDBytes) printable ASCII characters without spaces")
        }
        guard entry.idempotencyKey.count <= Limits.idempotencyKeyBytes else {
            throw .invalid(
                "entry.idempotency_key", "\(entry.idempotencyKey.count) bytes; at most \(Limits.idempotencyKeyBytes)")
        }
        guard entry.principal.count <= Limits.requestIDBytes else {
            throw .invalid("entry.principal", "\(entry.principal.count) bytes; at most \(Limits.requestIDBytes)")
        }
    }

    private func checkData(_ entry: EntryView) throws(VecraftError) {
        guard let schema = self.meta.catalog.byID[entry.collection] else {
            throw VecraftError(
                .notFound, "entry.collection: there is no collection with id \(entry.collection)",
                field: "entry.collection", reason: "COLLECTION_NOT_FOUND")
        }
        guard entry.tenant.elementsEqual(schema.tenant.utf8) else {
            throw .invalid("entry.tenant", "collection \"\(schema.name)\" belongs to another tenant")
        }
        guard entry.partition == schema.partition else {
            throw .invalid("entry.partition", "collection \"\(schema.name)\" is written through \(schema.partition)")
        }
        // An entry holds a whole request, whatever shards its points belong to.
        guard entry.shard == 0 else { throw .invalid("entry.shard", "\(entry.shard); must be 0") }
        if let refusal = EntryJudgement.refusal(entry, schema) { throw .invalid("entry.body", refusal) }
        do {
            try Self.checkLimits(entry, schema)
        } catch let error as VecraftError {
            throw error
        } catch {
            throw .invalid("entry.body", "\(error)")
        }
    }

    /// What the public API asks beyond what can be applied.
    private static func checkLimits(_ entry: EntryView, _ schema: CollectionSchema) throws {
        switch entry.operation {
        case .upsert:
            var body = try UpsertBody(entry.body)
            try Self.check(body.count, Limits.pointsPerRequest, "points")
            while let point = try body.next() {
                try Self.check(id: point.id, "entry.body.points[\(point.index)].id")
                try point.forEachVector { (name, values) throws(VecraftError) in
                    guard let vector = schema.vectors.first(where: { name.elementsEqual($0.name.utf8) }) else { return }
                    try PointValidation.check(
                        UnsafeRawBufferPointer(values), metric: vector.metric,
                        "entry.body.points[\(point.index)].vector")
                }
            }
        case .delete:
            var body = try DeleteBody(entry.body)
            try Self.check(body.count, Limits.idsPerRequest, "ids")
            var index = 0
            while let id = try body.next() {
                try Self.check(id: id, "entry.body.ids[\(index)]")
                index += 1
            }
        case .deleteByFilter:
            var reader = ByteReader(DeleteByFilterBody(entry.body).filter)
            let filter = try Filter(decoding: &reader)
            guard !filter.isEmpty else { throw VecraftError.invalid("entry.body.filter", "is empty") }
            try filter.validate(at: "entry.body.filter")
        default: break
        }
    }

    private static func check(_ count: Int, _ limit: Int, _ things: String) throws(VecraftError) {
        guard (1...limit).contains(count) else {
            throw .invalid("entry.body.\(things)", "\(count) \(things); 1 to \(limit)")
        }
    }

    private static func check(id: UnsafeRawBufferPointer, _ field: String) throws(VecraftError) {
        guard String(validating: id, as: UTF8.self) != nil else { throw .invalid(field, "is not UTF-8") }
        try PointValidation.id(id, field)
    }
}
