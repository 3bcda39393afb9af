import Primitives
import Wire

/// What the node knows of itself; the host fills it in.
package protocol NodeStatusSource: Sendable {
    /// "starting", "replaying", "ready", "draining".
    var state: String { get }
    var checks: [(name: String, ok: Bool, detail: String)] { get }
    /// Part of the replay at start that is done, 0...1, and the time it will still take (0: unknown or done).
    var replay: (progress: Double, etaMilliseconds: UInt64) { get }
}

/// Static facts of this process, and where to ask for the others.
package struct NodeStatus: Sendable {
    package var node: String
    package var version: String
    package var revision: String
    package var roles: [String]
    package var startedMilliseconds: UInt64
    package var grpcAddress: @Sendable () -> String
    package var httpAddress: @Sendable () -> String
    package var source: any NodeStatusSource

    package init(
        node: String, version: String, revision: String, roles: [String], startedMilliseconds: UInt64,
        grpcAddress: @escaping @Sendable () -> String, httpAddress: @escaping @Sendable () -> String,
        source: any NodeStatusSource
    ) {
        self.node = node
        self.version = version
        self.revision = revision
        self.roles = roles
        self.startedMilliseconds = startedMilliseconds
        self.grpcAddress = grpcAddress
        self.httpAddress = httpAddress
        self.source = source
    }
}
