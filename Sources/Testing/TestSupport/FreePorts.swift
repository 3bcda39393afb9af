internal import Glibc
internal import Synchronization

/// TCP ports of loopback that nobody listens on, for programs that must be told theirs.
///
/// They are drawn from below the range from which the system takes ports for connections: a node that is down for a while must
/// find its port free when it comes back. Another program may still take one; who starts a server is ready to draw again.
package enum FreePorts {
    private static let drawn = Mutex<Set<Int>>([])

    package static func take(_ count: Int) -> [Int] {
        let end = self.firstEphemeral
        return self.drawn.withLock { drawn in
            var ports: [Int] = []
            while ports.count < count {
                let port = Int.random(in: 10_000..<end)
                if drawn.insert(port).inserted, self.isFree(port) { ports.append(port) }
            }
            return ports
        }
    }

    /// A port of loopback at which nobody answers, and that nobody else is given meanwhile: bound, and not listened on.
    package final class Silent: Sendable {
        package let port: Int
        private let descriptor: Int32

        package init() {
            self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
            var address = sockaddr_in()
            address.sin_family = sa_family_t(AF_INET)
            address.sin_addr.s_addr = inet_addr("127.0.0.1")
            var length = socklen_t(MemoryLayout<sockaddr_in>.size)
            let descriptor = self.descriptor
            let isBound = withUnsafeMutablePointer(to: &address) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
                }
            }
            precondition(isBound, "no port to be had: \(errno)")
            self.port = Int(in_port_t(bigEndian: address.sin_port))
        }

        deinit { close(self.descriptor) }
    }

    private static var firstEphemeral: Int {
        guard let file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "r") else { return 32_768 }
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 64)
        guard fgets(&line, Int32(line.count), file) != nil else { return 32_768 }
        let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return max(20_000, text.split { !$0.isNumber }.first.flatMap { Int($0) } ?? 32_768)
    }

    private static func isFree(_ port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        return withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
