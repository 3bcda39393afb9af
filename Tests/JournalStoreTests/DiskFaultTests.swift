import FileStore
import Glibc
import JournalFormat
import JournalStore
import Primitives
import TestSupport
import Testing

@Suite struct DiskFaultTests {
    /// The disk refuses one call, whichever: the append it meets is refused and invisible, all others stand, and the log goes on.
    @Test(arguments: 0..<60) func aFullDiskAtAnyCall(call: Int) async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        files.inject(.diskFull(after: call, leavesPart: call % 2 == 0))
        var bodies: [[UInt8]] = []
        var refusals = 0
        for i in 0..<UInt64(80) {
            let body = numbered(i, bytes: 3_000)
            var result = await Result { () async throws(VecraftError) in try await partition.append(entry(body)) }
            if let error = result.error {
                refusals += 1
                #expect(error.code == .resourceExhausted && error.reason == "DISK_FULL" && error.retryAfter != nil)
                #expect(partition.committed == UInt64(bodies.count))
                result = await Result { () async throws(VecraftError) in try await partition.append(entry(body)) }
            }
            #expect(try result.get().offset == UInt64(bodies.count + 1))
            bodies.append(body)
        }
        #expect(refusals <= 1)
        #expect(try readAll(partition).map(\.body) == bodies)
        partition.close()
        let again = try open(files)
        #expect(try readAll(again).map(\.body) == bodies)
        #expect(again.verify().isOK)
        again.close()
    }

    /// Not one of a batch that did not fit is seen, now or after a restart.
    @Test func neverHalfABatch() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        _ = try await partition.append(entry([1]))
        let gate = Gate()
        files.beforeWritesAndSyncs { operation, path in if operation == .sync, path.hasSuffix(".segment") { gate.pass() } }
        gate.close()
        let answers = Answers()
        partition.append(entry([2])) { answers.take($0) }
        await gate.waitUntilHeld()
        for _ in 0..<10 { partition.append(entry(numbered(1, bytes: 500))) { answers.take($0) } }
        var full = FaultyFileStore.Fault.diskFull()
        full.suffix = ".segment"
        files.inject(full)
        gate.open()
        await answers.wait(for: 11)
        #expect(answers.all.compactMap(\.error).map(\.reason) == Array(repeating: "DISK_FULL", count: 10))
        #expect(try readAll(partition).map(\.body) == [[1], [2]])
        files.restart(.process)
        partition.close()
        let again = try open(files)
        #expect(again.committed == 2)
        again.close()
    }

    @Test func theReserveIsKeptForWhatMakesRoom() async throws {
        let files = FaultyFileStore(capacity: 1 << 20)
        var settings = smallSettings()
        settings.reserveBytes = 256 << 10
        let partition = try open(files, settings)
        var refusal: VecraftError?
        var written = 0
        while refusal == nil {
            let body = entry(numbered(UInt64(written), bytes: 4_000), operation: .upsert)
            refusal = await Result { () async throws(VecraftError) in try await partition.append(body) }.error
            if refusal == nil { written += 1 }
        }
        #expect(refusal?.code == .resourceExhausted && refusal?.reason == "DISK_FULL")
        #expect((1 << 20) - files.usedBytes >= (256 << 10) - 4096, "the reserve is free")
        #expect(written > 150)
        for i in 0..<20 {
            #expect(try await partition.append(entry(numbered(UInt64(i), bytes: 4_000), operation: .delete)).offset > UInt64(written))
        }
        files.setCapacity(4 << 20)
        #expect(try await self.retried(partition, entry([1], operation: .upsert)).offset == UInt64(written + 21))
        partition.close()
    }

    /// Free space is asked for ten times a second, so room is noticed after a while: tried again as a client would.
    private func retried(_ partition: JournalPartition, _ entry: EncodedEntry) async throws -> Appended {
        for _ in 0..<1_000_000 {
            let result = await Result { () async throws(VecraftError) in try await partition.append(entry) }
            if result.error?.reason != "DISK_FULL" { return try result.get() }
        }
        return try await partition.append(entry)
    }

    @Test func aFailedSyncStopsThePartition() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        for i in 0..<5 { _ = try await partition.append(entry([UInt8(i)])) }
        files.inject(.ioError(.sync))
        let failed = await Result { () async throws(VecraftError) in try await partition.append(entry([9])) }
        #expect(failed.error?.code == .unavailable && failed.error?.reason == "JOURNAL_FAILED")
        let later = await Result { () async throws(VecraftError) in try await partition.append(entry([9])) }
        #expect(later.error?.reason == "JOURNAL_FAILED", "no second sync is believed")
        #expect(partition.committed == 5)
        #expect(try readAll(partition).count == 5, "reading goes on")
        for try await batch in partition.entries(from: 1) { #expect(batch.count == 5) }
        partition.close()
        files.restart(.power)
        let again = try open(files)
        #expect(again.committed == 5)
        #expect(try await again.append(entry([9])).offset == 6)
        again.close()
    }

    @Test func aFailedWriteStopsThePartition() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        _ = try await partition.append(entry([1]))
        files.inject(.ioError(.write))
        let failed = await Result { () async throws(VecraftError) in try await partition.append(entry([9])) }
        #expect(failed.error?.code == .unavailable)
        partition.close()
        let again = try open(files)
        #expect(try readAll(again).map(\.body) == [[1]])
        again.close()
    }

    @Test func faultsAtOpeningAreSaidAndHarmless() async throws {
        let log = FaultyFileStore()
        let partition = try open(log)
        for i in 0..<300 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 1_000))) }
        let all = try readAll(partition)
        partition.close()
        for operation in [FileFault.Operation.open, .read, .sync, .list, .size] {
            for after in 0..<6 {
                let files = log.copy()
                files.inject(.ioError(operation, after: after))
                if let error = errorOf({ () throws(VecraftError) in try open(files).close() }) {
                    #expect(error.code == .unavailable && error.reason == "DISK_FAULT", "\(operation) \(after)")
                }
                files.clearFaults()
                let again = try open(files)
                #expect(try readAll(again) == all, "\(operation) \(after)")
                again.close()
            }
        }
    }
}

/// A real file system that fills up. Needs the right to mount; skipped without it.
@Suite(.enabled(if: SmallDisk.isPossible, "mounting a tmpfs needs root"))
struct RealDiskTests {
    @Test func fillsRefusesAndRecovers() async throws {
        let disk = try #require(try SmallDisk(bytes: 8 << 20))
        let files = PosixFileStore()
        var settings = smallSettings()
        settings.segmentBytes = 1 << 20
        settings.reserveBytes = 1 << 20
        let path = Paths.join(disk.path, "data-0")
        let ballast = Paths.join(disk.path, "ballast")
        try files.open(ballast, .create).preallocate(3 << 20)

        let partition = try open(files, settings, at: path)
        var written: UInt64 = 0
        var refusal: VecraftError?
        while refusal == nil {
            let body = entry(numbered(written, bytes: 10_000), operation: .upsert)
            refusal = await Result { () async throws(VecraftError) in try await partition.append(body) }.error
            if refusal == nil { written += 1 }
        }
        #expect(refusal?.reason == "DISK_FULL" && refusal?.code == .resourceExhausted)
        #expect(written > 200)
        try files.remove(ballast)
        var appended: Appended?
        while appended == nil { appended = try? await partition.append(entry(numbered(written, bytes: 10_000), operation: .upsert)) }
        #expect(appended?.offset == written + 1)
        let all = try readAll(partition, maxBytes: 100_000)
        #expect(all.count == Int(written) + 1)
        #expect(all.indices.allSatisfy { all[$0].body == numbered(UInt64($0), bytes: 10_000) })
        partition.close()
        let again = try open(files, settings, at: path)
        #expect(try readAll(again, maxBytes: 100_000) == all)
        #expect(again.verify().isOK)
        again.close()
    }
}

/// A small tmpfs, unmounted when this object goes.
private final class SmallDisk {
    static let isPossible: Bool = {
        guard geteuid() == 0, let probe = try? SmallDisk(bytes: 1 << 20) else { return false }
        return withExtendedLifetime(probe) { true }
    }()

    let path: String
    private let folder: TemporaryDirectory

    init?(bytes: Int) throws(FileFault) {
        self.folder = try TemporaryDirectory()
        self.path = self.folder.file("disk")
        try PosixFileStore().createDirectory(self.path)
        guard mount("none", self.path, "tmpfs", 0, "size=\(bytes)") == 0 else { return nil }
    }

    deinit { umount2(self.path, Int32(MNT_DETACH)) }
}
