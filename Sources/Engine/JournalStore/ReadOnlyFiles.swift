internal import FileStore

/// A disk on which nothing is ever changed: reads go to the real one, and all else is done as if it were.
///
/// So that the very code that recovers a log can be asked what it would find and do, on a folder that must stay as it is.
struct ReadOnlyFiles: FileStore {
    let base: any FileStore

    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File {
        if mode == .create, !self.base.exists(path) { return BlankFile(path: path) }
        return ReadOnlyFile(base: try self.base.open(path, .read))
    }
    func list(_ directory: String) throws(FileFault) -> [String] { try self.base.list(directory) }
    func exists(_ path: String) -> Bool { self.base.exists(path) }
    func createDirectory(_ path: String) throws(FileFault) {}
    func rename(_ path: String, to target: String) throws(FileFault) {}
    func remove(_ path: String) throws(FileFault) {}
    func removeTree(_ path: String) throws(FileFault) {}
    func syncDirectory(_ path: String) throws(FileFault) {}
    func freeBytes(_ path: String) throws(FileFault) -> Int { try self.base.freeBytes(path) }
    func lock(_ path: String) throws(FileFault) -> any FileLock { preconditionFailure("a lock of \(path), only to read") }
}

private final class ReadOnlyFile: File {
    private let base: any File
    init(base: any File) { self.base = base }

    var path: String { self.base.path }
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) -> Int {
        try self.base.read(into: buffer, at: position)
    }
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(FileFault) {}
    func write(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>, at position: Int) throws(FileFault) {}
    func sync() throws(FileFault) {}
    func preallocate(_ bytes: Int) throws(FileFault) {}
    func truncate(to bytes: Int) throws(FileFault) {}
    func size() throws(FileFault) -> Int { try self.base.size() }
    func map() throws(FileFault) -> FileMapping { try self.base.map() }
    func releaseCache() { self.base.releaseCache() }
    func close() { self.base.close() }
}

/// What a file that does not exist would be after it was made: zeroes without end.
private final class BlankFile: File {
    let path: String
    init(path: String) { self.path = path }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) -> Int {
        buffer.initializeMemory(as: UInt8.self, repeating: 0)
        return buffer.count
    }
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(FileFault) {}
    func write(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>, at position: Int) throws(FileFault) {}
    func sync() throws(FileFault) {}
    func preallocate(_ bytes: Int) throws(FileFault) {}
    func truncate(to bytes: Int) throws(FileFault) {}
    func size() throws(FileFault) -> Int { 0 }
    func map() throws(FileFault) -> FileMapping { throw FileFault(path: self.path, operation: .read, errno: 0) }
    func releaseCache() {}
    func close() {}
}
