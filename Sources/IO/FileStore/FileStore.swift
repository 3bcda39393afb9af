/// How a file is opened.
package enum OpenMode: Sendable {
    /// Must exist.
    case read
    /// Must exist.
    case readWrite
    /// Read and write; made empty if it does not exist, kept as it is if it does.
    case create
    /// Read and write; must not exist.
    case createNew
}

/// The disk as a port, so that tests can break it. Paths are absolute or relative to the working directory.
///
/// Durability is POSIX's: bytes last after ``File/sync()``, a name (created, renamed, removed) after ``syncDirectory(_:)``.
package protocol FileStore: Sendable {
    func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File
    /// Names of files and folders, sorted, without "." and "..".
    func list(_ directory: String) throws(FileFault) -> [String]
    func exists(_ path: String) -> Bool
    /// With all that is missing above it; fine if it is there.
    func createDirectory(_ path: String) throws(FileFault)
    /// Replaces `target` at once, if it exists.
    func rename(_ path: String, to target: String) throws(FileFault)
    func remove(_ path: String) throws(FileFault)
    /// A file, or a folder with all in it; fine if nothing is there.
    func removeTree(_ path: String) throws(FileFault)
    func syncDirectory(_ path: String) throws(FileFault)
    /// What an unprivileged writer may still use of the file system that holds `path`.
    func freeBytes(_ path: String) throws(FileFault) -> Int
    /// Takes the exclusive lock of a file, made if absent; it ends with the returned object or the process.
    ///
    /// - Throws: errno `EWOULDBLOCK` if another process (or store) holds it.
    func lock(_ path: String) throws(FileFault) -> any FileLock
}

package protocol FileLock: AnyObject, Sendable {
    func release()
}

/// An open file. All positions are bytes from its start. Any thread may call; writers of one range must agree among themselves.
package protocol File: AnyObject, Sendable {
    var path: String { get }
    /// Fills `buffer` from `position`.
    ///
    /// - Returns: Bytes read; fewer than asked only at the end of the file.
    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) -> Int
    /// Writes all of `bytes`. A fault may leave a part written.
    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(FileFault)
    /// Writes the parts one behind the other, as one write where the system can.
    func write(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>, at position: Int) throws(FileFault)
    /// Makes the contents durable, and the size if it changed (`fdatasync`). After a fault nothing is known about what is
    /// durable: never retried as success.
    func sync() throws(FileFault)
    /// Reserves blocks up to `bytes`, and makes the file that long if it is shorter. What was not written reads as zero.
    func preallocate(_ bytes: Int) throws(FileFault)
    func truncate(to bytes: Int) throws(FileFault)
    func size() throws(FileFault) -> Int
    /// Maps the whole file for reading. Later writes through this store may or may not show.
    func map() throws(FileFault) -> FileMapping
    /// Gives back the system's memory for bytes that will hardly be read soon. A hint: nothing is lost.
    func releaseCache()
    /// Further calls are bugs. Also done when the object goes.
    func close()
}

extension File {
    /// Reads exactly `buffer.count` bytes.
    package func readExactly(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) {
        guard try self.read(into: buffer, at: position) == buffer.count else {
            throw FileFault(path: self.path, operation: .read, errno: 0)
        }
    }

    package func write(_ bytes: [UInt8], at position: Int) throws(FileFault) {
        try bytes.withUnsafeBufferPointer { (buffer) throws(FileFault) in
            try self.write(UnsafeRawBufferPointer(buffer), at: position)
        }
    }
}

/// A file's bytes in memory, read only; unmapped (or freed) when the object goes.
package final class FileMapping: Sendable {
    /// Valid while this object lives. 4 KiB aligned when it is a real mapping, at least 64 bytes otherwise.
    package nonisolated(unsafe) let bytes: UnsafeRawBufferPointer  // never written after init; freed only in deinit
    private let release: @Sendable (UnsafeRawBufferPointer) -> Void

    package init(bytes: UnsafeRawBufferPointer, release: @escaping @Sendable (UnsafeRawBufferPointer) -> Void) {
        self.bytes = bytes
        self.release = release
    }

    deinit { self.release(self.bytes) }
}

extension FileStore {
    /// A whole small file. At most `limit` bytes: more is a fault (`EFBIG`), for these files have a known scale.
    package func readWhole(_ path: String, limit: Int = 64 << 20) throws(FileFault) -> [UInt8] {
        let file = try self.open(path, .read)
        defer { file.close() }
        let size = try file.size()
        guard size <= limit else { throw FileFault(path: path, operation: .read, errno: 27 /* EFBIG */) }
        var bytes = [UInt8](repeating: 0, count: size)
        let count = try bytes.withUnsafeMutableBufferPointer { (buffer) throws(FileFault) in
            try file.read(into: UnsafeMutableRawBufferPointer(buffer), at: 0)
        }
        bytes.removeLast(size - count)
        return bytes
    }

    /// Waits for the stored name of `path`: syncs the folder that holds it.
    package func syncParent(of path: String) throws(FileFault) {
        try self.syncDirectory(Paths.parent(path))
    }
}

/// Just enough of paths: no dots are resolved, no links followed.
package enum Paths {
    package static func join(_ directory: String, _ name: String) -> String {
        directory.hasSuffix("/") ? directory + name : directory + "/" + name
    }
    /// The folder that holds `path`; "." if it says none.
    package static func parent(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }
    package static func name(_ path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return path }
        return String(path[path.index(after: slash)...])
    }
}
