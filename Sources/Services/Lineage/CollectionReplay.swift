internal import Filter
internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import MetaManager
internal import Observability
package import Primitives
internal import ShardEngine
package import Wire

/// A collection as it stood at a time, made from the journal's entries alone.
package struct CollectionReplay: Sendable {
    /// What is held in memory while it is made.
    package static let maxBytes = 512 << 20
    /// Of one page.
    private static let pageBytes = 1 << 20
    private static let pagePoints = 1_000

    private struct Stored: Sendable {
        var version: UInt64
        var payload: [UInt8]?
        var vectors: [(name: String, values: [Float])]
        var bytes: Int { 128 + (self.payload?.count ?? 0) + self.vectors.reduce(0) { $0 + 32 + 4 * $1.values.count } }
    }
    private var points: [String: Stored] = [:]
    private var bytes = 0
    private let withVectors: Bool
    private var offset: JournalOffset = 0
    private var hlc: UInt64 = 0
    private var scanned: UInt64 = 0

    private init(withVectors: Bool) { self.withVectors = withVectors }

    /// - Throws: `.outOfRange`, reason `TRIMMED`: the journal does not reach back to the collection's making; `.resourceExhausted`:
    ///   more than ``maxBytes``.
    static func make(
        _ service: LineageService, _ schema: CollectionSchema, to end: HLCTimestamp, withVectors: Bool, deadline: UInt64
    ) throws(VecraftError) -> CollectionReplay {
        var replay = CollectionReplay(withVectors: withVectors)
        var next = try service.journal.offset(in: schema.partition, atOrAfter: HLCTimestamp(rawValue: schema.id))
        let position = try service.journal.position(schema.partition)
        if position.first > 1, next <= position.first {
            throw VecraftError(
                .outOfRange,
                "the journal of \(schema.partition) begins at offset \(position.first), after the collection was made",
                field: "to_hlc", reason: "TRIMMED")
        }
        while next <= position.committed {
            let batch = try service.journal.read(schema.partition, from: next, maxBytes: 4 << 20)
            guard !batch.isEmpty else { break }
            var isOver = false
            try withExtendedLifetime(batch) { () throws(VecraftError) in
                for entry in batch {
                    guard entry.hlc <= end else {
                        isOver = true
                        return
                    }
                    replay.scanned += 1
                    guard entry.collection == schema.id, EntryJudgement.refusal(entry, schema) == nil else { continue }
                    do throws(DecodingFault) { try replay.apply(entry) } catch {
                        throw VecraftError(
                            .dataLoss, "\(entry.partition) entry \(entry.offset) cannot be read: \(error)")
                    }
                    guard replay.bytes <= Self.maxBytes else {
                        throw VecraftError(
                            .resourceExhausted,
                            "the collection is larger than \(Self.maxBytes) bytes, the limit of a replay",
                            reason: "REPLAY_TOO_LARGE")
                    }
                }
            }
            if isOver { break }
            next = batch.nextOffset
            guard SystemTime.monotonicNanoseconds < deadline else {
                throw VecraftError(
                    .deadlineExceeded,
                    "the replay reached \(schema.partition) \(next - 1) of \(position.committed) when its time ended",
                    reason: "SCAN_UNFINISHED")
            }
        }
        return replay
    }

    private mutating func apply(_ entry: EntryView) throws(DecodingFault) {
        switch entry.operation {
        case .upsert:
            var body = try UpsertBody(entry.body)
            while let point = try body.next() {
                let id = String(decoding: point.id, as: UTF8.self)
                var vectors: [(name: String, values: [Float])] = []
                if self.withVectors {
                    point.forEachVector { name, values in
                        vectors.append((String(decoding: name, as: UTF8.self), Array(values)))
                    }
                }
                self.set(
                    id,
                    Stored(version: entry.hlc.rawValue, payload: point.payload.map { [UInt8]($0) }, vectors: vectors))
            }
        case .delete:
            var body = try DeleteBody(entry.body)
            while let id = try body.next() { self.set(String(decoding: id, as: UTF8.self), nil) }
        case .deleteByFilter:
            let filter = try EntryPoints.filter(entry)
            let gone = self.points.filter { id, stored in
                stored.payload.map { bytes in bytes.withUnsafeBytes { filter.matches(id: id, payload: $0) } }
                    ?? filter.matches(id: id, payload: nil)
            }
            for id in gone.keys { self.set(id, nil) }
        default: return
        }
        self.offset = entry.offset
        self.hlc = entry.hlc.rawValue
    }

    private mutating func set(_ id: String, _ stored: Stored?) {
        let before = self.points.updateValue(stored ?? Stored(version: 0, payload: nil, vectors: []), forKey: id)
        if let before { self.bytes -= before.bytes }
        if let stored { self.bytes += stored.bytes } else { self.points[id] = nil }
    }

    /// Pages of points in id order, the last with the sums.
    package func forEachPage(
        _ body: (VecraftV1.ReplayResponse) async throws(VecraftError) -> Void
    ) async throws(VecraftError) {
        // By the bytes of their UTF-8, as scrolls go.
        let ids = self.points.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        var page = VecraftV1.ReplayResponse()
        var bytes = 0
        for id in ids {
            guard let stored = self.points[id] else { continue }
            var point = VecraftV1.StoredPoint(id: id, version: stored.version)
            point.payload = stored.payload.map { VecraftV1.Payload(json: $0) }
            for vector in stored.vectors {
                if vector.name.isEmpty {
                    point.vector = VecraftV1.Vector(values: vector.values)
                } else {
                    point.vectors[vector.name] = VecraftV1.Vector(values: vector.values)
                }
            }
            page.points.append(point)
            bytes += stored.bytes + id.utf8.count
            guard page.points.count >= Self.pagePoints || bytes >= Self.pageBytes else { continue }
            try await body(page)
            page = VecraftV1.ReplayResponse()
            bytes = 0
        }
        page.done = true
        page.count = UInt64(ids.count)
        page.offset = self.offset
        page.hlc = self.hlc
        page.scanned = self.scanned
        try await body(page)
    }
}

extension LineageService {
    package func replay(
        _ request: VecraftV1.ReplayRequest, deadline: UInt64
    ) async throws(VecraftError) -> CollectionReplay {
        let schema = try self.meta.collection(
            tenant: request.tenant.isEmpty ? "default" : request.tenant, name: request.collection)
        let end = HLCTimestamp(rawValue: request.toHLC == 0 ? .max : request.toHLC)
        if request.toHLC != 0 {
            let closed = try await self.closed([schema.partition], through: end, deadline)
            guard closed >= end else {
                throw VecraftError(
                    .unavailable,
                    "entries before \(end) may still come to \(schema.partition); it is closed up to \(closed)",
                    field: "to_hlc", reason: "NOT_CLOSED", retryAfter: .seconds(1))
            }
        }
        return try CollectionReplay.make(self, schema, to: end, withVectors: request.withVectors, deadline: deadline)
    }
}
