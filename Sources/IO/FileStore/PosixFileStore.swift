internal import CPlatform
internal import Glibc

/// The real disk.
package struct PosixFileStore: FileStore {
    package init() {}

    package func open(_ path: String, _ mode: OpenMode) throws(FileFault) -> any File {
        let flags: Int32 =
            switch mode {
            case .read: 0
            case .readWrite: 1
            case .create: 2
            case .createNew: 3
            }
        let descriptor = vc_file_open(path, flags)
        guard descriptor >= 0 else {
            throw FileFault(path: path, operation: flags < 2 ? .open : .create, errno: -descriptor)
        }
        return PosixFile(path: path, descriptor: descriptor)
    }

    package func list(_ directory: String) throws(FileFault) -> [String] {
        guard let stream = opendir(directory) else { throw FileFault(path: directory, operation: .list, errno: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while true {
            errno = 0
            guard let entry = readdir(stream) else { break }
            let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
            if name != ".", name != ".." { names.append(name) }
        }
        guard errno == 0 else { throw FileFault(path: directory, operation: .list, errno: errno) }
        return names.sorted()
    }

    package func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    package func createDirectory(_ path: String) throws(FileFault) {
        if mkdir(path, 0o750) != 0 {
            if errno == EEXIST { return }
            let parent = Paths.parent(path)
            guard errno == ENOENT, parent != path else { throw FileFault(path: path, operation: .create, errno: errno) }
            try self.createDirectory(parent)
            guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
                throw FileFault(path: path, operation: .create, errno: errno)
            }
        }
        // The name of a new folder is as mortal as that of a file.
        try self.syncParent(of: path)
    }

    package func rename(_ path: String, to target: String) throws(FileFault) {
        guard Glibc.rename(path, target) == 0 else { throw FileFault(path: path, operation: .rename, errno: errno) }
    }

    package func remove(_ path: String) throws(FileFault) {
        guard unlink(path) == 0 else { throw FileFault(path: path, operation: .remove, errno: errno) }
    }

    package func removeTree(_ path: String) throws(FileFault) {
        if unlink(path) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else { throw FileFault(path: path, operation: .remove, errno: errno) }
        for name in try self.list(path) { try self.removeTree(Paths.join(path, name)) }
        guard rmdir(path) == 0 || errno == ENOENT else { throw FileFault(path: path, operation: .remove, errno: errno) }
    }

    package func syncDirectory(_ path: String) throws(FileFault) {
        let fault = vc_directory_sync(path)
        guard fault == 0 else { throw FileFault(path: path, operation: .sync, errno: -fault) }
    }

    package func freeBytes(_ path: String) throws(FileFault) -> Int {
        let bytes = vc_free_bytes(path)
        guard bytes >= 0 else { throw FileFault(path: path, operation: .freeSpace, errno: Int32(-bytes)) }
        return Int(bytes)
    }

    package func lock(_ path: String) throws(FileFault) -> any FileLock {
        let descriptor = vc_file_lock(path)
        guard descriptor >= 0 else { throw FileFault(path: path, operation: .lock, errno: -descriptor) }
        return PosixFileLock(descriptor: descriptor)
    }
}

/// Clocks of the machine, for those who hand time to the cores.
package enum SystemClock {
    /// Milliseconds since 1970; may step.
    package static func wallMilliseconds() -> UInt64 { vc_wall_milliseconds() }
    /// Nanoseconds since some start; never steps back.
    package static func monotonicNanoseconds() -> UInt64 { vc_monotonic_nanoseconds() }
    /// The same, and counts the time that the machine was suspended.
    package static func boottimeNanoseconds() -> UInt64 { vc_boottime_nanoseconds() }
}
