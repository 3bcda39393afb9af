import FileStore
import HLC
import JournalFormat
import Primitives
import Raft
import Synchronization
import TestSupport
import Testing

@testable import JournalStore

/// A disk that tells of each opening, before it happens: what others do meanwhile can then be done right there.
private final class WatchedFiles: FileStore {
    let base: FaultyFileStore
    private let hook = Mutex<(@Sendable (String) -> Void)?>(nil)

    init(_ base: FaultyFileStore) { self.base = base }

    func beforeOpening(_ hook: (@Sendable (String) -> Void)?) { self.hook.withLock { $0 = hook } }

    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File {
        self.hook.withLock { $0 }?(path)
        return try self.base.open(path, mode)
    }
    func list(_ directory: String) throws(FileFault) -> [String] { try self.base.list(directory) }
    func exists(_ path: String) -> Bool { self.base.exists(path) }
    func createDirectory(_ path: String) throws(FileFault) { try self.base.createDirectory(path) }
    func rename(_ path: String, to target: String) throws(FileFault) { try self.base.rename(path, to: target) }
    func remove(_ path: String) throws(FileFault) { try self.base.remove(path) }
    func removeTree(_ path: String) throws(FileFault) { try self.base.removeTree(path) }
    func syncDirectory(_ path: String) throws(FileFault) { try self.base.syncDirectory(path) }
    func freeBytes(_ path: String) throws(FileFault) -> Int { try self.base.freeBytes(path) }
    func lock(_ path: String) throws(FileFault) -> any FileLock { try self.base.lock(path) }
}

/// A log that is trimmed or cut while somebody reads it from end to end.
@Suite("Verifying a log that changes") struct ChangingLogTests {
    /// Many small segments, all committed unless told otherwise.
    private func made(committedSegments: Int? = nil) async throws -> (WatchedFiles, PartitionLog, [Segment]) {
        let disk = FaultyFileStore()
        let partition = try open(disk)
        for i in 0..<900 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 400))) }
        partition.close()
        let segments = partition.log.segments.withLock { $0 }
        #expect(segments.count > 6)
        let files = WatchedFiles(disk)
        let committed = committedSegments.map { segments[$0 - 1].lastOffset }
        let log = PartitionLog(
            partition: .data(0), directory: directory, files: files, segments: segments, term: 1, committed: committed)
        return (files, log, segments)
    }

    @Test func whatIsTrimmedMeanwhileIsNoFault() async throws {
        let (files, log, segments) = try await self.made()
        let kept = Array(segments[4...])
        // The reader has come to the third segment when the first four go.
        files.beforeOpening { path in
            guard path == segments[2].path, files.base.exists(path) else { return }
            log.replace(segments: kept, start: segments[3].lastOffset)
            for segment in segments[..<4] { try? files.base.remove(segment.path) }
        }
        let report = JournalPartition.verify(log) { _ in }
        #expect(!files.exists(segments[2].path))
        #expect(report.faults == [] && !report.isUnfinished)
        #expect(report.segments == segments.count - 2 && report.lastOffset == segments.last?.lastOffset)
        #expect(report.entries == UInt64(segments[..<2].reduce(0) { $0 + $1.count } + kept.reduce(0) { $0 + $1.count }))
    }

    /// Damage in what stays is told, whatever is trimmed.
    @Test func whatStaysMustBeRight() async throws {
        let (files, log, segments) = try await self.made()
        files.base.flip(segments[5].path, byte: segments[5].end / 2)
        files.beforeOpening { path in
            guard path == segments[1].path, files.base.exists(path) else { return }
            log.replace(segments: Array(segments[3...]), start: segments[2].lastOffset)
            for segment in segments[..<3] { try? files.base.remove(segment.path) }
        }
        let lines = Mutex<[String]>([])
        let report = JournalPartition.verify(log) { line in lines.withLock { $0.append(line) } }
        #expect(report.faults.count == 1 && report.faults[0].hasPrefix(segments[5].path))
        #expect(lines.withLock { $0 } == report.faults)
        // A file that is gone from a log that still has it is the worst of faults.
        let (others, whole, all) = try await self.made()
        try others.base.remove(all[2].path)
        #expect(!JournalPartition.verify(whole) { _ in }.isOK)
    }

    /// Entries that no majority had are cut off, first in the files and then in the log.
    @Test func whatIsCutMeanwhileIsNoFault() async throws {
        let (files, log, segments) = try await self.made(committedSegments: 4)
        let looks = Mutex(0)
        let last = segments[segments.count - 1]
        files.beforeOpening { path in
            guard path == last.path else { return }
            switch looks.withLock({ looks in
                looks += 1
                return looks
            }) {
            case 1: try? files.base.remove(path)
            case 2: log.replace(segments: segments.dropLast(), start: 0)
            default: return
            }
        }
        let report = JournalPartition.verify(log) { _ in }
        #expect(report.faults == [] && looks.withLock { $0 } == 2)
        #expect(report.lastOffset == segments[segments.count - 2].lastOffset)
    }

    @Test func timeEndsIt() async throws {
        let (files, log, segments) = try await self.made()
        #expect(JournalPartition.verify(log, deadline: 1) { _ in }.isUnfinished)
        // In the middle: the time is over when the fourth segment is opened.
        let isLate = Mutex(false)
        files.beforeOpening { path in if path == segments[3].path { isLate.withLock { $0 = true } } }
        let whole = JournalPartition.verify(log) { _ in }
        #expect(!whole.isUnfinished && whole.lastOffset == segments.last?.lastOffset)
        let deadline = SystemClock.monotonicNanoseconds() + 200_000_000
        files.beforeOpening { path in
            guard path == segments[3].path else { return }
            while SystemClock.monotonicNanoseconds() < deadline { pauseBriefly() }
        }
        // Files stay open for a while; a log of its own opens them anew.
        let fresh = PartitionLog(partition: .data(0), directory: directory, files: files, segments: segments, term: 1)
        let report = JournalPartition.verify(fresh, deadline: deadline) { _ in }
        #expect(report.isUnfinished && report.isOK && report.lastOffset <= segments[2].lastOffset)
    }
}

@Suite("Files beside segments that are gone") struct OrphanTests {
    private func put(_ name: String, _ files: FaultyFileStore) throws {
        let file = try files.open("\(directory)/\(name)", .create)
        try file.write([1, 2, 3], at: 0)
        file.close()
    }

    @Test func aStartRemovesThem() async throws {
        let files = FaultyFileStore()
        var partition = try open(files)
        for i in 0..<900 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 400), key: "k\(i)")) }
        while files.paths.count(where: { $0.hasSuffix(".lineage") }) < partition.segmentCount - 1 { pauseBriefly() }
        partition.close()
        let before = files.paths
        for name in ["0000000777.lineage", "0000000777.keys", "0000000778.sidecar"] { try self.put(name, files) }
        // None of ours.
        for name in ["notes.lineage", "777.keys"] { try self.put(name, files) }
        // Offline nothing is touched.
        let finding = JournalInspection.verify(.data(0), of: "/journal", files: files)
        #expect(finding.report.isOK && files.paths.count == before.count + 5)
        partition = try open(files)
        partition.close()
        func derived(_ paths: [String]) -> Set<String> { Set(paths.filter { !$0.hasSuffix(".segment") }) }
        let own = Set(["notes.lineage", "777.keys"].map { "\(directory)/\($0)" })
        #expect(derived(files.paths) == derived(before).union(own))
    }

    /// A file that is being made when its segment is trimmed is gone with it.
    @Test func aTrimLeavesNone() async throws {
        let files = FaultyFileStore()
        let source = try open(files, at: "/source/data-0")
        for i in 0..<900 { _ = try await source.append(entry(numbered(UInt64(i), bytes: 400))) }
        let members = Membership(voters: [ReplicaID(1)])
        let store = try ReplicaStore(
            partition: .data(0), directory: directory, replica: ReplicaID(1), members: members,
            settings: smallSettings(),
            files: files, clock: HLCClock(physical: { FakeWall().read() }))
        var next: JournalOffset = 1
        while next <= 900 {
            let run = try source.log.frames(from: next, through: 900, maxBytes: 32 << 10)
            try store.write(run)
            next += UInt64(run.count)
            try store.sync()
            store.commit(through: next - 1, hlc: source.lastHLC)
        }
        try store.sync()
        source.close()
        let first = try #require(store.log.segments.withLock { $0.first })
        let index = SegmentName.lineage(ofSegmentAt: first.path)
        while !files.exists(index) { pauseBriefly() }
        try files.remove(index)

        let gate = Gate()
        files.beforeWritesAndSyncs { operation, path in
            if operation == .write, path == index + AtomicFile.suffix { gate.pass() }
        }
        gate.close()
        let maker = try Worker(name: "maker") { store.log.lineage.makeIfMissing(first, store.log) }
        await gate.waitUntilHeld()
        let isTrimmed = Atomic(false)
        let trimmer = try Worker(name: "trimmer") {
            try? store.trim(
                to: LogStart(position: LogPosition(index: first.lastOffset, term: first.term), membership: members))
            isTrimmed.store(true, ordering: .releasing)
        }
        while store.log.firstOffset <= first.lastOffset { pauseBriefly() }
        // Whoever does not wait for the file is done before it is there.
        for _ in 0..<20_000 where !isTrimmed.load(ordering: .acquiring) { pauseBriefly() }
        gate.open()
        maker.join()
        trimmer.join()
        #expect(isTrimmed.load(ordering: .acquiring) && !files.exists(first.path))
        #expect(files.paths.filter { $0.hasPrefix(first.path.dropLast(".segment".count)) } == [])
        store.close()
    }

    /// What can be made again waits for no disk.
    @Test func anIndexIsNotSynced() throws {
        let files = FaultyFileStore()
        let synced = Mutex<[String]>([])
        files.beforeWritesAndSyncs { operation, path in
            if operation == .sync { synced.withLock { $0.append(path) } }
        }
        try AtomicFile.replace("/f", with: [1, 2, 3], in: files, isDurable: false)
        #expect(files.contents("/f") == [1, 2, 3] && synced.withLock { $0.isEmpty })
        try AtomicFile.replace("/f", with: [4], in: files)
        #expect(files.contents("/f") == [4] && synced.withLock { $0 } == ["/f" + AtomicFile.suffix])
        files.inject(.ioError(.rename))
        #expect(throws: FileFault.self) { try AtomicFile.replace("/f", with: [5], in: files, isDurable: false) }
        #expect(files.contents("/f") == [4] && files.paths == ["/f"], "nothing is left aside")
    }
}

extension Segment {
    fileprivate var count: Int { Int(self.lastOffset + 1 - self.firstOffset) }
}
