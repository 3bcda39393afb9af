import FileStore
import HLC
import JournalFormat
import JournalStore
import Primitives
import Synchronization
import TestSupport
import Testing

@Suite struct AppendTests {
    @Test func whatIsAppendedIsRead() async throws {
        let partition = try open(FaultyFileStore())
        #expect(partition.committed == 0 && partition.firstOffset == 1 && partition.term == 1)
        var last = HLCTimestamp.zero
        for i in 1...50 {
            let appended = try await partition.append(entry(numbered(UInt64(i), bytes: i * 3)))
            #expect(appended.offset == UInt64(i) && appended.term == 1 && !appended.replayed)
            #expect(appended.hlc > last)
            last = appended.hlc
        }
        #expect(partition.committed == 50 && partition.lastHLC == last)
        let all = try readAll(partition)
        #expect(all.map(\.offset) == Array(1...50))
        #expect(all.map(\.body) == (1...50).map { numbered(UInt64($0), bytes: $0 * 3) })
        partition.close()
        #expect(try readAll(partition).count == 50, "a closed log is still read")
    }

    @Test func theLeaderStampsItsSpan() async throws {
        let partition = try open(FaultyFileStore())
        let appended = try await partition.append(entry([1]))
        let batch = try partition.read(from: 1, maxBytes: 1000)
        let header = try withExtendedLifetime(batch) { try batch.view(0).header() }
        #expect(header.offset == 1 && header.term == 1 && header.hlc == appended.hlc)
        let span = try #require(header.spans.last)
        #expect(span.name == .appended && span.start < span.end && span.end == appended.hlc)
        partition.close()
    }

    /// While one sync runs, the next batch collects; all of it is made durable by one more.
    @Test func allThatWaitShareOneSync() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let gate = Gate()
        let syncs = Atomic(0)
        files.beforeWritesAndSyncs { operation, path in
            guard operation == .sync, path.hasSuffix(".segment") else { return }
            syncs.add(1, ordering: .relaxed)
            gate.pass()
        }
        gate.close()
        let answers = Answers()
        partition.append(entry([0])) { answers.take($0) }
        await gate.waitUntilHeld()
        for i in 1...64 { partition.append(entry([UInt8(i)])) { answers.take($0) } }
        #expect(partition.committed == 0 && answers.all.isEmpty, "nothing is acknowledged before it is durable")
        #expect(partition.queuedEntries == 64)
        gate.open()
        await answers.wait(for: 65)
        #expect(answers.appended.map(\.offset) == Array(1...65), "in the order of the calls")
        #expect(syncs.load(ordering: .relaxed) == 2)
        partition.close()
    }

    @Test func urgentAppendsOvertakeThoseThatWait() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, _ in if operation == .sync { gate.pass() } }
        gate.close()
        let answers = Answers()
        partition.append(entry([0])) { answers.take($0) }
        await gate.waitUntilHeld()
        for tier in [Tier.background, .batch, .background, .critical, .interactive, .critical] {
            partition.append(entry([tier.rawValue], tier: tier)) { answers.take($0) }
        }
        gate.open()
        await answers.wait(for: 7)
        #expect(try readAll(partition, from: 2).map(\.body) == [[0], [0], [1], [2], [3], [3]])
        partition.close()
    }

    @Test func aFullQueueRefusesAndSaysWhen() async throws {
        let files = FaultyFileStore()
        var settings = smallSettings()
        settings.queueBytes = 64 << 10
        let partition = try open(files, settings)
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, _ in if operation == .sync { gate.pass() } }
        gate.close()
        let answers = Answers()
        partition.append(entry([0])) { answers.take($0) }
        await gate.waitUntilHeld()
        var accepted = 0
        while answers.all.isEmpty {
            partition.append(entry(numbered(1, bytes: 4000))) { answers.take($0) }
            accepted += 1
        }
        let refusal = try #require(answers.all[0].error)
        #expect(refusal.code == .resourceExhausted && refusal.reason == "JOURNAL_QUEUE_FULL" && refusal.retryAfter != nil)
        #expect((9...13).contains(accepted), "three quarters of the queue are for bulk: \(accepted)")
        gate.open()
        await answers.wait(for: accepted + 1)
        #expect(answers.appended.count == accepted)
        #expect(try await partition.append(entry([1])).offset == UInt64(accepted + 1), "room again")
        partition.close()
    }

    @Test func closingFlushesAndRefusesWhatComesLater() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, path in if operation == .sync, path.hasSuffix(".segment") { gate.pass() } }
        gate.close()
        let answers = Answers()
        for i in 0..<20 { partition.append(entry([UInt8(i)])) { answers.take($0) } }
        await gate.waitUntilHeld()
        gate.open()
        partition.close()
        #expect(answers.appended.map(\.offset) == Array(1...20))
        let late = await Result { () async throws(VecraftError) in try await partition.append(entry([9])) }
        #expect(late.error?.code == .unavailable && late.error?.reason == "JOURNAL_CLOSED")
        let again = try open(files)
        #expect(again.committed == 20 && again.term == 2)
        again.close()
    }

    @Test func anEntryOfAnotherPartitionIsRefused() async throws {
        let partition = try open(FaultyFileStore())
        let wrong = await Result { () async throws(VecraftError) in try await partition.append(entry([9], partition: .data(1))) }
        #expect(wrong.error?.code == .internalError)
        #expect(partition.committed == 0)
        partition.close()
    }

    @Test func segmentsRollAndLargeEntriesHaveTheirOwn() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        var sizes: [Int] = []
        var rng = SeededRNG(seed: 4)
        for i in 0..<150 { sizes.append(i % 40 == 7 ? 150_000 + i : Int.random(in: 8..<5_000, using: &rng)) }
        for (i, size) in sizes.enumerated() {
            #expect(try await partition.append(entry(numbered(UInt64(i), bytes: size))).offset == UInt64(i + 1))
        }
        #expect(partition.segmentCount > 8)
        let all = try readAll(partition)
        #expect(all.map(\.body.count) == sizes)
        for (i, stored) in all.enumerated() { #expect(stored.body == numbered(UInt64(i), bytes: sizes[i])) }
        partition.close()
        let again = try open(files)
        #expect(try readAll(again) == all)
        #expect(again.verify().isOK)
        again.close()
        // Space behind the end of sealed segments is given back, so the folder is hardly larger than its entries.
        let written = sizes.reduce(0, +) + 150 * 200
        #expect(files.usedBytes < written + 3 * (64 << 10) + 40_000)
    }

    @Test func settingsAreChecked() {
        for change: (inout JournalSettings) -> Void in [
            { $0.segmentBytes = 1 }, { $0.maxBatchBytes = 0 }, { $0.maxBatchEntries = 0 }, { $0.queueBytes = 10 },
            { $0.idempotencyEntries = -1 }, { $0.reserveBytes = -1 }, { $0.idempotencyWindow = .seconds(-1) },
        ] {
            var settings = JournalSettings()
            change(&settings)
            let error = errorOf { () throws(VecraftError) in try open(FaultyFileStore(), settings) }
            #expect(error?.code == .invalidArgument && error?.field?.hasPrefix("journal.") == true)
        }
    }
}

@Suite struct ReadingTests {
    private func filled(_ count: Int, bytes: Int = 500) async throws -> JournalPartition {
        let partition = try open(FaultyFileStore())
        let answers = Answers()
        for i in 1...count {
            partition.append(entry(numbered(UInt64(i), bytes: bytes))) { answers.take($0) }
            if i % 50 == 0 { await answers.wait(for: i) }
        }
        await answers.wait(for: count)
        return partition
    }

    @Test func everyOffsetIsFoundAtOnce() async throws {
        let partition = try await self.filled(700)
        for offset in 1...UInt64(700) {
            let batch = try partition.read(from: offset, maxBytes: 0)
            #expect(batch.count == 1, "one entry always fits")
            #expect(batch.firstOffset == offset && batch.nextOffset == offset + 1)
            #expect(batch.view(0).offset == offset && numberOf(batch.view(0).body) == offset)
        }
        partition.close()
    }

    @Test func batchesKeepToTheirBytes() async throws {
        let partition = try await self.filled(300)
        let one = try partition.read(from: 1, maxBytes: 0).bytes
        for limit in [one, one + 1, 2 * one - 1, 2 * one, 10 * one, 1 << 20] {
            let batch = try partition.read(from: 3, maxBytes: limit)
            #expect(batch.bytes <= max(limit, one))
            #expect(batch.count == min(limit / one, batch.count) && batch.count >= 1)
            #expect(batch.views.map(\.offset) == (0..<batch.count).map { 3 + UInt64($0) })
        }
        #expect(try partition.read(from: 3, maxBytes: 10 * one).count == 10)
        partition.close()
    }

    @Test func zeroAndOneAreTheBeginningAndBeyondTheEndIsNothing() async throws {
        let partition = try await self.filled(5)
        #expect(try partition.read(from: 0, maxBytes: 1 << 20).views.map(\.offset) == [1, 2, 3, 4, 5])
        #expect(try partition.read(from: 1, maxBytes: 1 << 20).count == 5)
        let beyond = try partition.read(from: 6, maxBytes: 1 << 20)
        #expect(beyond.isEmpty && beyond.nextOffset == 6 && beyond.committed == 5)
        #expect(try partition.read(from: 900, maxBytes: 1).isEmpty)
        partition.close()
    }

    @Test func readersSeeOnlyWhatIsDurableWhileItIsWritten() async throws {
        let partition = try open(FaultyFileStore())
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<3 {
                group.addTask {
                    var next: JournalOffset = 1
                    var lastHLC = HLCTimestamp.zero
                    while next <= 2_000 {
                        let committed = partition.committed
                        let batch = try partition.read(from: next, maxBytes: 20_000)
                        if batch.isEmpty {
                            #expect(next > committed)
                            await Task.yield()
                        }
                        for view in batch {
                            #expect(view.offset == next && numberOf(view.body) == next && view.hlc > lastHLC)
                            lastHLC = view.hlc
                            next += 1
                        }
                    }
                }
            }
            group.addTask {
                let answers = Answers()
                for i in 1...UInt64(2_000) {
                    partition.append(entry(numbered(i, bytes: Int(i) % 700 + 8))) { answers.take($0) }
                    if i % 37 == 0 { await answers.wait(for: Int(i)) }
                }
            }
            try await group.waitForAll()
        }
        partition.close()
    }
}

extension Result where Failure == VecraftError {
    init(_ body: () async throws(VecraftError) -> Success) async {
        do throws(VecraftError) { self = .success(try await body()) } catch { self = .failure(error) }
    }
}
