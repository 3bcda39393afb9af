import FileStore
import JournalFormat
import JournalStore
import Primitives
import Synchronization
import TestSupport
import Testing

@Suite struct SubscriptionTests {
    @Test func commitsAreToldInOrder() async throws {
        let partition = try open(FaultyFileStore())
        let seen = Mutex<[JournalOffset]>([])
        let subscription = partition.onCommit { offset in
            #expect(partition.committed >= offset, "what is told can be read")
            seen.withLock { $0.append(offset) }
        }
        for i in 0..<30 { _ = try await partition.append(entry([UInt8(i)])) }
        partition.close()
        let told = seen.withLock { $0 }
        #expect(told.last == 30 && told == told.sorted() && Set(told).count == told.count)
        subscription.cancel()
    }

    @Test func aCancelledSubscriptionIsQuiet() async throws {
        let partition = try open(FaultyFileStore())
        let calls = Atomic(0)
        let subscription = partition.onCommit { _ in calls.add(1, ordering: .relaxed) }
        _ = try await partition.append(entry([1]))
        // The callback runs before the answer of the next append does.
        _ = try await partition.append(entry([2]))
        subscription.cancel()
        subscription.cancel()
        let before = calls.load(ordering: .relaxed)
        _ = try await partition.append(entry([3]))
        _ = try await partition.append(entry([4]))
        #expect(calls.load(ordering: .relaxed) <= before + 1)
        partition.close()
    }

    /// History first, then what comes, without a gap and at the reader's pace.
    @Test func entriesFollowTheLog() async throws {
        let partition = try open(FaultyFileStore())
        for i in 1...UInt64(40) { _ = try await partition.append(entry(numbered(i, bytes: 2_000))) }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for start in [JournalOffset(0), 1, 17, 40, 41] {
                group.addTask {
                    var next = max(start, 1)
                    for try await batch in partition.entries(from: start, maxBatchBytes: 5_000) {
                        #expect(!batch.isEmpty && batch.firstOffset == next && batch.count <= 3)
                        for view in batch {
                            #expect(numberOf(view.body) == next)
                            next += 1
                        }
                        if next > 80 { break }
                    }
                    #expect(next == 81)
                }
            }
            group.addTask { for i in UInt64(41)...80 { _ = try await partition.append(entry(numbered(i, bytes: 2_000))) } }
            try await group.waitForAll()
        }
        partition.close()
    }

    @Test func followingEndsWithTheLog() async throws {
        let partition = try open(FaultyFileStore())
        _ = try await partition.append(entry([1]))
        let reader = Task {
            var seen = 0
            for try await batch in partition.entries(from: 1) { seen += batch.count }
            return seen
        }
        _ = try await partition.append(entry([2]))
        partition.close()
        #expect(try await reader.value == 2, "all that was committed, then the end")
    }

    @Test func followingEndsByCancellation() async throws {
        let partition = try open(FaultyFileStore())
        let reader = Task {
            var seen = 0
            for try await batch in partition.entries(from: 1) { seen += batch.count }
            return seen
        }
        _ = try await partition.append(entry([1]))
        reader.cancel()
        #expect(try await reader.value <= 1)
        partition.close()
    }
}

@Suite struct ClosedTimestampTests {
    @Test func advancesWhenIdleAndHoldsForEveryLaterEntry() async throws {
        let wall = FakeWall()
        let partition = try open(FaultyFileStore(), wall: wall)
        var last = partition.closed
        for _ in 0..<100 {
            let closed = partition.position
            #expect(closed.closed > last, "zero lag needs no write")
            last = closed.closed
            let appended = try await partition.append(entry([1]))
            #expect(appended.offset > closed.committed && appended.hlc >= closed.closed)
        }
        partition.close()
    }

    @Test func staysBelowWhatIsBeingWritten() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, path in if operation == .sync, path.hasSuffix(".segment") { gate.pass() } }
        gate.close()
        let answers = Answers()
        partition.append(entry([1])) { answers.take($0) }
        await gate.waitUntilHeld()
        let during = partition.position
        #expect(during.committed == 0)
        #expect(during.closed == partition.closed, "it waits for the disk")
        gate.open()
        await answers.wait(for: 1)
        #expect(during.closed <= answers.appended[0].hlc)
        #expect(partition.closed > answers.appended[0].hlc)
        partition.close()
    }

    /// The promise, under load: whatever is read as closed, no entry beyond the committed offset read with it has a lower HLC.
    @Test func holdsUnderLoad() async throws {
        let partition = try open(FaultyFileStore())
        let promises = await withTaskGroup(of: [(JournalOffset, HLCTimestamp)].self) { group in
            for _ in 0..<4 {
                group.addTask {
                    for i in 0..<300 { _ = try? await partition.append(entry([UInt8(i % 256)])) }
                    return []
                }
            }
            group.addTask {
                var promises: [(JournalOffset, HLCTimestamp)] = []
                for _ in 0..<2_000 {
                    let position = partition.position
                    promises.append((position.committed, position.closed))
                    await Task.yield()
                }
                return promises
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
        let all = try readAll(partition)
        #expect(all.count == 1_200)
        for (committed, closed) in promises where Int(committed) < all.count {
            #expect(all[Int(committed)].hlc >= closed)
        }
        partition.close()
    }
}
