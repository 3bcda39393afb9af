import FileStore
import HLC
import JournalFormat
import JournalStore
import Primitives
import Synchronization
import TestSupport
import Testing

@Suite struct JournalTests {
    private func open(
        _ files: any FileStore, _ directory: String = "/journal", dataPartitions: Int = 2, wall: FakeWall = FakeWall()
    ) throws(VecraftError) -> Journal {
        try Journal(
            directory: directory, dataPartitions: dataPartitions, settings: smallSettings(), files: files,
            physicalClock: { wall.read() })
    }

    @Test func opensAllPartitionsUnderOneFolder() async throws {
        let files = FaultyFileStore()
        let journal = try self.open(files, dataPartitions: 3)
        #expect(journal.partitions.map(\.id) == [.data(0), .data(1), .data(2), .txn, .sys])
        for partition in journal.partitions {
            #expect(try await partition.append(entry([1], partition: partition.id)).offset == 1)
        }
        #expect(journal[.data(7)] == nil)
        #expect(journal[.sys]?.committed == 1)
        journal.close()
        let fewer = try self.open(files, dataPartitions: 1)
        #expect(fewer.partitions.map(\.id) == [.data(0), .data(1), .data(2), .txn, .sys], "what is there is opened")
        fewer.close()
    }

    @Test func isOpenInOneProcess() throws {
        let folder = try TemporaryDirectory()
        let journal = try self.open(PosixFileStore(), folder.path)
        let second = errorOf { () throws(VecraftError) in try self.open(PosixFileStore(), folder.path) }
        #expect(second?.code == .failedPrecondition && second?.reason == "JOURNAL_LOCKED")
        journal.close()
        try self.open(PosixFileStore(), folder.path).close()
    }

    /// Whatever the wall clock does between lives, and however they end, no timestamp comes again: not in the log, and not those
    /// that were only given out.
    @Test(arguments: [FaultyFileStore.Crash.process, .power, .powerTearing])
    func timeNeverGoesBackOverRestarts(crash: FaultyFileStore.Crash) async throws {
        let files = FaultyFileStore(seed: 3)
        let wall = FakeWall()
        var last = HLCTimestamp.zero
        for life in 0..<10 {
            let journal = try self.open(files, wall: wall)
            let first = journal.clock.now()
            #expect(first > last, "life \(life)")
            let appended = try await journal[.data(0)]!.append(entry([UInt8(life)]))
            #expect(appended.hlc > first)
            // Time that was told and never written down.
            wall.move(milliseconds: 1_500)
            last = journal.clock.now()
            #expect(last > appended.hlc)
            #expect(journal.clockFault == nil)
            files.restart(crash)
            journal.close()
            wall.move(milliseconds: -20_000)
        }
    }

    @Test func aCleanStopDoesNotPutTheClockAhead() async throws {
        let files = FaultyFileStore()
        let wall = FakeWall()
        let journal = try self.open(files, wall: wall)
        _ = try await journal[.sys]!.append(entry([1], partition: .sys))
        journal.close()
        let again = try self.open(files, wall: wall)
        _ = again.clock.now()
        #expect(again.clock.driftMilliseconds <= 1)
        again.close()
    }

    @Test func aNewerClockBoundIsRefusedByName() throws {
        let files = FaultyFileStore()
        try self.open(files).close()
        files.edit("/journal/hlc-bound") { bytes in
            for slot in [0, 512] {
                var changed = Array(bytes[slot..<slot + 32])
                changed[8] = 7
                let crc = changed.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
                withUnsafeBytes(of: crc.littleEndian) { for i in 0..<4 { changed[4 + i] = $0[i] } }
                bytes.replaceSubrange(slot..<slot + 32, with: changed)
            }
        }
        let error = errorOf { () throws(VecraftError) in try self.open(files) }
        #expect(error?.reason == "FORMAT_TOO_NEW" && error?.message.contains("clock bound of format 7") == true)
    }

    @Test func damageInOnePartitionClosesTheOthersAgain() async throws {
        let files = FaultyFileStore()
        let journal = try self.open(files)
        for _ in 0..<3 { _ = try await journal[.sys]!.append(entry([1], partition: .sys)) }
        journal.close()
        files.flip("/journal/sys-0/0000000001.segment", byte: 100)
        let error = errorOf { () throws(VecraftError) in try self.open(files) }
        #expect(error?.code == .dataLoss && error?.message.contains("/journal/sys-0/0000000001.segment") == true)
        files.flip("/journal/sys-0/0000000001.segment", byte: 100)
        let again = try self.open(files)
        #expect(again[.sys]?.committed == 3)
        again.close()
    }

    /// The real disk, the real clock, several partitions at once, reopened.
    @Test func worksOnTheRealDisk() async throws {
        let folder = try TemporaryDirectory()
        var logs: [PartitionID: [StoredEntry]] = [:]
        for life in 0..<3 {
            let journal = try Journal(directory: folder.path, dataPartitions: 2, settings: smallSettings(), files: PosixFileStore())
            for partition in journal.partitions {
                #expect(try readAll(partition) == logs[partition.id] ?? [], "life \(life)")
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for partition in journal.partitions {
                    for worker in 0..<4 {
                        group.addTask {
                            for i in 0..<25 {
                                let body = numbered(UInt64(life * 1000 + worker * 100 + i), bytes: 10 + i * 300)
                                _ = try await partition.append(entry(body, partition: partition.id))
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            for partition in journal.partitions {
                logs[partition.id] = try readAll(partition)
                #expect(partition.committed == UInt64(100 * (life + 1)))
                #expect(partition.verify().isOK)
            }
            journal.close()
        }
        // The file is truly one log: every number once.
        for (_, log) in logs { #expect(Set(log.map { $0.body.withUnsafeBytes { numberOf($0) } }).count == 300) }
    }
}

/// Counts what it is told.
private final class CountingObserver: JournalObserver {
    struct Counts: Sendable {
        var batches = 0
        var entries = 0
        var answerings = 0
        var replayed = 0
        var refused: [String] = []
        var cuts = 0
        var failed = 0
    }
    private let counts = Mutex(Counts())
    var seen: Counts { self.counts.withLock { $0 } }

    func committed(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration, waited: Duration) {
        #expect(write >= .zero && sync >= .zero && waited >= sync && bytes > entries * 160)
        self.counts.withLock {
            $0.batches += 1
            $0.entries += entries
        }
    }
    func answering(_ answer: () -> Void) {
        answer()
        self.counts.withLock { $0.answerings += 1 }
    }
    func replayed(partition: PartitionID) { self.counts.withLock { $0.replayed += 1 } }
    func refused(partition: PartitionID, reason: String) { self.counts.withLock { $0.refused.append(reason) } }
    func tailCut(partition: PartitionID, file: String, position: Int, bytes: Int) { self.counts.withLock { $0.cuts += 1 } }
    func failed(partition: PartitionID, error: VecraftError) { self.counts.withLock { $0.failed += 1 } }
}

@Suite struct ObserverTests {
    @Test func isToldWhatHappens() async throws {
        let files = FaultyFileStore()
        let observer = CountingObserver()
        let partition = try JournalStoreTests.open(files, observer: observer)
        for i in 0..<10 { _ = try await partition.append(entry([UInt8(i)], key: "k\(i)")) }
        _ = try await partition.append(entry([3], key: "k3"))
        files.inject(.diskFull())
        _ = try? await partition.append(entry([3]))
        files.inject(.ioError(.sync))
        _ = try? await partition.append(entry([3]))
        partition.close()
        let seen = observer.seen
        // Each batch, and the two that a fault ended.
        #expect(seen.answerings == seen.batches + 2)
        #expect(seen.entries == 10 && seen.batches <= 10 && seen.replayed == 1 && seen.failed == 1)
        #expect(seen.refused.contains("DISK_FULL"))
        try files.remove("/journal/data-0/durable-mark")
        files.edit("/journal/data-0/0000000001.segment") { bytes in bytes.replaceSubrange(60_000..<60_004, with: [1, 2, 3, 4]) }
        let cut = CountingObserver()
        try JournalStoreTests.open(files, observer: cut).close()
        #expect(cut.seen.cuts == 1)
    }
}
