import GRPC
import JournalFormat
import NIOCore
import Primitives
import Raft
import Testing
import Wire

@testable import PeerTransport

/// A peer that speaks the protocol by hand.
@Suite struct HostilePeerTests {
    typealias Proto = VecraftInternalV1

    private func withStream(_ body: (GRPCClientCall, Node) async throws -> Void) async throws {
        let node = Node(2)
        try await node.listen()
        node.links.setPeers([ReplicaID(1): PeerAddress(host: "127.0.0.1", port: 1)])
        let client = try await GRPCClient.connect(host: node.host, port: node.port, group: testLoops)
        let call = try await client.bidirectional("/vecraft.internal.v1.Raft/Exchange")
        try await body(call, node)
        await client.close()
        await node.stop()
    }

    private func greet(_ call: GRPCClientCall) async throws {
        try await call.send(Proto.PeerFrame(hello: .init(version: 1, clusterID: "test", from: 1, to: 2)).encode())
        var replies = call.replies.makeAsyncIterator()
        let frame = try Proto.PeerFrame.decode(Array(#require(try await replies.next()).readableBytesView))
        #expect(
            frame.hello?.from == 2 && frame.hello?.to == 1 && frame.hello?.clusterID == "test" && frame.messages.isEmpty
        )
    }

    private func wire(_ message: PeerMessage) throws -> Proto.ReplicaMessage { try .decode(encode(message)) }

    private func entries(_ run: FrameRun, _ change: (inout Proto.Entries) -> Void) throws -> Proto.ReplicaMessage {
        var wire = try self.wire(append(run))
        guard case .append(var append) = wire.body, var entries = append.entries else { return wire }
        change(&entries)
        append.entries = entries
        wire.body = .append(append)
        return wire
    }

    /// What does not hold is dropped, and what stands beside it and after it is not.
    @Test func aBadMessageIsDroppedAlone() async throws {
        try await self.withStream { call, node in
            try await self.greet(call)
            let run = sampleRun(from: 5, count: 2, term: 3)
            var unknown = try self.wire(commit(9))
            unknown.partitionKind = .init(rawValue: 77)
            let bad = [
                unknown,
                Proto.ReplicaMessage(partitionKind: .data),
                try self.entries(run) { $0.frames[200] ^= 1 },
                try self.entries(run) { $0.term = 9 },
                try self.entries(run) { $0.last = 7 },
                try self.wire(append(sampleRun(from: 5, count: 2, term: 3, terms: [1: 4]))),
            ]
            for message in bad {
                try await call.send(Proto.PeerFrame(messages: [message, try self.wire(commit(1))]).encode())
            }
            // A cut append that does not hold: its rest is passed over.
            let cut = try self.entries(run) {
                $0.last = 7
                $0.frames.removeLast(100)
            }
            try await call.send(Proto.PeerFrame(messages: [cut]).encode())
            try await call.send(Proto.PeerFrame(continued: Array(run.bytes.suffix(100))).encode())
            try await call.send(Proto.PeerFrame(messages: [try self.wire(append(run))]).encode())
            try await until { node.recorder.count == bad.count + 1 }
            #expect(node.recorder.messages.dropLast().allSatisfy { $0.number == 1 })
            #expect(try same(#require(node.recorder.messages.last), append(run)))
            #expect(node.value("vecraft_peer_messages_dropped_total", "1", "malformed") == 2)
            #expect(node.value("vecraft_peer_messages_dropped_total", "1", "damaged_frames") == 5)
        }
    }

    enum Break: CaseIterable {
        case notProtobuf, rest, tooMuch, huge, second, noGreeting
    }

    /// Where the parts of a stream do not fit it ends, and the next one is good.
    @Test(arguments: Break.allCases) func aBrokenStreamEnds(kind: Break) async throws {
        try await self.withStream { call, node in
            if kind != .noGreeting { try await self.greet(call) }
            let run = sampleRun(from: 5, count: 2, term: 3)
            let cut = try self.entries(run) { $0.frames.removeLast(100) }
            switch kind {
            case .notProtobuf: try await call.send([0xff, 0xff, 0xff])
            case .rest: try await call.send(Proto.PeerFrame(continued: [1, 2, 3]).encode())
            case .tooMuch:
                try await call.send(Proto.PeerFrame(messages: [cut]).encode())
                try await call.send(Proto.PeerFrame(continued: Array(repeating: 0, count: 101)).encode())
            case .huge:
                let huge = try self.entries(run) { $0.frameBytes = 1 << 40 }
                try await call.send(Proto.PeerFrame(messages: [huge]).encode())
            case .second: try await call.send(Proto.PeerFrame(messages: [cut, cut]).encode())
            case .noGreeting: try await call.send(Proto.PeerFrame(messages: [try self.wire(commit(1))]).encode())
            }
            await #expect(throws: VecraftError.self) {
                var replies = call.replies.makeAsyncIterator()
                while try await replies.next() != nil {}
            }
            try await until { node.recorder.resets == (kind == .noGreeting ? 0 : 2) }
            #expect(node.recorder.count == 0)
        }
    }

    /// A newer stream of the same peer takes the place of the older.
    @Test func aNewerStreamReplacesTheOlder() async throws {
        try await self.withStream { first, node in
            try await self.greet(first)
            let client = try await GRPCClient.connect(host: node.host, port: node.port, group: testLoops)
            let second = try await client.bidirectional("/vecraft.internal.v1.Raft/Exchange")
            try await self.greet(second)
            await #expect(throws: VecraftError.self) {
                var replies = first.replies.makeAsyncIterator()
                while try await replies.next() != nil {}
            }
            try await second.send(Proto.PeerFrame(messages: [try self.wire(commit(1))]).encode())
            try await until { node.recorder.count == 1 }
            #expect(node.links.isLinked(to: ReplicaID(1)))
            await client.close()
        }
    }
}
