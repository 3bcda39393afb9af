import FileStore
import JournalFormat
import JournalStore
import Primitives
import TestSupport
import Testing

@Suite struct IdempotencyTests {
    @Test func theSameRequestHasTheSameAnswer() async throws {
        let partition = try open(FaultyFileStore())
        let first = try await partition.append(entry([1, 2], key: "k"))
        _ = try await partition.append(entry([1, 2]))
        let second = try await partition.append(entry([1, 2], key: "k"))
        #expect(second.replayed && !first.replayed)
        #expect((second.offset, second.hlc, second.term) == (first.offset, first.hlc, first.term))
        #expect(partition.committed == 2, "nothing was written for it")
        partition.close()
    }

    @Test func aKeyUsedForAnotherRequestIsRefused() async throws {
        let partition = try open(FaultyFileStore())
        _ = try await partition.append(entry([1], key: "k"))
        let other = await Result { () async throws(VecraftError) in try await partition.append(entry([2], key: "k")) }
        #expect(other.error?.code == .alreadyExists && other.error?.reason == "IDEMPOTENCY_KEY_REUSED")
        #expect(try await partition.append(entry([2], key: "k", tenant: "other")).offset == 2, "keys are a tenant's own")
        #expect(try await partition.append(entry([2], key: "k", shard: 1)).offset == 3, "one request makes an entry per shard")
        partition.close()
    }

    @Test func repetitionsInFlightWaitForTheFirst() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, path in if operation == .sync, path.hasSuffix(".segment") { gate.pass() } }
        gate.close()
        let answers = Answers()
        partition.append(entry([0])) { answers.take($0) }
        await gate.waitUntilHeld()
        for _ in 0..<3 { partition.append(entry([7], key: "k")) { answers.take($0) } }
        partition.append(entry([8], key: "k")) { answers.take($0) }
        gate.open()
        await answers.wait(for: 5)
        #expect(answers.appended.map(\.offset).sorted() == [1, 2, 2, 2])
        #expect(answers.appended.count { $0.replayed } == 2)
        #expect(answers.all.compactMap(\.error).map(\.reason) == ["IDEMPOTENCY_KEY_REUSED"])
        #expect(partition.committed == 2)
        partition.close()
    }

    /// A first attempt that failed is not remembered: the next one is written.
    @Test func aFailedAttemptLeavesNoTrace() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        files.inject(.diskFull())
        let failed = await Result { () async throws(VecraftError) in try await partition.append(entry([1], key: "k")) }
        #expect(failed.error?.reason == "DISK_FULL")
        let second = try await partition.append(entry([2], key: "k"))
        #expect(second.offset == 1 && !second.replayed)
        partition.close()
    }

    /// From the tail by its scan, from sealed segments by their key files, from those without one by a scan.
    @Test(arguments: [[], [".sidecar"], [".keys"], [".sidecar", ".keys"]])
    func keysOutliveARestart(without lost: [String]) async throws {
        let files = FaultyFileStore()
        var appended: [Appended] = []
        let first = try open(files)
        for i in 0..<200 { appended.append(try await first.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)"))) }
        #expect(first.segmentCount > 3)
        first.close()
        for path in files.paths where lost.contains(where: path.hasSuffix) { try files.remove(path) }
        let second = try open(files)
        for i in 0..<200 {
            let again = try await second.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)"))
            #expect(again.replayed && again.offset == appended[i].offset && again.hlc == appended[i].hlc)
            #expect(again.term == 1, "the term of the entry, not of the opening")
        }
        #expect(second.committed == 200)
        second.close()
    }

    @Test func aDamagedKeyFileIsMadeAgainAndANewerOneIsRefused() async throws {
        let files = FaultyFileStore()
        let first = try open(files)
        for i in 0..<200 { _ = try await first.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)")) }
        first.close()
        let path = directory + "/0000000002.keys"
        files.flip(path, byte: 50)
        let second = try open(files)
        for i in 0..<200 { #expect(try await second.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)")).replayed) }
        second.close()
        files.edit(path) { bytes in
            bytes[8] = 3
            let crc = bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
            withUnsafeBytes(of: crc.littleEndian) { for i in 0..<4 { bytes[4 + i] = $0[i] } }
        }
        let error = errorOf { () throws(VecraftError) in try open(files) }
        #expect(error?.reason == "FORMAT_TOO_NEW" && error?.message.contains("segment keys of format 3") == true)
    }

    /// Segments that lie before the window are not looked into at the start.
    @Test func theStartReadsKeysOfTheWindowOnly() async throws {
        let files = FaultyFileStore()
        let wall = FakeWall()
        var settings = smallSettings()
        settings.idempotencyWindow = .seconds(60)
        let first = try open(files, settings, wall: wall)
        for i in 0..<100 { _ = try await first.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)")) }
        wall.move(milliseconds: 120_000)
        for i in 100..<300 { _ = try await first.append(entry(numbered(UInt64(i), bytes: 1_500), key: "key-\(i)")) }
        first.close()
        try files.remove(directory + "/0000000001.keys")
        try files.remove(directory + "/0000000004.keys")
        let second = try open(files, settings, wall: wall)
        #expect(!files.exists(directory + "/0000000001.keys") && files.exists(directory + "/0000000004.keys"))
        #expect(try await second.append(entry(numbered(200, bytes: 1_500), key: "key-200")).replayed)
        #expect(try await !second.append(entry(numbered(20, bytes: 1_500), key: "key-20")).replayed)
        second.close()
    }

    @Test func keysAreForgottenAfterTheirWindow() async throws {
        let files = FaultyFileStore()
        let wall = FakeWall()
        var settings = smallSettings()
        settings.idempotencyWindow = .seconds(60)
        let first = try open(files, settings, wall: wall)
        _ = try await first.append(entry([1], key: "old"))
        wall.move(milliseconds: 50_000)
        _ = try await first.append(entry([1], key: "new"))
        wall.move(milliseconds: 20_000)
        #expect(try await first.append(entry([2], key: "old")).offset == 3, "forgotten")
        #expect(try await first.append(entry([1], key: "new")).replayed)
        first.close()
        let second = try open(files, settings, wall: wall)
        #expect(try await second.append(entry([1], key: "new")).replayed)
        wall.move(milliseconds: 50_000)
        #expect(try await second.append(entry([2], key: "new")).offset == 4)
        second.close()
    }

    @Test func aWholeRequestsHashTellsShardsOfAnotherOne() async throws {
        let partition = try open(FaultyFileStore())
        func part(_ shard: UInt32, request: UInt64) -> EncodedEntry {
            let header = EntryHeader(
                partition: .data(0), tier: .batch, operation: .barrier, tenant: "t", collection: 1, shard: shard,
                idempotencyKey: "k", trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: true))
            return EncodedEntry.raw(header: header, requestHash: request, body: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        _ = try await partition.append(part(0, request: 77))
        #expect(try await partition.append(part(1, request: 77)).offset == 2)
        let other = await Result { () async throws(VecraftError) in try await partition.append(part(1, request: 78)) }
        #expect(other.error?.reason == "IDEMPOTENCY_KEY_REUSED", "its part for this shard is alike, the request is not")
        partition.close()
    }
}
