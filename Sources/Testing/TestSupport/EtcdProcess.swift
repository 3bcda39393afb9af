import Foundation
import Synchronization

/// A real etcd on loopback: one member, or several that elect a leader. A test may stop, kill and start its members.
///
/// `make test` sees that Debian's is there (`.ci/packages test`).
package final class EtcdProcess: Sendable {
    package static let binary = findProgram("etcd")
    package static let missing = "etcd is not there; .ci/packages test fetches Debian's"
    /// Tests end processes, never the machine, so nothing need be on the disk; one shared with others may stand still for seconds over
    /// that. An etcd that has no such flag goes without.
    private static let notToDisk: [String] = {
        let flag = "--unsafe-no-fsync"
        return binary.flatMap { try? runCommand($0, flag, "--version") } == nil ? [] : [flag]
    }()

    /// Where clients reach each member.
    package let ports: [Int]
    private let folder: TemporaryDirectory
    private let commands: [[String]]
    /// Where each member says whether it is well, without TLS.
    private let healthPorts: [Int]
    private let processes: Mutex<[Process]>

    /// Starts all members and waits until they answer.
    /// - Parameters:
    ///   - isOpen: Reached on all of this machine's addresses, and not on loopback alone.
    ///   - tls: Server certificate, its key, and whose certificates clients must have.
    package static func start(
        members: Int = 1, arguments: [String] = [], isOpen: Bool = false, tls: (certificate: String, key: String, clients: String)? = nil
    ) async throws -> EtcdProcess {
        var last: (any Error)?
        // Again if another program takes a port first.
        for _ in 0..<5 {
            do {
                let etcd = try EtcdProcess(members, arguments, isOpen, tls)
                for member in 0..<members { try etcd.launch(member) }
                for member in 0..<members { try await etcd.awaitHealth(member) }
                return etcd
            } catch {
                last = error
            }
        }
        throw last ?? CommandFailure(description: "etcd does not start")
    }

    private init(
        _ members: Int, _ arguments: [String], _ isOpen: Bool, _ tls: (certificate: String, key: String, clients: String)?
    ) throws {
        guard let binary = Self.binary else { throw CommandFailure(description: Self.missing) }
        let folder = try TemporaryDirectory()
        let ports = FreePorts.take(3 * members)
        let peers = (0..<members).map { "m\($0)=http://127.0.0.1:\(ports[3 * $0 + 1])" }.joined(separator: ",")
        var more = arguments
        if let tls {
            more += ["--cert-file", tls.certificate, "--key-file", tls.key, "--trusted-ca-file", tls.clients]
            more += ["--client-cert-auth"]
        }
        self.folder = folder
        self.ports = (0..<members).map { ports[3 * $0] }
        self.healthPorts = (0..<members).map { ports[3 * $0 + 2] }
        self.commands = (0..<members).map { member in
            let client = "\(tls == nil ? "http" : "https")://127.0.0.1:\(ports[3 * member])"
            let peer = "http://127.0.0.1:\(ports[3 * member + 1])"
            return [
                binary, "--name", "m\(member)", "--data-dir", folder.file("m\(member)"), "--listen-client-urls",
                isOpen ? client.replacingOccurrences(of: "127.0.0.1", with: "0.0.0.0") : client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--listen-metrics-urls", "http://127.0.0.1:\(ports[3 * member + 2])", "--initial-cluster", peers,
                "--initial-cluster-token", "test-\(ports[0])", "--log-level", "error",
            ] + Self.notToDisk + more
        }
        self.processes = Mutex((0..<members).map { _ in Process() })
    }

    /// As `--etcd` takes them.
    package func addresses(at host: String = "127.0.0.1") -> String {
        self.ports.map { "\(host):\($0)" }.joined(separator: ",")
    }

    deinit {
        let processes = self.processes.withLock { $0 }
        for process in processes where process.endStatus == nil {
            // One that was stopped ends too.
            Foundation.kill(process.processIdentifier, SIGKILL)
            process.awaitEnd()
        }
    }

    private func launch(_ member: Int) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: self.commands[member][0])
        process.arguments = Array(self.commands[member].dropFirst())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        try process.run()
        self.processes.withLock { $0[member] = process }
    }

    /// Returns once the member and its majority answer.
    package func awaitHealth(_ member: Int = 0) async throws {
        try await eventually("etcd answers", within: .seconds(60)) {
            guard self.processes.withLock({ $0[member].endStatus == nil }) else { return true }
            return try await http("GET", self.healthPorts[member], "/health").body.contains("true")
        }
        guard self.processes.withLock({ $0[member].endStatus == nil }) else {
            throw CommandFailure(description: "etcd has ended")
        }
    }

    private func signal(_ member: Int, _ signal: Int32) {
        let process = self.processes.withLock { $0[member] }
        if process.endStatus == nil { Foundation.kill(process.processIdentifier, signal) }
    }

    /// SIGSTOP: connections stay, nobody answers, until ``resume(_:)``. Returns when all its threads stand still.
    package func suspend(_ member: Int = 0) async throws {
        self.signal(member, SIGSTOP)
        let tasks = "/proc/\(self.processes.withLock { $0[member].processIdentifier })/task"
        try await eventually("etcd stands still") {
            try FileManager.default.contentsOfDirectory(atPath: tasks).allSatisfy { task in
                // "1 (name) T ...": the name may hold anything, so what is behind its last parenthesis.
                let status = try String(contentsOfFile: "\(tasks)/\(task)/stat", encoding: .utf8)
                return status[(status.lastIndex(of: ")") ?? status.startIndex)...].hasPrefix(") T")
            }
        }
    }

    package func resume(_ member: Int = 0) { self.signal(member, SIGCONT) }

    /// kill -9.
    package func kill(_ member: Int = 0) {
        self.signal(member, SIGKILL)
        self.processes.withLock { $0[member] }.awaitEnd()
    }

    /// Starts a killed member again, on its data.
    package func restart(_ member: Int = 0) throws { try self.launch(member) }

    /// What a killed member knew is gone.
    package func wipe(_ member: Int = 0) throws {
        try FileManager.default.removeItem(atPath: self.folder.file("m\(member)"))
    }
}
