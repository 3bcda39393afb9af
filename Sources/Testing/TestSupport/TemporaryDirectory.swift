package import FileStore
internal import Glibc

/// A fresh folder under the system's temporary one, removed with all in it when this object goes.
package final class TemporaryDirectory: Sendable {
    package let path: String

    package init() throws(FileFault) {
        let base = getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
        var template = Array(Paths.join(base, "vecraft-test-XXXXXX").utf8CString)
        guard let made = mkdtemp(&template) else { throw FileFault(path: base, operation: .create, errno: errno) }
        self.path = String(cString: made)
    }

    deinit { try? PosixFileStore().removeTree(self.path) }

    package func file(_ name: String) -> String { Paths.join(self.path, name) }
}
