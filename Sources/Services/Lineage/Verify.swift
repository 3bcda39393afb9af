internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Observability
package import Primitives
package import Wire

extension LineageService {
    /// Reads the journal from end to end, here and on every other node.
    package func verify(
        _ request: VecraftV1.VerifyRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.VerifyResponse {
        var partitions = self.journal.partitions
        if !request.partition.isEmpty { partitions = [try Self.partition(request.partition)] }
        let now = SystemTime.monotonicNanoseconds
        let left = Duration.nanoseconds(deadline > now ? Int64(clamping: deadline - now) : 0)
        let asked = VecraftV1.VerifyRequest(partition: request.partition, local: true)
        async let others =
            request.local
            ? ([], []) : self.peers.askAll("Verify", asked, timeout: left * 9 / 10, VecraftV1.VerifyResponse.self)
        var response = VecraftV1.VerifyResponse(ok: true)
        var failure: VecraftError?
        // Time to tell is kept.
        let stop = now &+ UInt64(clamping: (deadline > now ? deadline - now : 0) / 10 * 9)
        for partition in partitions {
            do throws(VecraftError) {
                let report = try self.journal.verify(partition, deadline: stop)
                if report.isUnfinished { throw try self.unfinished(report) }
                response.ok = response.ok && report.isOK
                self.metrics.faults.increment(by: UInt64(report.faults.count))
                response.partitions.append(
                    VecraftV1.PartitionReport(
                        partition: partition.description, firstOffset: report.firstOffset,
                        lastOffset: report.lastOffset,
                        entries: report.entries, bytes: report.bytes, segments: UInt64(report.segments),
                        faults: report.faults,
                        node: self.replica))
            } catch {
                failure = error
                if error.code == .deadlineExceeded { break }
            }
        }
        let (replies, unanswered) = await others
        if let failure { throw failure }
        for reply in replies {
            response.ok = response.ok && reply.ok
            response.partitions += reply.partitions
        }
        response.unansweredNodes = unanswered
        response.ok = response.ok && unanswered.isEmpty
        return response
    }

    /// What is said of a reading that had no time: how far it came, and what was wrong until there.
    private func unfinished(_ report: PartitionReport) throws(VecraftError) -> VecraftError {
        self.metrics.faults.increment(by: UInt64(report.faults.count))
        let committed = try self.journal.position(report.partition).committed
        let faults = report.isOK ? "no fault" : "\(report.faults.count) faults, the first: \(report.faults[0])"
        return VecraftError(
            .deadlineExceeded,
            "verifying reached \(report.partition) \(report.lastOffset) of \(committed) when its time ended; up to there \(faults)",
            reason: "SCAN_UNFINISHED")
    }

    static let maxCovered = 10_000

    /// Whether acknowledged writes stand in the journal as they were acknowledged.
    package func cover(
        _ request: VecraftV1.CoverRequest, deadline: UInt64
    ) async throws(VecraftError) -> VecraftV1.CoverResponse {
        guard request.writes.count <= Self.maxCovered else {
            throw .invalid("writes", "\(request.writes.count); at most \(Self.maxCovered)")
        }
        var question = Question(self)
        defer { question.end() }
        var response = VecraftV1.CoverResponse()
        // A follower hears of a commit a moment after its acknowledgement.
        var newest: [PartitionID: JournalOffset] = [:]
        for write in request.writes {
            let partition = try Self.partition(write.partition)
            newest[partition] = max(newest[partition, default: 0], write.offset)
        }
        let patience = SystemTime.monotonicNanoseconds &+ 1_000_000_000
        for (partition, offset) in newest where self.journal.partitions.contains(partition) {
            while try self.journal.position(partition).committed < offset,
                SystemTime.monotonicNanoseconds < min(patience, deadline)
            {
                do { try await Task.sleep(for: .milliseconds(5)) } catch {
                    throw VecraftError(.cancelled, "the caller left")
                }
            }
        }
        for write in request.writes {
            let partition = try Self.partition(write.partition)
            guard self.journal.partitions.contains(partition) else {
                throw .invalid("writes.partition", "there is no \(partition) here")
            }
            var isThere = false
            try question.read(write.offset, of: partition, deadline) { (entry) throws(VecraftError) in
                var id = write.requestID
                isThere =
                    entry.offset == write.offset && entry.hlc.rawValue == write.hlc
                    && (id.isEmpty || id.withUTF8 { RawBytes.equal(entry.requestID, UnsafeRawBufferPointer($0)) })
            }
            if isThere { response.found += 1 } else { response.missing.append(write) }
        }
        return response
    }

    /// Which index version of each shard answered the reads of a request, here and at the other gateways.
    package func search(
        _ request: VecraftV1.SearchLineageRequest, local: Bool = false
    ) async throws(VecraftError) -> VecraftV1.SearchLineageResponse {
        guard !request.requestID.isEmpty else { throw .invalid("request_id", "must be given") }
        guard let reads = self.reads else {
            throw VecraftError(
                .failedPrecondition, "reads are not logged here (lineage.read_log_bytes is 0)",
                reason: "READS_NOT_LOGGED")
        }
        var response = VecraftV1.SearchLineageResponse(reads: reads.find(request.requestID))
        guard !local else { return response }
        let (replies, unanswered) = await self.peers.askAll(
            "Reads", request, timeout: Self.peerTimeout, VecraftV1.SearchLineageResponse.self)
        for reply in replies { response.reads += reply.reads }
        response.reads.sort { $0.hlc < $1.hlc }
        response.unansweredNodes = unanswered
        return response
    }
}
