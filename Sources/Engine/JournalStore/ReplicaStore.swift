package import FileStore
package import HLC
package import JournalFormat
package import Primitives
package import Raft
internal import Synchronization

/// One replica's log and state on disk, under a ``RaftReplica`` that decides what is written.
///
/// Two sides. The disk's thread: ``write(_:)``, ``cut(from:)``, ``sync()``, ``save(_:)``, ``trim(to:)``, ``adopt(_:)``; one call after the
/// other. Any thread: reading what is committed, and frames for other replicas.
///
/// The folder of a partition holds the segments, as without replication, and beside them:
///
///     replica-state      term, vote, log start (``ReplicaStateFile``)
///     commit-mark        how far the log was known to be committed, a hint: written without a sync, and true when it is there
///     trimmed-keys       idempotency keys of entries that were trimmed and are still remembered
///     log-n/             the log, after the n-th time it came as a whole from a leader
///     read-all           a frame was found damaged: the next start trusts no sidecar
package final class ReplicaStore: @unchecked Sendable {  // `disk` is touched by the disk's thread alone, after init
    package let partition: PartitionID
    package let replica: ReplicaID
    package let settings: JournalSettings
    /// What was found at the start.
    package let found: RaftStart
    /// Damage that ends the found log, for a person.
    package let lossFound: String?
    /// Committed at least through here, as this replica knew before it was started.
    package let knownCommit: JournalOffset
    package let recoveredCuts: [String]
    let log: PartitionLog
    private let files: any FileStore
    private let directory: String
    private let nextGeneration: Atomic<UInt32>
    private let observer: (any JournalObserver)?
    private var disk: Disk

    /// What the disk's thread alone touches.
    private struct Disk {
        var state: ReplicaStateFile
        var writer: RunWriter
        var folder: String
        var commitMark: DurableMark
        var loss: Recovery.Loss?
    }

    /// The idempotency keys found, for the replica's own table.
    package let keysFound: IdempotencyTable

    /// Opens or makes a replica's folder.
    ///
    /// - Parameters:
    ///   - members: Of a group that begins; ``Membership/none`` for a replica that is going to be added to one.
    /// - Throws: `.failedPrecondition` if the folder is another replica's, or holds a journal that this group cannot have; damage
    ///   that no other replica can mend.
    package init(
        partition: PartitionID, directory: String, replica: ReplicaID, members: Membership, settings: JournalSettings,
        files: any FileStore, clock: HLCClock, observer: (any JournalObserver)? = nil
    ) throws(VecraftError) {
        try settings.validate()
        self.partition = partition
        self.replica = replica
        self.settings = settings
        self.files = files
        self.directory = directory
        self.observer = observer
        try onDisk { () throws(FileFault) in try files.createDirectory(directory) }
        let state = try Self.state(partition, directory, replica, members, files)
        let folder = Self.folder(directory, state.generation)
        self.nextGeneration = Atomic(state.generation)
        try onDisk { () throws(FileFault) in try Self.removeOtherLogs(directory, state.generation, files) }
        let readsAll = files.exists(Paths.join(directory, Self.readAllName))
        var recovery = try Recovery(
            partition: partition, directory: folder, files: files, start: state.start.position.index, keepsDamage: true,
            readsAll: readsAll)
        let maker = SegmentMaker(
            partition: partition, directory: folder, files: files, settings: settings, salt: { UInt32.random(in: .min ... .max) })
        let active = try recovery.openLast(with: maker)
        clock.restore(last: recovery.lastHLC)
        let commitMark = try DurableMark(directory: directory, name: SegmentName.commitMark, files: files)
        let last = recovery.segments[recovery.segments.count - 1].lastOffset
        self.knownCommit = max(state.start.position.index, min(commitMark.durable, last))
        self.log = PartitionLog(
            partition: partition, directory: directory, files: files, segments: recovery.segments, term: state.hard.term,
            start: state.start.position.index, committed: self.knownCommit, indexesLineage: settings.indexesLineage)
        self.recoveredCuts = recovery.cuts.map { "\($0.path), byte \($0.position): a torn tail of \($0.bytes) bytes was cut" }
        for cut in recovery.cuts { observer?.tailCut(partition: partition, file: cut.path, position: cut.position, bytes: cut.bytes) }
        observer?.segments(partition: partition, count: self.log.segmentCount, diskBytes: self.log.diskBytes)
        let summary = try Self.summary(self.log, start: state.start)
        if let loss = recovery.loss, summary.members.filter({ $0.id != replica && ($0.isVoter || $0.isOutgoing) }).isEmpty {
            throw VecraftError(
                .dataLoss, "\(loss.what); no other replica has it", reason: "JOURNAL_DAMAGED")
        }
        self.lossFound = recovery.loss?.what
        self.found = RaftStart(hardState: state.hard, log: summary.log, hasLostEntries: recovery.loss != nil)
        var table = IdempotencyTable(window: settings.idempotencyWindow, capacity: settings.idempotencyEntries)
        try Self.fill(&table, from: recovery, folder: folder, settings, files)
        self.keysFound = table
        if readsAll, recovery.loss == nil {
            try onDisk { () throws(FileFault) in try files.remove(Paths.join(directory, Self.readAllName)) }
        }
        let keeper = SegmentKeeper(maker: maker, log: self.log)
        try keeper.start()
        let appender = SegmentAppender(
            log: self.log, settings: settings, maker: maker, keeper: keeper,
            segment: recovery.segments[recovery.segments.count - 1], file: active)
        self.disk = Disk(
            state: state, writer: RunWriter(appender, mark: recovery.mark), folder: folder, commitMark: commitMark,
            loss: recovery.loss)
    }

    // MARK: The disk's thread

    /// Puts entries behind the log's end. They are read by others at once, and durable after ``sync()``.
    ///
    /// - Throws: A full disk: nothing of what is left is written, try again with the same run. Anything else: the replica must end.
    package func write(_ run: FrameRun) throws(FileFault) { try self.disk.writer.write(run) }

    /// Makes durable what was written.
    package func sync() throws(FileFault) { try self.disk.writer.sync(committed: self.log.committed) }

    /// Removes the log from an offset on, durably.
    package func cut(from offset: JournalOffset) throws(FileFault) {
        let appender = self.disk.writer.appender
        guard offset > self.log.committed else {
            // A leader that lacks what was committed: this log may be the last that has it. The replica ends, and a person must look.
            throw FileFault(
                path: "entry \(offset) of \(self.log.partition) is committed (through \(self.log.committed)) and was to be cut",
                operation: .write, errno: 5 /* EIO */)
        }
        guard offset <= appender.segment.lastOffset else { return }
        // What is said to have been durable must not be what is going to be missing.
        try self.lowerMark(to: offset - 1)
        try appender.keeper.discardPrepared()
        var segments = self.log.segments.withLock { $0 }
        while let last = segments.last, last.firstOffset > offset, segments.count > 1 {
            try SegmentName.removeDerived(of: last.path, self.files)
            try self.files.remove(last.path)
            try self.files.syncDirectory(self.disk.folder)
            segments.removeLast()
        }
        var segment = segments.removeLast()
        let file = try self.files.open(segment.path, .readWrite)
        let place = try Self.place(of: offset, in: segment, file: file)
        try SegmentName.removeDerived(of: segment.path, self.files)
        try self.files.syncDirectory(self.disk.folder)
        segment.cut(
            from: offset, position: place.position, lastHLC: place.before ?? segments.last { !$0.isEmpty }?.lastHLC ?? .zero)
        try file.truncate(to: segment.end)
        try file.sync()
        segment.fileBytes = segment.end
        segments.append(segment)
        self.log.replace(segments: segments, start: self.disk.state.start.position.index)
        appender.resume(segment, file: file)
    }

    private func lowerMark(to offset: JournalOffset) throws(FileFault) {
        guard self.disk.writer.mark.durable > offset else { return }
        try self.disk.writer.mark.advance(to: offset)
        try self.disk.writer.mark.sync()
    }

    private static func place(
        of offset: JournalOffset, in segment: Segment, file: any File
    ) throws(FileFault) -> (position: Int, before: HLCTimestamp?) {
        guard offset > segment.firstOffset else { return (SegmentHeader.bytes, nil) }
        let start = segment.index.floor(offset - 1).position
        var walker = FrameWalker(file: file, salt: segment.salt, from: start, limit: segment.end, checksBodies: false)
        while case .entry(let head, _, let view) = try walker.next() {
            if head.offset == offset - 1 { return (walker.position, view.hlc) }
        }
        throw FileFault(path: segment.path, operation: .read, errno: 0)
    }

    /// Makes term, vote and what belongs to them durable. The first one after a loss also removes the damage.
    package func save(_ hard: HardState) throws(FileFault) {
        if self.disk.state.hard != hard {
            self.disk.state.hard = hard
            try self.disk.state.store(directory: self.directory, files: self.files)
        }
        self.log.set(term: hard.term)
        guard let loss = self.disk.loss else { return }
        self.disk.loss = nil
        try loss.erase(self.files, directory: self.disk.folder)
        try self.disk.writer.appender.cutBack()
        try self.lowerMark(to: self.disk.writer.appender.segment.lastOffset)
        let readAll = Paths.join(self.directory, Self.readAllName)
        if self.files.exists(readAll) { try self.files.remove(readAll) }
    }

    /// Forgets the log at or before a position: whole segments are removed, the newest never.
    package func trim(to start: LogStart) throws(FileFault) {
        let before = self.log.segments.withLock { $0 }
        let gone = before.dropLast().prefix { $0.lastOffset <= start.position.index }
        if !gone.isEmpty { try self.keepKeys(of: Array(gone)) }
        self.disk.state.start = start
        try self.disk.state.store(directory: self.directory, files: self.files)
        self.log.replace(segments: Array(self.log.segments.withLock { $0 }.dropFirst(gone.count)), start: start.position.index)
        try self.log.lineage.whileNoneIsMade { () throws(FileFault) in
            for segment in gone {
                try SegmentName.removeDerived(of: segment.path, self.files)
                try self.files.remove(segment.path)
            }
        }
        try self.files.syncDirectory(self.disk.folder)
        self.observer?.segments(partition: self.partition, count: self.log.segmentCount, diskBytes: self.log.diskBytes)
    }

    /// Keys that are still remembered outlive the entries that had them.
    private func keepKeys(of segments: [Segment]) throws(FileFault) {
        var records = (try? TrimmedKeys.load(directory: self.disk.folder, files: self.files)) ?? []
        for segment in segments { records += try self.keys(of: segment, in: self.disk.folder) }
        try TrimmedKeys.store(self.remembered(records), directory: self.disk.folder, files: self.files)
    }

    private func remembered(_ records: [KeyRecord]) -> [KeyRecord] {
        let table = IdempotencyTable(window: self.settings.idempotencyWindow, capacity: self.settings.idempotencyEntries)
        let now = self.log.lastHLC
        return Array(records.filter { !table.isForgotten($0.hlc, now: now) }.suffix(self.settings.idempotencyEntries))
    }

    private func keys(of segment: Segment, in folder: String) throws(FileFault) -> [KeyRecord] {
        if let known = try? KeyFile.load(of: segment, directory: folder, files: self.files) { return known }
        let file = try self.files.open(segment.path, .read)
        defer { file.close() }
        return try SegmentScan.keys(of: segment, file: file) ?? []
    }

    /// Another log takes the place of the whole: atomically, with the replica's state file.
    ///
    /// - Returns: The keys that came with it.
    package func adopt(_ staged: StagedLog) throws(FileFault) -> IdempotencyTable {
        self.disk.writer.appender.keeper.close()
        self.disk.writer.appender.close()
        self.disk.writer.mark.close()
        self.disk.state.start = staged.transfer.start
        self.disk.state.generation = staged.generation
        try self.disk.state.store(directory: self.directory, files: self.files)
        self.disk.folder = Self.folder(self.directory, staged.generation)
        var table = IdempotencyTable(window: self.settings.idempotencyWindow, capacity: self.settings.idempotencyEntries)
        try asFault { () throws(VecraftError) in
            var recovery = try Recovery(
                partition: self.partition, directory: self.disk.folder, files: self.files,
                start: staged.transfer.start.position.index)
            let maker = SegmentMaker(
                partition: self.partition, directory: self.disk.folder, files: self.files, settings: self.settings,
                salt: { UInt32.random(in: .min ... .max) })
            let file = try recovery.openLast(with: maker)
            self.log.replace(segments: recovery.segments, start: staged.transfer.start.position.index)
            let keeper = SegmentKeeper(maker: maker, log: self.log)
            try keeper.start()
            let appender = SegmentAppender(
                log: self.log, settings: self.settings, maker: maker, keeper: keeper,
                segment: recovery.segments[recovery.segments.count - 1], file: file)
            self.disk.writer = RunWriter(appender, mark: recovery.mark)
            try Self.fill(&table, from: recovery, folder: self.disk.folder, self.settings, self.files)
        }
        try Self.removeOtherLogs(self.directory, staged.generation, self.files)
        return table
    }

    private static func fill(
        _ table: inout IdempotencyTable, from recovery: Recovery, folder: String, _ settings: JournalSettings,
        _ files: any FileStore
    ) throws(VecraftError) {
        for record in try TrimmedKeys.load(directory: folder, files: files)
        where !table.isForgotten(record.hlc, now: recovery.lastHLC) {
            table.insert(.init(record), under: IdempotencyTable.Key(record))
        }
        try recovery.fillIdempotencyTable(&table, settings)
    }

    /// Begins to stage a log beside the present one. From any thread, one at a time.
    package func stage(_ transfer: LogTransfer) throws(VecraftError) -> StagedLog {
        let generation = self.nextGeneration.wrappingAdd(1, ordering: .relaxed).newValue
        return try StagedLog(
            transfer, partition: self.partition, generation: generation, folder: Self.folder(self.directory, generation),
            settings: self.settings, files: self.files)
    }

    /// The last orderly end: nothing is written any more.
    package func close() {
        self.noteCommit()
        try? self.disk.writer.mark.sync()
        try? self.disk.commitMark.sync()
        self.disk.writer.mark.close()
        self.disk.commitMark.close()
        self.disk.writer.appender.keeper.close()
        self.log.notices.end()
    }

    /// The clock's bound and files stay as they are; threads end. After a fault.
    package func abandon() {
        self.disk.writer.appender.keeper.close()
        self.log.notices.end()
    }

    // MARK: Committing (the replica's thread)

    /// Published once committed and written; never goes back.
    package func commit(through offset: JournalOffset, hlc: HLCTimestamp) {
        self.log.commit(through: offset, hlc: hlc)
        self.log.notices.committed(offset)
    }

    /// A hint for the next start; costs a system call, no sync. Segments that are committed to their end are sealed. The disk's
    /// thread.
    package func noteCommit() {
        let committed = self.log.committed
        self.disk.writer.appender.settle(committed: committed)
        guard committed > self.disk.commitMark.durable else { return }
        // Without it the next start learns the same a little later.
        try? self.disk.commitMark.advance(to: committed)
    }

    // MARK: Any thread

    package var committed: JournalOffset { self.log.committed }
    package var firstOffset: JournalOffset { self.log.firstOffset }
    package var lastWritten: JournalOffset { self.log.lastWritten }
    package var lastHLC: HLCTimestamp { self.log.lastHLC }
    package var diskBytes: Int { self.log.diskBytes }
    package var segmentCount: Int { self.log.segmentCount }

    package func read(from: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch {
        try self.notingDamage { () throws(VecraftError) in try self.log.read(from: from, maxBytes: maxBytes) }
    }

    package func onCommit(_ callback: @escaping @Sendable (JournalOffset) -> Void) -> Subscription {
        let notices = self.log.notices
        let id = notices.add(callback)
        return Subscription { notices.remove(id) }
    }

    /// As of ``JournalPartition/verify(deadline:_:)``.
    package func verify(deadline: UInt64 = .max, _ report: (String) -> Void = { _ in }) -> PartitionReport {
        JournalPartition.verify(self.log, deadline: deadline, report)
    }

    /// Written frames for another replica. Damage is remembered: the next start reads everything.
    package func frames(from: JournalOffset, through last: JournalOffset, maxBytes: Int) throws(VecraftError) -> FrameRun {
        try self.notingDamage { () throws(VecraftError) in try self.log.frames(from: from, through: last, maxBytes: maxBytes) }
    }

    private func notingDamage<R>(_ read: () throws(VecraftError) -> R) throws(VecraftError) -> R {
        do throws(VecraftError) { return try read() } catch {
            if error.code == .dataLoss {
                try? AtomicFile.replace(Paths.join(self.directory, Self.readAllName), with: Array(error.message.utf8), in: self.files)
            }
            throw error
        }
    }

    package func extent(from first: JournalOffset, through last: JournalOffset, maxBytes: Int) -> (last: JournalOffset, bytes: Int) {
        self.log.extent(from: first, through: last, maxBytes: maxBytes)
    }

    /// Whether the disk has room for an entry; asks the system now and then. The replica's thread.
    package func checkSpace(for operation: OperationKind, _ space: inout ReplicaSpace) throws(VecraftError) {
        try space.free.check(operation, reserve: self.settings.reserveBytes, directory: self.directory, files: self.files)
    }

    /// All keys of entries at or before an offset that are still remembered, oldest first. May read much.
    package func keys(through offset: JournalOffset) throws(VecraftError) -> [KeyRecord] {
        let segments = self.log.segments.withLock { $0 }
        let folder = Paths.parent(segments[0].path)
        var records = try TrimmedKeys.load(directory: folder, files: self.files)
        do throws(FileFault) {
            for segment in segments where !segment.isEmpty && segment.firstOffset <= offset {
                records += try self.keys(of: segment, in: folder)
            }
        } catch { throw error.vecraftError }
        return self.remembered(records).filter { $0.offset <= offset }
    }

    // MARK: Opening

    /// Whether a folder is a replica's of a group.
    static func isReplica(_ directory: String, _ files: any FileStore) -> Bool {
        files.exists(Paths.join(directory, ReplicaStateFile.name))
    }

    private static let readAllName = "read-all"

    static func folder(_ directory: String, _ generation: UInt32) -> String {
        generation == 0 ? directory : Paths.join(directory, "log-\(generation)")
    }

    private static func state(
        _ partition: PartitionID, _ directory: String, _ replica: ReplicaID, _ members: Membership, _ files: any FileStore
    ) throws(VecraftError) -> ReplicaStateFile {
        if let state = try ReplicaStateFile.load(directory: directory, files: files) {
            guard state.replica == replica else {
                throw VecraftError(
                    .failedPrecondition, "\(directory) belongs to replica \(state.replica), this node is \(replica)",
                    field: "cluster.node_id", reason: "ANOTHER_REPLICA")
            }
            return state
        }
        let names = try onDisk { () throws(FileFault) in try files.list(directory) }
        let isUsed = names.contains { SegmentName.sequence(of: $0) != nil }
        // A group's replicas begin alike. Entries that only one of them has would be outvoted and lost.
        guard !isUsed || members.members.map(\.id) == [replica] else {
            throw VecraftError(
                .failedPrecondition,
                "\(directory) holds entries and no vote: the journal of a node that was alone; start it as the only member of its group (cluster.peers with itself alone), then add the others with --join and 'vecraft journal add-replica'",
                field: "cluster.peers", reason: "JOURNAL_OF_A_SINGLE_NODE")
        }
        let state = ReplicaStateFile(replica: replica, start: LogStart(membership: members))
        try onDisk { () throws(FileFault) in
            try state.store(directory: directory, files: files)
            try files.syncParent(of: directory)
        }
        return state
    }

    /// What a crash left of logs that are not the one in use.
    private static func removeOtherLogs(_ directory: String, _ generation: UInt32, _ files: any FileStore) throws(FileFault) {
        for name in try files.list(directory) {
            let path = Paths.join(directory, name)
            if name.hasPrefix("log-"), path != Self.folder(directory, generation) { try files.removeTree(path) }
            if generation > 0, SegmentName.sequence(of: name) != nil {
                try SegmentName.removeDerived(of: path, files)
                try files.remove(path)
            }
        }
        if generation > 0 { try files.syncDirectory(directory) }
    }

    /// Terms and configurations, as the segments have them.
    static func summary(
        _ log: PartitionLog, start: LogStart
    ) throws(VecraftError) -> (log: LogSummary, members: [Membership.Member]) {
        var summary = LogSummary(start: start)
        var members = start.membership.members
        for segment in log.segments.withLock({ $0 }) where segment.lastOffset > start.position.index {
            for (i, begin) in segment.terms.enumerated() {
                let end = i + 1 < segment.terms.count ? segment.terms[i + 1].offset - 1 : segment.lastOffset
                guard end > start.position.index else { continue }
                for offset in segment.configurations where offset >= begin.offset && offset <= end && offset > start.position.index {
                    if offset - 1 > summary.last.index { summary.append(through: offset - 1, term: begin.term) }
                    let membership = try Self.membership(at: offset, log)
                    summary.append(membership, term: begin.term)
                    members = membership.members
                }
                if end > summary.last.index { summary.append(through: end, term: begin.term) }
            }
        }
        return (summary, members)
    }

    private static func membership(at offset: JournalOffset, _ log: PartitionLog) throws(VecraftError) -> Membership {
        let run = try log.frames(from: offset, through: offset, maxBytes: 0)
        do throws(DecodingFault) {
            return try withExtendedLifetime(run) { () throws(DecodingFault) in
                Membership(try ConfigurationBody(run.view(0).body))
            }
        } catch {
            throw VecraftError(.dataLoss, "entry \(offset) of \(log.partition) is no configuration: \(error)", reason: "JOURNAL_DAMAGED")
        }
    }
}

/// What ``ReplicaStore/checkSpace(for:_:)`` remembers between two questions.
package struct ReplicaSpace {
    var free = FreeSpace()
    package init() {}
}

extension Segment {
    /// The writer's own copy keeps no index.
    mutating func grow(_ entry: WrittenEntry) {
        self.grow(frameBytes: entry.frameBytes, hlc: entry.hlc, term: entry.term)
        if entry.isConfiguration { self.configurations.append(self.lastOffset) }
    }
}

/// An error of the journal, as the fault of the disk that it is.
func asFault(_ body: () throws(VecraftError) -> Void) throws(FileFault) {
    do throws(VecraftError) { try body() } catch {
        throw FileFault(path: error.message, operation: .write, errno: error.reason == "DISK_FULL" ? 28 /* ENOSPC */ : 5 /* EIO */)
    }
}
