import Foundation
import TestSupport

/// A small file system of its own under one folder, that can be filled to the last byte.
package final class SmallDisk: Sendable {
    package let path: String

    /// Why this machine mounts none; nil if it does. Asked once.
    package static let obstacle: String? = {
        do {
            let directory = try TemporaryDirectory()
            let disk = try SmallDisk(directory.file("disk"), megabytes: 1)
            disk.remove()
            return nil
        } catch {
            return "\(error)"
        }
    }()

    package init(_ path: String, megabytes: Int) throws {
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        try runCommand("mount", "-t", "tmpfs", "-o", "size=\(megabytes)m", "tmpfs", path)
        self.path = path
    }

    deinit { self.remove() }

    package var freeBytes: Int {
        var status = statvfs()
        guard statvfs(self.path, &status) == 0 else { return 0 }
        return Int(status.f_bavail) * Int(status.f_bsize)
    }

    /// - Parameter left: Bytes still free then.
    package func fill(leaving left: Int = 0) throws {
        let path = self.path + "/filler"
        _ = FileManager.default.createFile(atPath: path, contents: nil)
        guard let file = FileHandle(forWritingAtPath: path) else {
            throw CommandFailure(description: "cannot write \(path)")
        }
        defer { try? file.close() }
        let chunk = [UInt8](repeating: 0, count: 64 << 10)
        while self.freeBytes > left {
            let count = chunk.withUnsafeBytes {
                write(file.fileDescriptor, $0.baseAddress, min($0.count, self.freeBytes - left))
            }
            guard count > 0 else { return }
        }
    }

    package func free() throws { try FileManager.default.removeItem(atPath: self.path + "/filler") }

    package func remove() { _ = try? runCommand("umount", "--lazy", self.path) }
}
