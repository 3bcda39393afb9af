internal import JournalFormat
internal import JournalService
internal import MetaManager
internal import Observability
package import Primitives
package import Wire

extension LineageService {
    /// Entries between two times, of all partitions in one order, in pages.
    ///
    /// Only what is closed is told: an entry with an earlier HLC cannot come any more. A page ends early when its time does, and says
    /// where the next begins.
    package func between(
        _ request: VecraftV1.BetweenRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.LineageResponse {
        let limit = try Self.limit(request.limit)
        guard request.toHLC == 0 || request.toHLC >= request.fromHLC else {
            throw .invalid("to_hlc", "lies before from_hlc")
        }
        let (selection, partitions) = try self.selection(
            tenant: request.tenant, collection: request.collection, id: request.collectionID, request.operations,
            request.principal)
        var question = Question(self)
        defer { question.end() }
        let wanted = min(request.toHLC == 0 ? .max : request.toHLC, SystemTime.coarseMilliseconds << 16)
        let closed = try await self.closed(partitions, through: HLCTimestamp(rawValue: wanted), deadline)
        let end = request.toHLC == 0 ? closed : min(closed, HLCTimestamp(rawValue: request.toHLC))
        // Time for the other nodes' receipts is kept.
        let now = SystemTime.monotonicNanoseconds
        let stop = deadline &- min(1_200_000_000, (deadline - min(now, deadline)) / 4)
        var order = EntryOrder(
            self.journal,
            starts: try self.starts(request.pageToken, "page_token", selection, from: request.fromHLC, partitions))
        var found: [VecraftV1.LineageEntry] = []
        var bytes = 0
        var isAll = false
        while found.count < limit, bytes < self.maxReplyBytes / 4 {
            if order.scanned & 255 == 255, SystemTime.monotonicNanoseconds > stop { break }
            let next = try order.next(below: end) { (entry) throws(VecraftError) -> VecraftV1.LineageEntry? in
                selection.wants(entry) ? try self.describe(entry, points: .listed) : nil
            }
            guard let next else {
                isAll = true
                break
            }
            guard var entry = next else { continue }
            // Of an entry that would fill an answer alone the points are counted only.
            if entry.roughBytes > self.maxReplyBytes / 2 { entry.points = [] }
            bytes += entry.roughBytes
            found.append(entry)
        }
        question.scanned = order.scanned
        // Where the order is not closed as far as was asked, more may come.
        isAll = isAll && closed.rawValue >= wanted
        var response = VecraftV1.LineageResponse(entries: found, truncated: !isAll, scanned: order.scanned)
        if !isAll {
            response.nextPageToken =
                LineageToken(
                    selection: selection.hash, mark: try JournalMark(oldestOf: self.journal), position: order.position
                ).text
        }
        response.unansweredNodes = await self.addReceipts(&response.entries, shard: nil, deadline)
        return response
    }

    /// Waits until no entry below a time can come any more, at most a second.
    func closed(
        _ partitions: [PartitionID], through time: HLCTimestamp, _ deadline: UInt64
    ) async throws(VecraftError) -> HLCTimestamp {
        let patience = min(SystemTime.monotonicNanoseconds &+ 1_000_000_000, deadline)
        while true {
            let closed = try EntryOrder.closed(self.journal, partitions)
            guard closed < time, SystemTime.monotonicNanoseconds < patience else { return closed }
            do { try await Task.sleep(for: .milliseconds(5)) } catch {
                throw VecraftError(.cancelled, "the caller left")
            }
        }
    }

    /// What is wanted, and the partitions that can have it.
    func selection(
        tenant: String, collection: String, id: UInt64, _ operations: [String], _ principal: String
    ) throws(VecraftError) -> (EntrySelection, [PartitionID]) {
        var wanted = id
        var partitions = self.journal.partitions
        if !collection.isEmpty {
            guard id == 0 else { throw .invalid("collection_id", "give a collection or its id, not both") }
            let schema = try self.meta.collection(tenant: tenant.isEmpty ? "default" : tenant, name: collection)
            wanted = schema.id
            partitions = partitions.filter { $0 == schema.partition || $0 == .sys }
        }
        return (
            try EntrySelection(tenant: tenant, collection: wanted, operations: operations, principal: principal),
            partitions
        )
    }

    /// Where each partition begins: by a token, or at a time.
    func starts(
        _ token: String, _ field: String, _ selection: EntrySelection, from hlc: UInt64, _ partitions: [PartitionID]
    ) throws(VecraftError) -> [(PartitionID, JournalOffset)] {
        var starts: [(PartitionID, JournalOffset)] = []
        guard token.isEmpty else {
            let known = try LineageToken(token, field: field, selection: selection.hash)
            try known.mark.check(self.journal, field: field)
            for partition in partitions {
                let offset = known.position.first { $0.0 == partition }?.1 ?? 1
                let first = try self.journal.position(partition).first
                guard offset >= first else {
                    throw VecraftError(
                        .outOfRange,
                        "\(field): \(partition) begins at offset \(first); \(offset), where the token goes on, was trimmed",
                        field: field, reason: "TRIMMED")
                }
                starts.append((partition, offset))
            }
            return starts
        }
        for partition in partitions {
            let first = try self.journal.position(partition).first
            let start =
                hlc == 0 ? first : try self.journal.offset(in: partition, atOrAfter: HLCTimestamp(rawValue: hlc))
            starts.append((partition, start))
        }
        return starts
    }
}
