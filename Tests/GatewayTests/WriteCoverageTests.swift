import FileStore
import Gateway
import HLC
import JournalFormat
import JournalService
import JournalStore
import Observability
import Primitives
import QueryProcessor
import TestSupport
import Testing

/// Acknowledged writes, looked up in a real journal.
@Suite struct WriteCoverageTests {
    private struct Place {
        let directory: TemporaryDirectory
        let journal: Journal
        let client: LocalJournal
        let metrics: CoverageMetrics
        let coverage: WriteCoverage

        init() throws {
            self.directory = try TemporaryDirectory()
            self.journal = try Journal(
                directory: self.directory.file("journal"), dataPartitions: 1, files: PosixFileStore())
            self.client = LocalJournal(self.journal)
            self.metrics = CoverageMetrics(MetricsRegistry())
            self.coverage = WriteCoverage(self.client, self.metrics)
        }

        func append(_ request: String) async throws -> Appended {
            let header = EntryHeader(
                partition: .data(0), tier: .batch, operation: .barrier, tenant: "t", collection: 1, requestID: request,
                trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
            let entry = EncodedEntry.raw(header: header, body: UnsafeRawBufferPointer(start: nil, count: 0))
            return try await self.client.append(entry, to: .data(0))
        }

        func remember(_ appended: Appended, _ request: String, at: UInt64 = 0) {
            self.coverage.remember(.init(partition: .data(0), appended: appended, requestID: request, at: at))
        }
    }

    @Test func whatWasAcknowledgedIsFound() async throws {
        let place = try Place()
        defer { place.journal.close() }
        for i in 0..<130 {
            let appended = try await place.append("r\(i)")
            place.coverage.acknowledged(appended, in: .data(0), requestID: "r\(i)", always: i == 5)
        }
        // Every 64th of 130, and the one that is always taken.
        #expect(place.coverage.waiting == 4)
        await place.coverage.check(now: 0)
        #expect(place.metrics.checked.count == 0 && place.metrics.coverage.value == 1)
        await place.coverage.check(now: .max)
        #expect(place.coverage.waiting == 0)
        #expect(place.metrics.checked.count == 4 && place.metrics.lost.count == 0)
        #expect(place.metrics.coverage.value == 1)
    }

    @Test func whatIsNotThereAsAcknowledgedIsLost() async throws {
        let place = try Place()
        defer { place.journal.close() }
        let first = try await place.append("a")
        let second = try await place.append("b")
        place.remember(first, "a")
        // Another request's entry, another time, and none at all.
        place.remember(first, "b")
        place.remember(Appended(offset: second.offset, hlc: first.hlc, term: second.term), "b")
        place.remember(Appended(offset: second.offset + 1, hlc: second.hlc, term: second.term), "c")
        await place.coverage.check(now: WriteCoverage.delay)
        // Of what is behind the end the leader is asked only when this node had time to hear of it.
        #expect(place.metrics.checked.count == 3 && place.metrics.lost.count == 2)
        #expect(place.coverage.waiting == 1)
        await place.coverage.check(now: WriteCoverage.patience)
        #expect(place.metrics.checked.count == 4 && place.metrics.lost.count == 3)
        #expect(place.metrics.coverage.value == 0.25)
    }

    @Test func aRepeatedWriteIsNotLookedUpAndOldOnesMakeRoom() async throws {
        let place = try Place()
        defer { place.journal.close() }
        var appended = try await place.append("a")
        appended.replayed = true
        place.coverage.acknowledged(appended, in: .data(0), requestID: "b", always: true)
        #expect(place.coverage.waiting == 0)
        for _ in 0..<(WriteCoverage.capacity + 10) { place.remember(appended, "a") }
        #expect(place.coverage.waiting == WriteCoverage.capacity)
    }

    @Test func aBoundIsBrokenByWhatIsMissedBeyondTheWait() {
        #expect(!ReadAnswer.breaks(100, missed: 102, after: 0))
        #expect(ReadAnswer.breaks(100, missed: 103, after: 0))
        #expect(!ReadAnswer.breaks(100, missed: 150, after: 50_000_000))
        #expect(ReadAnswer.breaks(100, missed: 153, after: 50_000_000))
        #expect(!ReadAnswer.breaks(nil, missed: 10_000, after: 0))
    }
}
