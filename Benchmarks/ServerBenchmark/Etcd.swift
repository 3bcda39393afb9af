import ClusterSupport
import Foundation
import GRPC
import NIOCore
import Primitives
import TestSupport

/// Debian's etcd on loopback: one member, or several that elect a leader.
final class Etcd {
    struct Member {
        let process: Process
        let client: GRPCClient
        let port: Int
    }
    private(set) var members: [Member] = []

    /// Starts all members and waits until they answer and know their leader.
    static func start(_ binary: String, directory: String, members: Int, group: any EventLoopGroup) async throws -> Etcd
    {
        for _ in 0..<5 {
            let etcd = Etcd()
            try etcd.launch(binary, directory, members, group)
            do {
                try await eventually("etcd has a leader", within: .seconds(30)) {
                    guard etcd.members.allSatisfy({ $0.process.isRunning }) else { return true }
                    for member in etcd.members where try await Self.status(member.client).leader == 0 { return false }
                    return true
                }
                if etcd.members.allSatisfy({ $0.process.isRunning }) { return etcd }
            } catch {}
            // A port was taken by another program: other ports.
            await etcd.stop()
        }
        throw VecraftError(.unavailable, "etcd does not start")
    }

    private func launch(_ binary: String, _ directory: String, _ count: Int, _ group: any EventLoopGroup) throws {
        let ports = FreePorts.take(2 * count)
        let peers = (0..<count).map { "m\($0)=http://127.0.0.1:\(ports[2 * $0 + 1])" }.joined(separator: ",")
        for i in 0..<count {
            let client = "http://127.0.0.1:\(ports[2 * i])"
            let peer = "http://127.0.0.1:\(ports[2 * i + 1])"
            let process = Process()
            process.executableURL = URL(fileURLWithPath: binary)
            process.arguments = [
                "--name", "m\(i)", "--data-dir", "\(directory)/etcd-\(ports[2 * i])", "--listen-client-urls", client,
                "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
                "--initial-cluster", peers, "--initial-cluster-token", "bench-\(ports[0])", "--log-level", "error",
                // All that a run writes fits, so that nothing is refused for want of space.
                "--quota-backend-bytes", "\(8 << 30)",
            ]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            self.members.append(
                Member(
                    process: process, client: try GRPCClient(host: "127.0.0.1", port: ports[2 * i], group: group),
                    port: ports[2 * i]))
        }
    }

    var processIDs: [Int32] { self.members.map(\.process.processIdentifier) }

    func leader() async throws -> Member {
        for member in self.members {
            let status = try await Self.status(member.client)
            if status.leader == status.member { return member }
        }
        throw VecraftError(.unavailable, "etcd has no leader")
    }

    func stop() async {
        for member in self.members {
            await member.client.close()
            member.process.terminate()
            member.process.waitUntilExit()
        }
    }

    /// From a `StatusResponse`: the header (field 1) has the member's id (2), field 4 is the leader's.
    private static func status(_ client: GRPCClient) async throws -> (member: UInt64, leader: UInt64) {
        let reply = ProtobufFields(
            try await client.unary("/etcdserverpb.Maintenance/Status", [UInt8](), timeout: .seconds(5)))
        return (ProtobufFields(reply.bytes[1] ?? []).numbers[2] ?? 0, reply.numbers[4] ?? 0)
    }

    /// How many changes the store has seen: from the header (field 1) of a `RangeResponse`, its revision (field 3).
    static func revision(_ client: GRPCClient) async throws -> UInt64 {
        let bytes = try await client.unary(
            "/etcdserverpb.KV/Range", [0x0a, 0x03] + Array("key".utf8), timeout: .seconds(20))
        return ProtobufFields(ProtobufFields(bytes).bytes[1] ?? []).numbers[3] ?? 0
    }

    /// An encoded `etcdserverpb.PutRequest`: field 1 the key, field 2 the value.
    static func put(key: String, _ value: [UInt8]) -> [UInt8] {
        ProtobufFields.field(1, Array(key.utf8)) + ProtobufFields.field(2, value)
    }

    /// An encoded `TxnRequest` that puts values under keys of their own: `success` (field 2) of `RequestOp`s whose `request_put`
    /// is field 2.
    static func transaction(_ count: Int, _ value: [UInt8]) -> [UInt8] {
        (0..<count).flatMap { ProtobufFields.field(2, ProtobufFields.field(2, self.put(key: "key-\($0)", value))) }
    }
}

/// Just enough of protobuf to read a number out of a peer's answer.
struct ProtobufFields {
    private(set) var numbers: [Int: UInt64] = [:]
    private(set) var bytes: [Int: [UInt8]] = [:]

    init(_ message: [UInt8]) {
        var rest = message[...]
        while !rest.isEmpty {
            let tag = Self.varint(&rest)
            switch tag & 7 {
            case 0: self.numbers[Int(tag >> 3)] = Self.varint(&rest)
            case 2:
                let count = min(Int(Self.varint(&rest)), rest.count)
                self.bytes[Int(tag >> 3)] = Array(rest.prefix(count))
                rest = rest.dropFirst(count)
            default: return
            }
        }
    }

    private static func varint(_ rest: inout ArraySlice<UInt8>) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while let byte = rest.popFirst() {
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 || shift > 56 { break }
            shift += 7
        }
        return value
    }

    static func field(_ number: UInt8, _ value: [UInt8]) -> [UInt8] {
        var left = value.count
        var bytes = [number << 3 | 2]
        while left >= 0x80 {
            bytes.append(UInt8(left & 0x7f) | 0x80)
            left >>= 7
        }
        return bytes + [UInt8(left)] + value
    }
}
