import Foundation
import Primitives
import Synchronization
import TestSupport

/// A network of its own for each node, joined by a bridge, in which the way from one node to another can be cut.
///
/// A cut loses packets in silence, as a broken switch does: the sender is given a hardware address for its peer that nobody has.
/// Whoever runs the tests goes on reaching all nodes.
package final class ClusterNetwork: Sendable {
    private struct Host {
        /// Holds the namespace open; ends when its standard input does, so at the latest with this process.
        let holder: Process
        let input: Pipe
        var link: String
    }
    private let bridge: String
    /// 198.18.0.0/15 is for tests of networks (RFC 2544).
    private let prefix: String
    private let hosts: Mutex<[Int: Host]>

    /// Why this machine has no such networks; nil if it has. Asked once.
    package static let obstacle: String? = {
        do {
            let network = try ClusterNetwork(nodes: [1, 2])
            defer { network.remove() }
            try network.cut(1, 2)
            try network.heal()
            return nil
        } catch {
            return "\(error)"
        }
    }()

    package init(nodes: [Int]) throws {
        // A test that was killed leaves its bridge behind, and two with the same addresses hear nothing.
        let taken = (try? runCommand("ip", "-o", "-4", "addr", "show")) ?? ""
        var number = Int.random(in: 0..<(1 << 20))
        while taken.contains(Self.prefix(number)) { number = Int.random(in: 0..<(1 << 20)) }
        self.bridge = "vc\(String(number, radix: 36))"
        self.prefix = Self.prefix(number)
        self.hosts = Mutex([:])
        do {
            try runCommand("ip", "link", "add", self.bridge, "type", "bridge")
            try runCommand("ip", "addr", "add", self.prefix + "254/24", "dev", self.bridge)
            try runCommand("ip", "link", "set", self.bridge, "up")
            for node in nodes { try self.add(node) }
        } catch {
            self.remove()
            throw error
        }
    }

    private static func prefix(_ number: Int) -> String { "198.\(18 + number % 2).\(number / 2 % 256)." }

    deinit { self.remove() }

    /// Where nodes reach programs of this machine itself.
    package var hostAddress: String { self.prefix + "254" }

    package func address(of node: Int) -> String { self.prefix + "\(node)" }

    /// What a program is started through to be in a node's network.
    package func through(_ node: Int) -> [String] {
        ["/usr/bin/nsenter", "--net=/proc/\(self.processID(of: node))/ns/net", "--"]
    }

    package func add(_ node: Int) throws {
        let holder = Process()
        holder.executableURL = URL(fileURLWithPath: "/usr/bin/unshare")
        holder.arguments = ["--net", "--", "cat"]
        let input = Pipe()
        holder.standardInput = input
        holder.standardOutput = FileHandle.nullDevice
        holder.standardError = FileHandle.nullDevice
        try holder.run()
        let link = self.bridge + "-\(node)"
        self.hosts.withLock { $0[node] = Host(holder: holder, input: input, link: link) }
        let process = holder.processIdentifier
        try Self.awaitNamespace(of: process)
        try runCommand("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", "\(process)")
        try runCommand("ip", "link", "set", link, "master", self.bridge, "up")
        try self.inside(node, "addr", "add", self.address(of: node) + "/24", "dev", "eth0")
        try self.inside(node, "link", "set", "lo", "up")
        try self.inside(node, "link", "set", "eth0", "up")
    }

    /// What `from` sends to `to` is lost from now on.
    package func cut(from: Int, to: Int) throws {
        try self.inside(
            from, "neigh", "replace", self.address(of: to), "lladdr", "02:00:00:00:00:fe", "dev", "eth0", "nud",
            "permanent")
    }

    package func cut(_ a: Int, _ b: Int) throws {
        try self.cut(from: a, to: b)
        try self.cut(from: b, to: a)
    }

    /// A node on one side, all others on the other.
    package func isolate(_ node: Int) throws {
        for other in self.hosts.withLock({ Array($0.keys) }) where other != node { try self.cut(node, other) }
    }

    /// All ways are open again.
    package func heal() throws {
        for node in self.hosts.withLock({ Array($0.keys) }) {
            try self.inside(node, "neigh", "flush", "all", "nud", "permanent")
        }
    }

    private func remove() {
        let hosts = self.hosts.withLock { hosts in
            defer { hosts = [:] }
            return hosts
        }
        for host in hosts.values {
            _ = try? runCommand("ip", "link", "del", host.link)
            try? host.input.fileHandleForWriting.close()
            host.holder.terminate()
            host.holder.awaitEnd()
        }
        _ = try? runCommand("ip", "link", "del", self.bridge)
    }

    private func processID(of node: Int) -> Int32 { self.hosts.withLock { $0[node]?.holder.processIdentifier ?? 0 } }

    /// An `ip` command in a node's network.
    private func inside(_ node: Int, _ arguments: String...) throws {
        let command = "exec ip " + arguments.joined(separator: " ")
        try runCommand("nsenter", "--net=/proc/\(self.processID(of: node))/ns/net", "--", "/bin/sh", "-c", command)
    }

    private static func awaitNamespace(of process: Int32) throws {
        func namespace(_ name: String) -> String? {
            try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(name)/ns/net")
        }
        let own = namespace("self")
        let end = ContinuousClock.now + .seconds(120)
        while ContinuousClock.now < end {
            if let other = namespace("\(process)"), other != own { return }
            usleep(2_000)
        }
        throw CommandFailure(description: "unshare --net made no network")
    }
}
