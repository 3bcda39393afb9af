internal import Glibc
internal import Synchronization

/// The two standard streams. Answers go to standard output; errors, progress and hints to standard error, so that a pipe
/// holds answers alone.
package enum Console {
    package static func print(_ text: String, terminator: String = "\n") {
        Self.write(text + terminator, to: STDOUT_FILENO)
    }
    package static func error(_ text: String, terminator: String = "\n") {
        Self.write(text + terminator, to: STDERR_FILENO)
    }

    private static let farewell = Mutex<(@Sendable () -> Void)?>(nil)

    /// Runs before the program ends because nobody reads any more; nil for nothing.
    static func beforeBrokenPipe(_ body: (@Sendable () -> Void)?) { Self.farewell.withLock { $0 = body } }

    /// Whole or not at all as far as the reader allows: a closed pipe ends the program as it ends any filter.
    private static func write(_ text: String, to descriptor: Int32) {
        var text = text
        text.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress! + sent, bytes.count - sent)
                if count > 0 {
                    sent += count
                } else if errno == EPIPE {
                    // Nobody reads any more ("| head"). 128 + SIGPIPE, as a shell reports it.
                    Self.farewell.withLock { farewell in
                        defer { farewell = nil }
                        return farewell
                    }?()
                    exit(141)
                } else if errno != EINTR {
                    return
                }
            }
        }
    }
}
