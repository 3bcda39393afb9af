package import FileStore
internal import Glibc
internal import Primitives
internal import Synchronization

/// A disk in memory that keeps apart what was written and what is durable, and fails as a test tells it to.
///
/// Bytes last after `sync` of their file, names after `syncDirectory` of their folder, both strictly as POSIX says and no better.
/// ``restart(_:)`` is what comes after a crash: open files of the life before answer every call with a fault, so that threads
/// still running in the test's process are as dead as the process they stand for.
package final class FaultyFileStore: FileStore {
    /// What a crash leaves of writes that were not synced.
    package enum Crash: Sendable, Equatable {
        /// All: the process was killed, the system went on.
        case process
        /// Nothing: the power went.
        case power
        /// The power went while the system was writing back: any sectors of any writes, any of the names.
        case powerTearing
    }

    /// Calls that fail.
    package struct Fault: Sendable {
        package var operations: Set<FileFault.Operation>
        package var errno: Int32
        /// Matching calls that still succeed before.
        package var after: Int
        /// Matching calls that fail then.
        package var count: Int
        /// Only files whose path ends so; nil for all.
        package var suffix: String?
        /// A failing write leaves its first part written, as a disk that fills does.
        package var leavesPart: Bool

        package init(
            _ operations: Set<FileFault.Operation>, errno: Int32, after: Int = 0, count: Int = 1, suffix: String? = nil,
            leavesPart: Bool = true
        ) {
            self.operations = operations
            self.errno = errno
            self.after = after
            self.count = count
            self.suffix = suffix
            self.leavesPart = leavesPart
        }

        package static func diskFull(after: Int = 0, count: Int = 1, leavesPart: Bool = true) -> Fault {
            Fault([.write, .preallocate, .create], errno: ENOSPC, after: after, count: count, leavesPart: leavesPart)
        }
        package static func ioError(_ operation: FileFault.Operation, after: Int = 0, count: Int = 1) -> Fault {
            Fault([operation], errno: EIO, after: after, count: count)
        }
    }

    let disk: Mutex<MemoryDisk>
    private let hook = Mutex<(@Sendable (FileFault.Operation, String) -> Void)?>(nil)

    /// - Parameters:
    ///   - seed: Decides what a tearing crash keeps. Print it when a test fails.
    ///   - capacity: Bytes of files that fit.
    package init(seed: UInt64 = 0, capacity: Int = 1 << 40) {
        self.disk = Mutex(MemoryDisk(rng: SeededRNG(seed: seed), capacity: capacity))
    }

    // MARK: What tests say

    package func inject(_ fault: Fault) { self.disk.withLock { $0.faults.append(fault) } }
    package func clearFaults() { self.disk.withLock { $0.faults = [] } }
    package func setCapacity(_ bytes: Int) { self.disk.withLock { $0.capacity = bytes } }

    /// After so many further changing calls (write, sync, preallocate, truncate, create, rename, remove, folder sync) the power is
    /// off: that call and all later ones fail, until ``restart(_:)``. Nil: never.
    package func powerOff(afterCalls calls: Int?) { self.disk.withLock { $0.callsLeft = calls } }
    package var isPowerOff: Bool { self.disk.withLock { $0.isOff } }
    /// Changing calls so far.
    package var calls: Int { self.disk.withLock { $0.calls } }

    /// Called before each write and sync of a file, on the thread that calls; it may block, which is how a test holds a disk still.
    package func beforeWritesAndSyncs(_ hook: (@Sendable (FileFault.Operation, String) -> Void)?) {
        self.hook.withLock { $0 = hook }
    }
    func announce(_ operation: FileFault.Operation, _ path: String) { self.hook.withLock { $0 }?(operation, path) }

    /// The machine, or the process, comes up again.
    package func restart(_ crash: Crash) { self.disk.withLock { $0.restart(crash) } }

    /// Bits flipped on the disk itself: durable, and seen by all.
    package func flip(_ path: String, byte: Int, mask: UInt8 = 1) {
        self.edit(path) { $0[byte] ^= mask }
    }
    /// Changes a file behind everybody's back; durable.
    package func edit(_ path: String, _ change: (inout [UInt8]) -> Void) {
        self.disk.withLock { disk in
            guard let node = disk.names[path] else { preconditionFailure("no file \(path)") }
            change(&node.current)
            node.durable = node.current
            node.pending = []
        }
    }
    package func contents(_ path: String) -> [UInt8]? { self.disk.withLock { $0.names[path]?.current } }
    /// Paths of all files, sorted.
    package var paths: [String] { self.disk.withLock { $0.names.keys.sorted() } }
    package var usedBytes: Int { self.disk.withLock { $0.used } }

    /// The same files, all durable, on a disk of their own.
    package func copy(seed: UInt64 = 0) -> FaultyFileStore {
        let copy = FaultyFileStore(seed: seed)
        let (names, folders) = self.disk.withLock { disk in (disk.names.mapValues { $0.current }, disk.folders) }
        copy.disk.withLock { disk in
            disk.folders = folders
            for (path, bytes) in names { disk.addDurable(path, bytes) }
        }
        return copy
    }

    // MARK: FileStore

    package func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File {
        try self.disk.withLock { (disk) throws(FileFault) in
            if let node = disk.names[path] {
                try disk.check(.open, path)
                if mode == .createNew { throw FileFault(path: path, operation: .create, errno: EEXIST) }
                return FaultyFile(path: path, node: node, store: self, life: disk.life)
            }
            guard mode == .create || mode == .createNew else { throw FileFault(path: path, operation: .open, errno: ENOENT) }
            guard disk.folders.contains(Paths.parent(path)) else { throw FileFault(path: path, operation: .create, errno: ENOENT) }
            try disk.change(.create, path)
            let node = MemoryNode()
            disk.names[path] = node
            return FaultyFile(path: path, node: node, store: self, life: disk.life)
        }
    }

    package func list(_ directory: String) throws(FileFault) -> [String] {
        try self.disk.withLock { (disk) throws(FileFault) in
            try disk.check(.list, directory)
            guard disk.folders.contains(directory) else { throw FileFault(path: directory, operation: .list, errno: ENOENT) }
            let all = Array(disk.names.keys) + disk.folders.filter { $0 != directory }
            return all.filter { Paths.parent($0) == directory }.map(Paths.name).sorted()
        }
    }

    package func exists(_ path: String) -> Bool {
        self.disk.withLock { $0.names[path] != nil || $0.folders.contains(path) }
    }

    package func createDirectory(_ path: String) throws(FileFault) {
        try self.disk.withLock { (disk) throws(FileFault) in
            guard !disk.folders.contains(path) else { return }
            try disk.change(.create, path)
            // The real store syncs the folder above each that it makes, so a new one lasts at once.
            var path = path
            while disk.folders.insert(path).inserted { path = Paths.parent(path) }
        }
    }

    package func rename(_ path: String, to target: String) throws(FileFault) {
        try self.disk.withLock { (disk) throws(FileFault) in
            guard let node = disk.names[path] else { return try disk.renameFolder(path, to: target) }
            try disk.change(.rename, path)
            disk.names[path] = nil
            disk.names[target] = node
        }
    }

    package func remove(_ path: String) throws(FileFault) {
        try self.disk.withLock { (disk) throws(FileFault) in
            guard disk.names[path] != nil else { throw FileFault(path: path, operation: .remove, errno: ENOENT) }
            try disk.change(.remove, path)
            disk.names[path] = nil
        }
    }

    package func removeTree(_ path: String) throws(FileFault) {
        try self.disk.withLock { (disk) throws(FileFault) in
            try disk.change(.remove, path)
            let below = path + "/"
            for name in disk.names.keys where name == path || name.hasPrefix(below) { disk.names[name] = nil }
            disk.renamed.removeAll { $0.to == path || $0.to.hasPrefix(below) }
            disk.folders = disk.folders.filter { $0 != path && !$0.hasPrefix(below) }
        }
    }

    package func syncDirectory(_ path: String) throws(FileFault) {
        try self.disk.withLock { (disk) throws(FileFault) in
            try disk.change(.sync, path)
            disk.syncNames(in: path)
        }
    }

    package func freeBytes(_ path: String) throws(FileFault) -> Int {
        try self.disk.withLock { (disk) throws(FileFault) in
            try disk.check(.freeSpace, path)
            return max(0, disk.capacity - disk.used)
        }
    }

    package func lock(_ path: String) throws(FileFault) -> any FileLock {
        try self.disk.withLock { (disk) throws(FileFault) in
            guard disk.locks.insert(path).inserted else { throw FileFault(path: path, operation: .lock, errno: EWOULDBLOCK) }
            return FaultyLock(path: path, store: self, life: disk.life)
        }
    }
}

private final class FaultyLock: FileLock {
    private let path: String
    private let store: FaultyFileStore
    private let life: Int

    init(path: String, store: FaultyFileStore, life: Int) {
        self.path = path
        self.store = store
        self.life = life
    }

    deinit { self.release() }

    func release() {
        self.store.disk.withLock { disk in
            if disk.life == self.life { disk.locks.remove(self.path) }
        }
    }
}
