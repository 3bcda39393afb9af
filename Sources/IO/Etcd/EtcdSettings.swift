package import GRPC
package import Primitives

/// Where an etcd is and how patient we are with it.
package struct EtcdSettings: Sendable {
    package struct Endpoint: Sendable, Hashable, CustomStringConvertible {
        package let host: String
        package let port: Int

        package init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        /// "host:port", or "[address]:port" for IPv6.
        package init(parsing text: String) throws(VecraftError) {
            guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
                (1...65_535).contains(port)
            else { throw .invalid("endpoints", "\"\(text)\" is not HOST:PORT") }
            var host = text[..<colon]
            if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
            guard !host.isEmpty, !host.contains("/") else {
                throw .invalid("endpoints", "\"\(text)\" is not HOST:PORT")
            }
            self.init(host: String(host), port: port)
        }

        package var description: String {
            self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
        }
    }

    package struct Credentials: Sendable {
        package let user: String
        package let password: String

        package init(user: String, password: String) {
            self.user = user
            self.password = password
        }
    }

    /// The members of one etcd, 1 to 16. Another is asked when one does not answer.
    package var endpoints: [Endpoint]
    /// Clusters with different names may share an etcd: all keys are under `/vecraft/v1/<cluster>/`.
    package var cluster: String
    /// Nil: plain text. Trust roots, and a certificate and key if etcd asks clients for one.
    package var tls: GRPCTLS?
    package var credentials: Credentials?
    /// A call ends by then, whatever etcd does: several elections of etcd's own fit in.
    package var callTimeout: Duration = .seconds(5)
    /// A call that may safely be sent twice goes to the next member after this; two dials' limit and a little.
    package var attemptTimeout: Duration = .milliseconds(2_500)
    /// For a connection, and again for its first word of HTTP/2.
    package var dialTimeout: Duration = .seconds(1)
    /// Between attempts after all members have failed, and between dials to one member; doubling from 50 and 100 ms.
    package var maxPause: Duration = .seconds(2)
    /// A silent connection with a watch on it is asked whether it lives. etcd ends connections that ask within 5 s.
    package var keepaliveInterval: Duration = .seconds(6)
    package var keepaliveTimeout: Duration = .seconds(4)

    package init(endpoints: [Endpoint], cluster: String) {
        self.endpoints = endpoints
        self.cluster = cluster
    }

    /// - Throws: `.invalidArgument`.
    package func validate() throws(VecraftError) {
        guard (1...16).contains(self.endpoints.count) else {
            throw .invalid("endpoints", "are \(self.endpoints.count), not 1 to 16")
        }
        let allowed = self.cluster.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."): true
            default: false
            }
        }
        guard allowed, (1...64).contains(self.cluster.utf8.count) else {
            throw .invalid("cluster", "is not 1 to 64 letters, digits, \"-\", \"_\" and \".\"")
        }
        guard self.callTimeout > .zero, self.attemptTimeout > .zero, self.dialTimeout > .zero else {
            throw .invalid("timeouts", "must be above zero")
        }
    }

    var client: GRPCClientSettings {
        var settings = GRPCClientSettings()
        settings.connectTimeout = self.dialTimeout
        settings.minBackoff = .milliseconds(100)
        settings.maxBackoff = self.maxPause
        settings.keepaliveInterval = self.keepaliveInterval
        settings.keepaliveTimeout = self.keepaliveTimeout
        return settings
    }
}
