internal import ArgumentParser

/// Where a node listens: "host:port", "[::1]:port", or either without a port, which then is the default.
package struct NodeAddress: Equatable, Sendable, ExpressibleByArgument, CustomStringConvertible {
    package var host: String
    package var port: Int

    package static let defaultPort = 7400
    package static let environmentName = "VECRAFT_ADDRESS"

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    package init?(argument: String) { self.init(argument, defaultPort: Self.defaultPort) }

    package init?(_ text: some StringProtocol, defaultPort: Int) {
        var host = text[...]
        var port = defaultPort
        // A colon is the port's only outside brackets: a bare IPv6 address is full of them.
        let colon =
            host.hasPrefix("[") ? host.lastIndex(of: "]").map { host.index(after: $0) } : host.firstIndex(of: ":")
        if let colon, colon < host.endIndex {
            guard host[colon] == ":", let number = Int(host[host.index(after: colon)...]), (1...65_535).contains(number)
            else {
                return nil
            }
            port = number
            host = host[..<colon]
        }
        if host.hasPrefix("[") {
            guard host.hasSuffix("]") else { return nil }
            host = host.dropFirst().dropLast()
        }
        guard !host.isEmpty else { return nil }
        self.init(host: String(host), port: port)
    }

    package var description: String {
        self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}
