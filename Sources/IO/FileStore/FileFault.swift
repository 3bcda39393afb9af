package import Primitives
internal import Glibc

/// The disk refused: which file, what was asked of it, and the system's answer.
package struct FileFault: Error, Sendable, Equatable, CustomStringConvertible {
    package enum Operation: String, Sendable {
        case open, create, list, rename, remove, read, write, sync, preallocate, truncate, size, map, lock, freeSpace = "free space"
    }

    package let path: String
    package let operation: Operation
    /// `errno`; 0 when a read met the end of the file.
    package let errno: Int32

    package init(path: String, operation: Operation, errno: Int32) {
        self.path = path
        self.operation = operation
        self.errno = errno
    }

    /// No room, or over quota: it may work again when somebody has freed some.
    package var isDiskFull: Bool { self.errno == ENOSPC || self.errno == EDQUOT }
    package var isNotFound: Bool { self.errno == ENOENT }
    /// A lock that somebody else has.
    package var isHeldElsewhere: Bool { self.operation == .lock && (self.errno == EWOULDBLOCK || self.errno == EAGAIN) }

    package var description: String {
        "\(self.operation.rawValue) \(self.path): \(self.errno == 0 ? "unexpected end of file" : String(cString: strerror(self.errno)))"
    }

    /// A full disk is RESOURCE_EXHAUSTED, reason `DISK_FULL`; all else UNAVAILABLE, reason `DISK_FAULT`.
    package var vecraftError: VecraftError {
        self.isDiskFull
            ? VecraftError(.resourceExhausted, "the disk is full (\(self))", reason: "DISK_FULL", retryAfter: .seconds(1))
            : VecraftError(.unavailable, "the disk failed (\(self))", reason: "DISK_FAULT")
    }
}
