package import GRPC
import NIOPosix
package import Primitives
import Synchronization
package import TestSupport
package import Wire

/// One node of a ``TestCluster``: its process as it comes and goes, and a client on it. Its addresses and its data stay.
package final class ClusterNode: Sendable {
    package let id: Int
    package let host: String
    package let grpcPort: Int
    package let httpPort: Int
    /// Where it listens for the other nodes.
    package let peerAddress: String
    package let launch: ServerLaunch
    package let client: GRPCClient
    private let process = Mutex<ServerProcess?>(nil)

    init(id: Int, host: String, peerAddress: String, launch: ServerLaunch) throws {
        self.id = id
        self.host = host
        self.grpcPort = launch.grpcPort
        self.httpPort = launch.httpPort
        self.peerAddress = peerAddress
        self.launch = launch
        var settings = GRPCClientSettings()
        settings.statusDetails = { StatusDetails.decode($0, into: &$1) }
        // One that is killed refuses at once, and is found again soon when it comes back. One on a machine that stands still is waited
        // for: calls have limits of their own.
        settings.connectTimeout = .seconds(20)
        settings.minBackoff = .milliseconds(10)
        settings.maxBackoff = .milliseconds(100)
        self.client = try GRPCClient(
            host: host, port: launch.grpcPort, settings: settings, group: MultiThreadedEventLoopGroup.singleton)
    }

    // MARK: Its process

    package var isRunning: Bool { self.process.withLock { $0?.isRunning ?? false } }
    package var processID: Int32 { self.process.withLock { $0?.processID ?? 0 } }
    package var logText: String { self.process.withLock { $0?.logText } ?? "" }

    /// Starts it, and waits for nothing.
    package func begin() async throws {
        let launch = self.launch
        let process = try await offThePool { try ServerProcess(beginning: launch) }
        self.process.withLock { $0 = process }
    }

    package func awaitReady(within patience: Duration = .seconds(120)) async throws {
        guard let process = self.process.withLock({ $0 }) else {
            throw ServerProcess.Failure(description: "node \(self.id) is down")
        }
        try await offThePool { try process.awaitReady(patience) }
    }

    /// Starts it and waits until it is ready, which needs a majority of its peers. A port of its own that somebody else has for a
    /// moment is waited for.
    package func start(within patience: Duration = .seconds(120)) async throws {
        let end = ContinuousClock.now + patience
        while true {
            try await self.begin()
            do {
                return try await self.awaitReady(within: end - .now)
            } catch let failure as ServerProcess.Failure where failure.saysAddressTaken && .now < end {
                try await Task.sleep(for: .milliseconds(200))
            }
        }
    }

    /// kill -9.
    package func kill() async {
        guard let process = self.process.withLock({ $0 }) else { return }
        try? await offThePool { process.kill() }
    }

    /// SIGTERM; returns the exit code.
    @discardableResult
    package func stop() async -> Int32 {
        guard let process = self.process.withLock({ $0 }) else { return 0 }
        return (try? await offThePool { process.terminate() }) ?? -1
    }

    package func suspend() { self.process.withLock { $0?.suspend() } }
    package func resume() { self.process.withLock { $0?.resume() } }

    // MARK: Calls

    package func call<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, metadata: GRPCMetadata = [:],
        timeout: Duration = .seconds(20)
    ) async throws(VecraftError) -> Reply {
        let bytes = try await self.client.unary("/" + method, request.encode(), metadata: metadata, timeout: timeout)
        return try Reply.decode(bytes)
    }

    /// What it says of its replicas, by partition.
    package func partitions(
        timeout: Duration = .seconds(2)
    ) async throws(VecraftError) -> [String: VecraftInternalV1.PartitionInfo] {
        let reply: VecraftInternalV1.PartitionsResponse = try await self.call(
            "vecraft.internal.v1.Journal/Partitions", VecraftInternalV1.PartitionsRequest(), timeout: timeout)
        return Dictionary(uniqueKeysWithValues: reply.partitions.map { ($0.partition, $0) })
    }

    /// Status of `GET /readyz`, nil when nothing answers.
    package func readiness() async -> Int? { await self.answer("/readyz")?.status }

    /// Answer to a GET, nil when there is none.
    package func answer(_ path: String) async -> (status: Int, headers: [String: String], body: String)? {
        try? await http("GET", self.httpPort, path, host: self.host)
    }

    /// Memory in use, in bytes: all of it, and what is not pages of files.
    package var memory: (resident: Int, anonymous: Int) { ProcessFigures.memory(of: self.processID) }
    package var cpuSeconds: Double { ProcessFigures.cpuSeconds(of: self.processID) }
}

extension ServerProcess.Failure {
    var saysAddressTaken: Bool {
        self.description.contains("in use") || self.description.contains("errno: 98")
            || self.description.contains("EADDRINUSE")
    }
}
