internal import Filter
internal import JournalFormat
package import JournalService
internal import JournalStore
package import MetaManager
internal import Observability
package import Primitives
internal import ShardEngine
package import StorageNode
internal import Synchronization
package import Wire

/// Lineage: answers about what made the data, read from the journal itself.
///
/// Questions about a point, a request or a trace find their entries by the journal's lineage index and read those alone; each is bounded
/// by its deadline and says how much it read. What only other nodes know is asked of them. Calls block the thread they run on
/// while they read: give them one of their own.
package final class LineageService: Sendable {
    static let defaultLimit = 100
    static let maxLimit = 1_000
    /// Points listed of one entry; more are counted.
    static let pointsPerEntry = 100
    /// How long other nodes are waited for: whoever asks has the entries then, and is told whose receipts are missing.
    static let peerTimeout: Duration = .seconds(1)

    let journal: any JournalClient
    let meta: MetaManager
    let storage: StorageNode
    /// This node's name, for receipts.
    let replica: String
    let metrics: LineageMetrics
    let maxReplyBytes: Int
    let peers: any LineagePeers
    /// Nil: reads are not logged.
    package let reads: ReadLog?
    /// Names of collections that were dropped, by id.
    private let formerNames = Mutex<[UInt64: String]>([:])

    /// - Parameters:
    ///   - replica: This node's name, for receipts.
    ///   - maxReplyBytes: An answer that would be larger ends with RESOURCE_EXHAUSTED while it is gathered.
    package init(
        journal: any JournalClient, meta: MetaManager, storage: StorageNode, replica: String, metrics: LineageMetrics,
        maxReplyBytes: Int = Limits.messageBytes, peers: any LineagePeers = NoPeers(), reads: ReadLog? = nil
    ) {
        self.maxReplyBytes = maxReplyBytes
        self.journal = journal
        self.meta = meta
        self.storage = storage
        self.replica = replica
        self.metrics = metrics
        self.peers = peers
        self.reads = reads
    }

    /// Every entry that touched one point, oldest first; deletes by filter are listed when the filter matched the point then.
    package func record(
        _ request: VecraftV1.RecordLineageRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        guard !request.id.isEmpty else { throw .invalid("id", "must be given") }
        let schema = try self.meta.collection(
            tenant: request.tenant.isEmpty ? "default" : request.tenant, name: request.collection)
        var question = Question(self)
        defer { question.end() }
        let found = try self.history(request, schema, &question, deadline)
        var id = request.id
        let shard = id.withUTF8 { ShardSlots.shard(of: UnsafeRawBufferPointer($0), of: schema.shards) }
        return await self.answer(try found.response, question, shard: shard, deadline)
    }

    private func history(
        _ request: VecraftV1.RecordLineageRequest, _ schema: CollectionSchema, _ question: inout Question,
        _ deadline: UInt64
    ) throws(VecraftError) -> Newest {
        let limit = try Self.limit(request.limit)
        let keys = [LineageKey.point(collection: schema.id, id: request.id), .sweep(collection: schema.id)]
        // One more than is asked for: what the oldest of them changed is known from the one before.
        var wanted = limit + 1
        while true {
            let hits = try question.find(keys, in: schema.partition) { (journal) throws(VecraftError) in
                try journal.find(keys, in: schema.partition, below: .max, atLeast: wanted, deadline: deadline)
            }
            let isAll = try hits.from <= self.journal.position(schema.partition).first
            var history = RecordHistory(id: request.id, fromTheBeginning: isAll, withValues: request.withVectors)
            var found = Newest(limit: limit, maxBytes: self.maxReplyBytes)
            var changes = 0
            for offset in hits.offsets {
                try question.read(offset, of: schema.partition, deadline) { (entry) throws(VecraftError) in
                    guard entry.collection == schema.id, let change = history.change(by: entry, schema) else { return }
                    changes += 1
                    var made = try self.describe(entry, points: .none)
                    made.points = [change]
                    found.append(made)
                }
            }
            if isAll || changes > limit {
                for i in found.entries.indices {
                    found.entries[i].current = found.entries[i].hlc == history.currentVersion
                }
                return found
            }
            // Candidates that were none, or deletes by filter that passed the point by.
            wanted = max(2 * wanted, 2 * hits.offsets.count)
        }
    }

    package func request(
        _ request: VecraftV1.RequestLineageRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        guard !request.requestID.isEmpty else { throw .invalid("request_id", "must be given") }
        let wanted = Array(request.requestID.utf8)
        return try await self.matching(.request(request.requestID), limit: request.limit, deadline) { entry in
            wanted.withUnsafeBytes { RawBytes.equal(entry.requestID, $0) }
        }
    }

    package func trace(
        _ request: VecraftV1.TraceLineageRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        let text = request.traceID
        guard text.utf8.count == 32, let high = TraceContext.hex(text.prefix(16)),
            let low = TraceContext.hex(text.suffix(16))
        else { throw .invalid("trace_id", "32 lower-case hex digits, not \"\(text.prefix(64))\"") }
        return try await self.matching(.trace(high: high, low: low), limit: request.limit, deadline) { entry in
            let trace = entry.trace
            return trace.traceHigh == high && trace.traceLow == low
        }
    }

    package func entry(
        _ request: VecraftV1.EntryLineageRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        let partition = try Self.partition(request.partition)
        guard request.offset >= 1 else { throw .invalid("offset", "must be at least 1") }
        let batch = try self.journal.read(partition, from: request.offset, maxBytes: 1)
        guard !batch.isEmpty else {
            let committed = try self.journal.position(partition).committed
            throw VecraftError(
                .notFound, "\(partition) ends at \(committed); there is no entry \(request.offset)", field: "offset")
        }
        var found = Newest(limit: 1, maxBytes: self.maxReplyBytes)
        try withExtendedLifetime(batch) { () throws(VecraftError) in
            found.append(try self.describe(batch.view(0), points: .listed))
        }
        var question = Question(self)
        question.scanned = 1
        return await self.answer(try found.response, question, shard: nil, deadline)
    }

    private func matching(
        _ key: LineageKey, limit: UInt32, _ deadline: UInt64, _ matches: (EntryView) -> Bool
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        let limit = try Self.limit(limit)
        var question = Question(self)
        defer { question.end() }
        var found = NewestFirst(limit: limit, maxBytes: self.maxReplyBytes)
        for partition in self.journal.partitions {
            var below = JournalOffset.max
            // Newest first, so that the limit ends it, in number or in bytes.
            var own = NewestFirst(limit: limit, maxBytes: self.maxReplyBytes)
            while !own.isFull {
                let hits = try question.find([key], in: partition) { (journal) throws(VecraftError) in
                    try journal.find([key], in: partition, below: below, atLeast: limit + 1, deadline: deadline)
                }
                for offset in hits.offsets.reversed() where !own.isFull {
                    try question.read(offset, of: partition, deadline) { (entry) throws(VecraftError) in
                        guard matches(entry) else { return }
                        own.append(try self.describe(entry, points: .listed))
                    }
                }
                if try hits.from <= self.journal.position(partition).first { break }
                below = hits.from
            }
            found.merge(own)
        }
        return await self.answer(try found.response, question, shard: nil, deadline)
    }

    private func answer(
        _ found: VecraftV1.LineageResponse, _ question: Question, shard: UInt32?, _ deadline: UInt64
    ) async -> VecraftV1.LineageResponse {
        var response = found
        response.scanned = question.scanned
        response.segments = question.segments
        response.segmentsRead = question.segmentsRead
        response.unansweredNodes = await self.addReceipts(&response.entries, shard: shard, deadline)
        return response
    }

    /// - Parameter node: 0: this one.
    package func nodeName(_ node: UInt64) -> String { node == 0 ? self.replica : self.peers.name(of: node) }

    static func limit(_ wish: UInt32) throws(VecraftError) -> Int {
        guard wish <= Self.maxLimit else { throw .invalid("limit", "\(wish); at most \(Self.maxLimit)") }
        return wish == 0 ? Self.defaultLimit : Int(wish)
    }

    static func partition(_ text: String) throws(VecraftError) -> PartitionID {
        guard let partition = PartitionID(text) else {
            throw .invalid("partition", "\"\(text.prefix(64))\" is not a partition, such as data-0")
        }
        return partition
    }

    // MARK: Describing

    enum Points { case none, listed, whole }

    func describe(_ entry: EntryView, points: Points) throws(VecraftError) -> VecraftV1.LineageEntry {
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
            made.collection = header.collection == 0 ? "" : self.collectionName(header.collection)
            made.shard = header.shard
            made.tier = UInt32(header.tier.rawValue)
            made.traceID = header.trace.traceIDHex
            made.spanID = header.trace.spanIDHex
            made.spans = header.spans.map {
                VecraftV1.Span(name: $0.name.name, startHLC: $0.start.rawValue, endHLC: $0.end.rawValue)
            }
            made.bodyBytes = UInt64(entry.body.count)
            if let refusal = self.refusal(entry) {
                made.refused = refusal
            } else {
                let listing = points == .none ? 0 : points == .listed ? Self.pointsPerEntry : Int.max
                try EntryPoints.describe(entry, listing: listing, withValues: points == .whole, into: &made)
                if entry.operation == .ddl { made.ddlJSON = self.schemaChange(entry) }
            }
            return made
        } catch {
            throw VecraftError(.dataLoss, "\(entry.partition) entry \(entry.offset) cannot be read: \(error)")
        }
    }

    private func schemaChange(_ entry: EntryView) -> String {
        guard let change = try? DDLBody(entry.body) else { return "" }
        let (word, id, name): (String, UInt64, String) =
            switch change {
            case .create(let schema): ("create", entry.hlc.rawValue, schema.name)
            case .update(let update): ("update", update.collection, self.collectionName(update.collection))
            case .drop(let collection): ("drop", collection, self.collectionName(collection))
            }
        let json = JSONValue.object([
            JSONMember("change", .string(word)), JSONMember("collection", .string(name)),
            JSONMember("collection_id", .string(String(id))),
        ])
        return String(decoding: json.encoded(), as: UTF8.self)
    }

    /// A collection's id is the HLC of the entry that made it, so the journal knows the names of those that are gone.
    func collectionName(_ id: UInt64) -> String {
        if let schema = self.meta.catalog.byID[id] { return schema.name }
        if let known = self.formerNames.withLock({ $0[id] }) { return known }
        guard let offset = try? self.journal.offset(in: .sys, atOrAfter: HLCTimestamp(rawValue: id)),
            let batch = try? self.journal.read(.sys, from: offset, maxBytes: 1), !batch.isEmpty
        else { return "" }
        let name = withExtendedLifetime(batch) { () -> String in
            let entry = batch.view(0)
            guard entry.hlc.rawValue == id, entry.operation == .ddl,
                case .create(let schema)? = try? DDLBody(entry.body)
            else { return "" }
            return schema.name
        }
        self.formerNames.withLock { names in
            if names.count >= 1_000 { names.removeAll() }
            names[id] = name
        }
        return name
    }

    /// Why replicas passed over an entry; nil if they did not, or it cannot be known: of a collection that was dropped.
    private func refusal(_ entry: EntryView) -> String? {
        if entry.operation == .ddl { return self.meta.refusal(entry) }
        return self.meta.catalog.byID[entry.collection].flatMap { EntryJudgement.refusal(entry, $0) }
    }
}

/// One question on its way through the journal: what it read, for the answer and the metrics.
struct Question {
    private let service: LineageService
    private let start = SystemTime.monotonicNanoseconds
    var scanned: UInt64 = 0
    private(set) var segments: UInt64 = 0
    private(set) var segmentsRead: UInt64 = 0

    init(_ service: LineageService) { self.service = service }

    mutating func find(
        _ keys: [LineageKey], in partition: PartitionID, _ body: (any JournalClient) throws(VecraftError) -> LineageHits
    ) throws(VecraftError) -> LineageHits {
        let hits = try body(self.service.journal)
        self.segments += UInt64(hits.segments)
        self.segmentsRead += UInt64(hits.segmentsRead)
        self.scanned += UInt64(hits.scanned)
        return hits
    }

    /// Reads one entry. One that was trimmed meanwhile is passed over.
    mutating func read(
        _ offset: JournalOffset, of partition: PartitionID, _ deadline: UInt64,
        _ body: (EntryView) throws(VecraftError) -> Void
    ) throws(VecraftError) {
        guard SystemTime.monotonicNanoseconds < deadline else {
            throw VecraftError(
                .deadlineExceeded, "the answer was not gathered in time; it had reached \(partition) \(offset)",
                reason: "SCAN_UNFINISHED")
        }
        let batch: EntryBatch
        do throws(VecraftError) { batch = try self.service.journal.read(partition, from: offset, maxBytes: 1) } catch {
            if error.reason == "TRIMMED" { return }
            throw error
        }
        guard !batch.isEmpty else { return }
        self.scanned += 1
        try withExtendedLifetime(batch) { () throws(VecraftError) in try body(batch.view(0)) }
    }

    func end() {
        self.service.metrics.scanned.increment(by: self.scanned)
        self.service.metrics.segmentsRead.increment(by: self.segmentsRead)
        self.service.metrics.scanSeconds.observe(nanoseconds: SystemTime.monotonicNanoseconds &- self.start)
    }
}

extension VecraftV1.LineageEntry {
    /// What it takes of an answer: what may be large, counted; the rest, an allowance.
    var roughBytes: Int {
        self.points.reduce(1024 + self.filterJSON.utf8.count + self.decisionJSON.utf8.count) { sum, point in
            sum + 64 + point.id.utf8.count + (point.payload?.json.count ?? 0) + 32 * point.vectors.count
                + point.values.values.reduce(0) { $0 + 16 + 4 * $1.values.count }
                + point.payloadChanges.reduce(0) {
                    $0 + 32 + $1.path.utf8.count + $1.beforeJSON.utf8.count + $1.afterJSON.utf8.count
                }
                + 64 * point.vectorChanges.count
        }
    }
}
