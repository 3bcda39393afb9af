internal import CPlatform
internal import Glibc
internal import Synchronization

/// One descriptor.
final class PosixFile: File {
    let path: String
    /// -1 when closed.
    private let descriptor: Atomic<Int32>

    init(path: String, descriptor: Int32) {
        self.path = path
        self.descriptor = Atomic(descriptor)
    }

    deinit { self.close() }

    func close() {
        let descriptor = self.descriptor.exchange(-1, ordering: .acquiringAndReleasing)
        if descriptor >= 0 { _ = Glibc.close(descriptor) }
    }

    private var fd: Int32 { self.descriptor.load(ordering: .relaxed) }

    func read(into buffer: UnsafeMutableRawBufferPointer, at position: Int) throws(FileFault) -> Int {
        guard let base = buffer.baseAddress else { return 0 }
        let count = vc_file_read(self.fd, base, buffer.count, off_t(position))
        guard count >= 0 else { throw self.fault(.read, Int32(-count)) }
        return count
    }

    func write(_ bytes: UnsafeRawBufferPointer, at position: Int) throws(FileFault) {
        guard let base = bytes.baseAddress else { return }
        try self.check(vc_file_write(self.fd, base, bytes.count, off_t(position)), .write)
    }

    func write(_ parts: UnsafeBufferPointer<UnsafeRawBufferPointer>, at position: Int) throws(FileFault) {
        // The system's vector is built on the stack in groups: no allocation however many parts there are.
        let group = 512
        var written = position
        var next = 0
        while next < parts.count {
            let count = min(group, parts.count - next)
            let fault = withUnsafeTemporaryAllocation(of: vc_part.self, capacity: count) { vector -> Int32 in
                var bytes = 0
                for i in 0..<count {
                    let part = parts[next + i]
                    vector[i] = vc_part(base: part.baseAddress, count: part.count)
                    bytes += part.count
                }
                let fault = vc_file_writev(self.fd, vector.baseAddress, count, off_t(written))
                written += bytes
                return fault
            }
            try self.check(fault, .write)
            next += count
        }
    }

    func sync() throws(FileFault) { try self.check(vc_file_sync(self.fd), .sync) }

    func preallocate(_ bytes: Int) throws(FileFault) {
        try self.check(vc_file_preallocate(self.fd, off_t(bytes)), .preallocate)
    }

    func truncate(to bytes: Int) throws(FileFault) {
        guard ftruncate(self.fd, off_t(bytes)) == 0 else { throw self.fault(.truncate, errno) }
    }

    func size() throws(FileFault) -> Int {
        var status = stat()
        guard fstat(self.fd, &status) == 0 else { throw self.fault(.size, errno) }
        return Int(status.st_size)
    }

    func map() throws(FileFault) -> FileMapping {
        let size = try self.size()
        // A mapping of nothing is refused by the system, and is nothing to refuse here.
        guard size > 0 else { return FileMapping(bytes: UnsafeRawBufferPointer(start: nil, count: 0)) { _ in } }
        let base = mmap(nil, size, PROT_READ, MAP_SHARED, self.fd, 0)
        guard let base, base != MAP_FAILED else { throw self.fault(.map, errno) }
        return FileMapping(bytes: UnsafeRawBufferPointer(start: base, count: size)) { bytes in
            munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
        }
    }

    func releaseCache() { vc_file_release_cache(self.fd) }

    private func check(_ result: Int32, _ operation: FileFault.Operation) throws(FileFault) {
        guard result == 0 else { throw self.fault(operation, -result) }
    }

    private func fault(_ operation: FileFault.Operation, _ errno: Int32) -> FileFault {
        FileFault(path: self.path, operation: operation, errno: errno)
    }
}

/// An advisory lock, held by an open descriptor.
final class PosixFileLock: FileLock {
    private let descriptor: Atomic<Int32>
    init(descriptor: Int32) { self.descriptor = Atomic(descriptor) }
    deinit { self.release() }

    func release() {
        let descriptor = self.descriptor.exchange(-1, ordering: .acquiringAndReleasing)
        if descriptor >= 0 { _ = close(descriptor) }
    }
}
