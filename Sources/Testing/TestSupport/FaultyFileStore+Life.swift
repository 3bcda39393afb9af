package import FileStore
internal import Glibc
internal import Synchronization

extension FaultyFileStore {
    /// The disk as a process sees it that starts now: dead for it with the next ``restart(_:)``, by name as by open file.
    ///
    /// A thread of the life before may be in the middle of something: what it would still create, rename or remove by name, no
    /// process that was killed ever did.
    package var ofThisLife: any FileStore { LivingFiles(store: self, life: self.disk.withLock { $0.life }) }
}

private struct LivingFiles: FileStore {
    let store: FaultyFileStore
    let life: Int

    private func alive<T>(
        _ operation: FileFault.Operation, _ path: String, _ body: () throws(FileFault) -> T
    ) throws(FileFault) -> T {
        guard self.store.disk.withLock({ $0.life == self.life }) else {
            throw FileFault(path: path, operation: operation, errno: EBADF)
        }
        return try body()
    }

    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File {
        try self.alive(.open, path) { () throws(FileFault) in try self.store.open(path, mode) }
    }
    func list(_ directory: String) throws(FileFault) -> [String] {
        try self.alive(.list, directory) { () throws(FileFault) in try self.store.list(directory) }
    }
    func exists(_ path: String) -> Bool { self.store.exists(path) }
    func createDirectory(_ path: String) throws(FileFault) {
        try self.alive(.create, path) { () throws(FileFault) in try self.store.createDirectory(path) }
    }
    func rename(_ path: String, to target: String) throws(FileFault) {
        try self.alive(.rename, path) { () throws(FileFault) in try self.store.rename(path, to: target) }
    }
    func remove(_ path: String) throws(FileFault) {
        try self.alive(.remove, path) { () throws(FileFault) in try self.store.remove(path) }
    }
    func removeTree(_ path: String) throws(FileFault) {
        try self.alive(.remove, path) { () throws(FileFault) in try self.store.removeTree(path) }
    }
    func syncDirectory(_ path: String) throws(FileFault) {
        try self.alive(.sync, path) { () throws(FileFault) in try self.store.syncDirectory(path) }
    }
    func freeBytes(_ path: String) throws(FileFault) -> Int {
        try self.alive(.freeSpace, path) { () throws(FileFault) in try self.store.freeBytes(path) }
    }
    func lock(_ path: String) throws(FileFault) -> any FileLock {
        try self.alive(.lock, path) { () throws(FileFault) in try self.store.lock(path) }
    }
}
