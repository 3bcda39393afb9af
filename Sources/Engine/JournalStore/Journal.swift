package import FileStore
package import HLC
package import Primitives
internal import Synchronization

/// All journal partitions of a process, one folder each under one directory, and the clock they share.
///
///     directory/lock          held while open: two processes never write one journal
///     directory/hlc-bound     the persisted clock bound
///     directory/data-0/ ...   one folder a partition: its segments, their sidecars, the durable mark
package final class Journal: Sendable {
    package let clock: HLCClock
    /// Sorted.
    package let partitions: [JournalPartition]
    private let home: JournalHome
    private let isClosing = Atomic(false)

    /// Opens `data-0..n-1`, `txn-0` and `sys-0`, and every partition found on disk.
    ///
    /// - Parameters:
    ///   - dataPartitions: 1 or more.
    ///   - physicalClock: Milliseconds since 1970.
    /// - Throws: What a partition throws; `.failedPrecondition`, reason `JOURNAL_LOCKED`, if another process has it open.
    package init(
        directory: String, dataPartitions: Int, settings: JournalSettings = JournalSettings(), files: any FileStore,
        maxClockOffset: UInt64 = HLCState.defaultMaxOffset,
        physicalClock: @escaping @Sendable () -> UInt64 = { SystemClock.wallMilliseconds() },
        observer: (any JournalObserver)? = nil
    ) throws(VecraftError) {
        let home = try JournalHome(
            directory: directory, dataPartitions: dataPartitions, files: files, maxClockOffset: maxClockOffset,
            physicalClock: physicalClock)
        self.home = home
        self.clock = home.clock
        for id in home.partitions where ReplicaStore.isReplica(home.directory(of: id), files) {
            throw VecraftError(
                .failedPrecondition,
                "\(home.directory(of: id)) is a replica of a group: start the node with cluster.node_id and cluster.peers",
                field: "cluster.node_id", reason: "REPLICA_OF_A_GROUP")
        }
        self.partitions = try Self.open(home, settings: settings, files: files, observer: observer)
    }

    package subscript(id: PartitionID) -> JournalPartition? { self.partitions.first { $0.id == id } }

    /// Why the clock's bound could not be made durable, if so: after a restart time could then repeat. For readiness.
    package var clockFault: FileFault? { self.home.clockFault }

    /// Closes every partition, then settles the clock's bound and lets go of the directory.
    package func close() {
        guard !self.isClosing.exchange(true, ordering: .acquiringAndReleasing) else { return }
        for partition in self.partitions { partition.close() }
        self.home.close()
    }

    private static func open(
        _ home: JournalHome, settings: JournalSettings, files: any FileStore, observer: (any JournalObserver)?
    ) throws(VecraftError) -> [JournalPartition] {
        var open: [JournalPartition] = []
        do throws(VecraftError) {
            for id in home.partitions {
                open.append(
                    try JournalPartition(
                        id: id, directory: home.directory(of: id), settings: settings, files: files, clock: home.clock,
                        observer: observer))
            }
        } catch {
            for partition in open { partition.close() }
            throw error
        }
        return open
    }
}

/// A process's hold on a journal's folder: its lock, its partitions' names, and the clock with its bound.
package final class JournalHome: Sendable {
    package let clock: HLCClock
    /// Sorted: those that are wanted, and those found on disk.
    package let partitions: [PartitionID]
    private let directory: String
    let files: any FileStore
    private let bound: HLCBoundFile
    private let lock: any FileLock
    private let keeping: BoundKeeping
    private let boundKeeper: Worker

    /// - Throws: `.failedPrecondition`, reason `JOURNAL_LOCKED`, if another process has it open.
    package init(
        directory: String, dataPartitions: Int, files: any FileStore, maxClockOffset: UInt64 = HLCState.defaultMaxOffset,
        physicalClock: @escaping @Sendable () -> UInt64 = { SystemClock.wallMilliseconds() }
    ) throws(VecraftError) {
        guard (1...1024).contains(dataPartitions) else { throw .invalid("journal.data_partitions", "1 to 1,024") }
        try onDisk { () throws(FileFault) in try files.createDirectory(directory) }
        self.directory = directory
        self.files = files
        self.lock = try Self.lock(directory, files)
        let bound = try HLCBoundFile(path: Paths.join(directory, "hlc-bound"), files: files)
        let clock = HLCClock(
            bound: bound.found, maxOffset: maxClockOffset, physical: physicalClock, persistedBound: { bound.persist($0) })
        self.bound = bound
        self.clock = clock
        self.partitions = try Self.ids(directory, dataPartitions: dataPartitions, files)
        let keeping = BoundKeeping(clock: clock)
        self.keeping = keeping
        self.boundKeeper = try Worker(name: "hlc-bound") { keeping.run() }
    }

    deinit { self.keeping.stop() }

    package func directory(of partition: PartitionID) -> String { Paths.join(self.directory, partition.description) }
    package func file(_ name: String) -> String { Paths.join(self.directory, name) }
    package var clockFault: FileFault? { self.bound.fault }

    /// Settles the clock's bound and lets go of the directory. Once, when nothing takes timestamps any more.
    package func close() {
        self.keeping.stop()
        self.boundKeeper.join()
        self.clock.settleBound()
        self.lock.release()
    }

    private static func lock(_ directory: String, _ files: any FileStore) throws(VecraftError) -> any FileLock {
        do throws(FileFault) {
            return try files.lock(Paths.join(directory, "lock"))
        } catch {
            guard error.isHeldElsewhere else { throw error.vecraftError }
            throw VecraftError(
                .failedPrecondition, "the journal in \(directory) is open in another process", reason: "JOURNAL_LOCKED")
        }
    }

    private static func ids(
        _ directory: String, dataPartitions: Int, _ files: any FileStore
    ) throws(VecraftError) -> [PartitionID] {
        let names = try onDisk { () throws(FileFault) in try files.list(directory) }
        let found = names.compactMap { name in PartitionID(name).flatMap { $0.description == name ? $0 : nil } }
        return Set(found + (0..<dataPartitions).map { PartitionID.data(UInt16($0)) } + [.txn, .sys]).sorted()
    }
}

/// Moves the clock's persisted bound ahead before anyone has to wait for it.
private final class BoundKeeping: Sendable {
    private let clock: HLCClock
    private let wake = Signal()
    private let isStopped = Atomic(false)

    init(clock: HLCClock) { self.clock = clock }

    func run() {
        while !self.isStopped.load(ordering: .acquiring) {
            self.clock.extendBound()
            // The bound lies a second ahead: about three writes a second keep more than half of it.
            self.wake.wait(milliseconds: 250)
        }
    }

    func stop() {
        self.isStopped.store(true, ordering: .releasing)
        self.wake.raise()
    }
}
