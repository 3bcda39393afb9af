internal import Filter
internal import JournalFormat
package import JournalService
internal import JournalStore
package import MetaManager
import Observability
package import Primitives
internal import ShardEngine
package import StorageNode
package import Wire

/// Lineage: answers about what made the data, read from the journal itself.
///
/// Questions scan the partitions that can answer them; each scan is bounded by its deadline and says how much it read.
/// Calls block the thread they run on: give them one of their own.
package final class LineageService: Sendable {
    static let defaultLimit = 100
    static let maxLimit = 1_000
    /// Points listed of one entry; more are counted.
    static let pointsPerEntry = 100

    private let journal: any JournalClient
    private let meta: MetaManager
    private let storage: StorageNode
    private let replica: String
    private let metrics: LineageMetrics
    private let maxReplyBytes: Int

    /// - Parameters:
    ///   - replica: This node's name, for receipts.
    ///   - maxReplyBytes: An answer that would be larger ends with RESOURCE_EXHAUSTED while it is gathered.
    package init(
        journal: any JournalClient, meta: MetaManager, storage: StorageNode, replica: String, metrics: LineageMetrics,
        maxReplyBytes: Int = Limits.messageBytes
    ) {
        self.maxReplyBytes = maxReplyBytes
        self.journal = journal
        self.meta = meta
        self.storage = storage
        self.replica = replica
        self.metrics = metrics
    }

    /// Every entry that touched one point, oldest first; deletes by filter are listed when the filter matched the point then.
    package func record(
        _ request: VecraftV1.RecordLineageRequest, deadline: UInt64
    ) throws(VecraftError) -> VecraftV1.LineageResponse {
        guard !request.id.isEmpty else { throw .invalid("id", "must be given") }
        let schema = try self.meta.collection(
            tenant: request.tenant.isEmpty ? "default" : request.tenant, name: request.collection)
        let limit = try Self.limit(request.limit)
        let wanted = Array(request.id.utf8)
        var history = RecordHistory(id: request.id, utf8: wanted)
        var found = Newest(limit: limit, maxBytes: self.maxReplyBytes)
        let scanned = try self.scan([schema.partition], deadline) { (entry) throws(VecraftError) in
            guard entry.collection == schema.id, let change = history.change(by: entry, schema) else { return }
            var made = try self.describe(entry, points: .none)
            made.points = [change]
            try found.append(made)
        }
        for i in found.entries.indices { found.entries[i].current = found.entries[i].hlc == history.currentVersion }
        found.scanned = scanned
        return found.response
    }

    package func request(
        _ request: VecraftV1.RequestLineageRequest, deadline: UInt64
    ) throws(VecraftError) -> VecraftV1.LineageResponse {
        guard !request.requestID.isEmpty else { throw .invalid("request_id", "must be given") }
        let wanted = Array(request.requestID.utf8)
        return try self.matching(limit: request.limit, deadline) { entry in
            wanted.withUnsafeBytes { RawBytes.equal(entry.requestID, $0) }
        }
    }

    package func trace(
        _ request: VecraftV1.TraceLineageRequest, deadline: UInt64
    ) throws(VecraftError) -> VecraftV1.LineageResponse {
        let text = request.traceID
        guard text.utf8.count == 32, let high = TraceContext.hex(text.prefix(16)),
            let low = TraceContext.hex(text.suffix(16))
        else { throw .invalid("trace_id", "32 lower-case hex digits, not \"\(text.prefix(64))\"") }
        return try self.matching(limit: request.limit, deadline) { entry in
            let trace = entry.trace
            return trace.traceHigh == high && trace.traceLow == low
        }
    }

    package func entry(_ request: VecraftV1.EntryLineageRequest) throws(VecraftError) -> VecraftV1.LineageResponse {
        guard let partition = PartitionID(request.partition) else {
            throw .invalid("partition", "\"\(request.partition.prefix(64))\" is not a partition, such as data-0")
        }
        guard request.offset >= 1 else { throw .invalid("offset", "must be at least 1") }
        let batch = try self.journal.read(partition, from: request.offset, maxBytes: 1)
        guard !batch.isEmpty else {
            let committed = try self.journal.position(partition).committed
            throw VecraftError(.notFound, "\(partition) ends at \(committed); there is no entry \(request.offset)", field: "offset")
        }
        let found = try withExtendedLifetime(batch) { () throws(VecraftError) in
            try self.describe(batch.view(0), points: .listed)
        }
        return VecraftV1.LineageResponse(entries: [found], scanned: 1)
    }

    package func verify(_ request: VecraftV1.VerifyRequest) throws(VecraftError) -> VecraftV1.VerifyResponse {
        var partitions = self.journal.partitions
        if !request.partition.isEmpty {
            guard let one = PartitionID(request.partition) else {
                throw .invalid("partition", "\"\(request.partition.prefix(64))\" is not a partition, such as data-0")
            }
            partitions = [one]
        }
        var response = VecraftV1.VerifyResponse(ok: true)
        for partition in partitions {
            let report = try self.journal.verify(partition)
            response.ok = response.ok && report.isOK
            self.metrics.faults.increment(by: UInt64(report.faults.count))
            response.partitions.append(
                VecraftV1.PartitionReport(
                    partition: partition.description, firstOffset: report.firstOffset, lastOffset: report.lastOffset,
                    entries: report.entries, bytes: report.bytes, segments: UInt64(report.segments), faults: report.faults))
        }
        return response
    }

    // MARK: Scanning

    private func matching(
        limit: UInt32, _ deadline: UInt64, _ matches: (EntryView) -> Bool
    ) throws(VecraftError) -> VecraftV1.LineageResponse {
        var found = Newest(limit: try Self.limit(limit), maxBytes: self.maxReplyBytes)
        let scanned = try self.scan(self.journal.partitions, deadline) { (entry) throws(VecraftError) in
            if matches(entry) { try found.append(try self.describe(entry, points: .listed)) }
        }
        // Global order: by HLC, then partition and offset, which the scan kept.
        found.entries.sort { $0.hlc < $1.hlc }
        found.scanned = scanned
        return found.response
    }

    private func scan(
        _ partitions: [PartitionID], _ deadline: UInt64, _ body: (EntryView) throws(VecraftError) -> Void
    ) throws(VecraftError) -> UInt64 {
        var scanned: UInt64 = 0
        let start = SystemTime.monotonicNanoseconds
        defer { self.metrics.scanSeconds.observe(nanoseconds: SystemTime.monotonicNanoseconds &- start) }
        for partition in partitions {
            var next = try self.journal.position(partition).first
            while true {
                let batch = try self.journal.read(partition, from: next, maxBytes: 4 << 20)
                if batch.isEmpty { break }
                try withExtendedLifetime(batch) { () throws(VecraftError) in
                    for entry in batch { try body(entry) }
                }
                scanned += UInt64(batch.count)
                self.metrics.scanned.increment(by: UInt64(batch.count))
                next = batch.nextOffset
                if SystemTime.monotonicNanoseconds > deadline {
                    throw VecraftError(
                        .deadlineExceeded,
                        "the scan reached \(partition) \(next - 1) of \(try self.journal.position(partition).committed) when its time ended",
                        reason: "SCAN_UNFINISHED")
                }
            }
        }
        return scanned
    }

    private static func limit(_ wish: UInt32) throws(VecraftError) -> Int {
        guard wish <= Self.maxLimit else { throw .invalid("limit", "\(wish); at most \(Self.maxLimit)") }
        return wish == 0 ? Self.defaultLimit : Int(wish)
    }

    // MARK: Describing

    private enum Points { case none, listed }

    private func describe(_ entry: EntryView, points: Points) throws(VecraftError) -> VecraftV1.LineageEntry {
        do throws(DecodingFault) {
            let header = try entry.header()
            var made = VecraftV1.LineageEntry()
            made.partition = header.partition.description
            made.offset = header.offset
            made.term = header.term
            made.hlc = header.hlc.rawValue
            made.operation = header.operation.name
            made.requestID = header.requestID
            made.idempotencyKey = header.idempotencyKey
            made.principal = header.principal
            made.tenant = header.tenant
            made.collectionID = header.collection
            made.collection = self.meta.catalog.byID[header.collection]?.name ?? ""
            made.shard = header.shard
            made.tier = UInt32(header.tier.rawValue)
            made.traceID = header.trace.traceIDHex
            made.spanID = header.trace.spanIDHex
            made.spans = header.spans.map {
                VecraftV1.Span(name: $0.name.name, startHLC: $0.start.rawValue, endHLC: $0.end.rawValue)
            }
            made.bodyBytes = UInt64(entry.body.count)
            if let receipt = self.storage.replay(header.partition)?.receipts.receipt(for: header.offset) {
                made.receipts = [
                    VecraftV1.Receipt(
                        replica: self.replica, firstOffset: receipt.first, lastOffset: receipt.last,
                        appliedHLC: receipt.appliedHLC.rawValue)
                ]
            }
            if let refusal = self.refusal(entry) {
                made.refused = refusal
            } else {
                try EntryPoints.describe(entry, listing: points == .listed ? Self.pointsPerEntry : 0, into: &made)
            }
            return made
        } catch {
            throw VecraftError(.dataLoss, "\(entry.partition) entry \(entry.offset) cannot be read: \(error)")
        }
    }
}

extension LineageService {
    /// Why replicas passed over an entry; nil if they did not, or it cannot be known: of a collection that was dropped.
    private func refusal(_ entry: EntryView) -> String? {
        if entry.operation == .ddl { return self.meta.refusal(entry) }
        return self.meta.catalog.byID[entry.collection].flatMap { EntryJudgement.refusal(entry, $0) }
    }
}

/// The newest of what is found, oldest first.
private struct Newest {
    let limit: Int
    let maxBytes: Int
    var entries: [VecraftV1.LineageEntry] = []
    var truncated = false
    var scanned: UInt64 = 0
    private var bytes = 0

    init(limit: Int, maxBytes: Int) {
        self.limit = limit
        self.maxBytes = maxBytes
    }

    /// - Throws: RESOURCE_EXHAUSTED when even the newest `limit` are too much for one answer.
    mutating func append(_ entry: VecraftV1.LineageEntry) throws(VecraftError) {
        self.entries.append(entry)
        self.bytes += entry.roughBytes
        // Twice the limit before a cut, so that a long history costs no move per entry.
        if self.entries.count >= 2 * self.limit || self.bytes > self.maxBytes { self.cut() }
        guard self.bytes <= self.maxBytes else {
            throw VecraftError(
                .resourceExhausted,
                "the answer would be larger than \(self.maxBytes) bytes, the limit of a message; ask for fewer with limit",
                field: "limit", reason: AnswerRoom.tooLarge)
        }
    }

    private mutating func cut() {
        guard self.entries.count > self.limit else { return }
        let old = self.entries.count - self.limit
        self.bytes -= self.entries[..<old].reduce(0) { $0 + $1.roughBytes }
        self.entries.removeFirst(old)
        self.truncated = true
    }

    var response: VecraftV1.LineageResponse {
        var cut = self
        cut.cut()
        return VecraftV1.LineageResponse(entries: cut.entries, truncated: cut.truncated, scanned: cut.scanned)
    }
}

extension VecraftV1.LineageEntry {
    /// What it takes of an answer: what may be large, counted; the rest, an allowance.
    fileprivate var roughBytes: Int {
        self.points.reduce(1024 + self.filterJSON.utf8.count + self.decisionJSON.utf8.count) { sum, point in
            sum + 64 + point.id.utf8.count + (point.payload?.json.count ?? 0) + 32 * point.vectors.count
        }
    }
}
