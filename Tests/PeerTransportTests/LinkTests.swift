import Dispatch
import GRPC
import JournalFormat
import Primitives
import Raft
import Synchronization
import Testing

@testable import PeerTransport

@Suite struct LinkTests {
    @Test func tenThousandMessagesEachWayInOrder() async throws {
        try await withPair { a, b in
            for i in stride(from: 0, to: 10_000, by: 10) {
                a.links.send((i..<i + 10).map { commit(UInt64($0)) })
                b.links.send((i..<i + 10).map { commit(UInt64($0), from: 2, to: 1) })
            }
            try await until { a.recorder.count == 10_000 && b.recorder.count == 10_000 }
            #expect(a.recorder.messages.map(\.number) == (0..<10_000).map { UInt64($0) })
            #expect(b.recorder.messages.map(\.number) == (0..<10_000).map { UInt64($0) })
            #expect(b.recorder.messages.allSatisfy { $0.message.from == ReplicaID(1) && $0.message.to == ReplicaID(2) })
            #expect(b.value("vecraft_peer_messages_received_total", "1", "control") == 10_000)
            #expect(a.recorder.resets == 1 && b.recorder.resets == 1)
        }
    }

    @Test func appendsInOrderLargeOnesToo() async throws {
        try await withPair { a, b in
            var sent: [PeerMessage] = []
            for i in 0..<40 {
                let bytes = [100, 5_000, 200_000, 700_000][i % 4]
                sent.append(append(sampleRun(from: 1 + UInt64(i), count: 1 + i % 3, term: 3, bodyBytes: bytes)))
            }
            a.links.send(sent)
            try await until { b.recorder.count == 40 }
            #expect(zip(sent, b.recorder.messages).allSatisfy(same))
            #expect(a.value("vecraft_peer_messages_sent_total", "2", "bulk") == 40)
        }
    }

    @Test func gzipChangesNothing() async throws {
        var settings = PeerSettings.patient()
        settings.compressFrom = 1_000
        try await withPair(settings) { a, b in
            let there = append(sampleRun(from: 1, count: 300, term: 3))
            let back = append(sampleRun(from: 1, count: 300, term: 3), from: 2, to: 1)
            a.links.send([there])
            b.links.send([back])
            try await until { a.recorder.count == 1 && b.recorder.count == 1 }
            #expect(same(a.recorder.messages[0], back) && same(b.recorder.messages[0], there))
        }
    }

    /// Node 2 stands still while far more bulk than its windows hold is sent to it; a heartbeat sent last is not last.
    @Test func aHeartbeatOvertakesBulk() async throws {
        let gate = DispatchSemaphore(value: 0)
        let isFirst = Atomic<Bool>(true)
        let recorder = Recorder(onReceive: { _ in
            if isFirst.exchange(false, ordering: .relaxed) { gate.wait() }
        })
        try await withPair(two: recorder) { a, b in
            a.links.send([commit(0)])
            try await until { !isFirst.load(ordering: .relaxed) }
            let run = sampleRun(from: 1, count: 1, term: 3, bodyBytes: 400_000)
            a.links.send(Array(repeating: append(run), count: 120))
            a.links.send([message(.heartbeat(.init(commit: 1, round: 1)))])
            gate.signal()
            try await until { b.recorder.count == 122 }
            let at = b.recorder.messages.firstIndex { $0.message.body.name == "heartbeat" } ?? 121
            #expect(at < 100, "the heartbeat came after \(at) of 121 messages")
        }
    }

    @Test func aBrokenLinkIsMadeAgain() async throws {
        try await withPair { a, b in
            a.links.send([commit(1)])
            try await until { b.recorder.count == 1 }
            await b.stopListening()
            try await until { a.recorder.resets == 2 && b.recorder.resets == 2 }
            #expect(!a.links.isLinked(to: ReplicaID(2)))
            try await b.listen()
            try await until { a.recorder.resets == 3 && b.recorder.resets == 3 }
            a.links.send([commit(2)])
            b.links.send([commit(3, from: 2, to: 1)])
            try await until { b.recorder.messages.last?.number == 2 && a.recorder.messages.last?.number == 3 }
            #expect(a.value("vecraft_peer_links_made_total", "2") == 2)
        }
    }

    @Test func aPeerThatMovesIsFollowed() async throws {
        try await withPair { a, b in
            let moved = Node(2)
            try await moved.listen()
            moved.links.setPeers([ReplicaID(1): a.address])
            a.links.setPeers([ReplicaID(2): moved.address])
            try await until { moved.links.isLinked(to: ReplicaID(1)) && a.recorder.resets == 3 }
            a.links.send([commit(7)])
            try await until { moved.recorder.count == 1 }
            await moved.stop()
        }
    }

    @Test func aPeerThatLeavesTheTableHasNoLink() async throws {
        try await withPair { a, b in
            a.links.setPeers([:])
            try await until { b.recorder.resets == 2 }
            a.links.send([commit(1)])
            #expect(a.value("vecraft_peer_messages_dropped_total", "other", "unknown_peer") == 1)
            #expect(!a.links.isLinked(to: ReplicaID(2)))
        }
    }

    @Test func clocksAreCompared() async throws {
        try await withPair { a, b in
            try await until {
                a.links.clockOffset(of: ReplicaID(2)) != nil && b.links.clockOffset(of: ReplicaID(1)) != nil
            }
            #expect(a.links.clockOffset(of: ReplicaID(3)) == nil)
        }
    }

    // MARK: Refusals

    private func refusal(
        _ reason: String, own: UInt64 = 2, settings: PeerSettings = .patient(), meant: UInt64 = 2
    ) async throws {
        let (a, b) = (Node(1), Node(own, settings: settings))
        try await b.listen()
        b.links.setPeers([ReplicaID(1): PeerAddress(host: "127.0.0.1", port: 1)])
        a.links.setPeers([ReplicaID(meant): b.address])
        try await until { b.value("vecraft_peer_links_refused_total", reason) >= 2 }
        #expect(!a.links.isLinked(to: ReplicaID(meant)))
        #expect(a.recorder.resets == 0 && b.recorder.resets == 0)
        await a.stop()
        await b.stop()
    }

    @Test func anotherClusterIsRefused() async throws {
        try await self.refusal("OTHER_CLUSTER", settings: .patient("another"))
    }
    @Test func aWrongAddressIsNoticed() async throws { try await self.refusal("OTHER_NODE", own: 3) }

    @Test func anUnknownNodeIsRefused() async throws {
        let (a, b) = (Node(1), Node(2))
        try await b.listen()
        a.links.setPeers([ReplicaID(2): b.address])
        try await until { b.value("vecraft_peer_links_refused_total", "UNKNOWN_PEER") >= 1 }
        // Known later, it is let in.
        b.links.setPeers([ReplicaID(1): PeerAddress(host: "127.0.0.1", port: 1)])
        try await until { a.links.isLinked(to: ReplicaID(2)) }
        await a.stop()
        await b.stop()
    }

    // MARK: Limits

    @Test func anAbsentPeerHoldsLittle() async throws {
        let a = Node(1)
        a.links.setPeers([ReplicaID(2): PeerAddress(host: a.host, port: 1)])
        let run = sampleRun(from: 1, count: 1, term: 3)
        for i in 0..<1_000 { a.links.send([commit(UInt64(i)), append(run)]) }
        #expect(a.value("vecraft_peer_messages_dropped_total", "2", "no_link") == 1_744)
        await a.stop()
    }

    @Test func silenceBreaksALink() async throws {
        var settings = PeerSettings.patient()
        settings.silenceLimit = .milliseconds(300)
        // A server that takes the stream and never says a word.
        let server = try GRPCServer(
            methods: [
                "/vecraft.internal.v1.Raft/Exchange": .bidirectional { (call) throws(VecraftError) in
                    for try await _ in call.requests {}
                }
            ], group: testLoops)
        let host = ownHost()
        let port = try await server.start(host: host, port: 0)
        let a = Node(1, settings: settings)
        a.links.setPeers([ReplicaID(2): PeerAddress(host: host, port: port)])
        // Each attempt is a new connection; the one given up goes.
        try await until { server.connectionCount == 1 }
        try await until { server.connectionCount == 0 }
        try await until { server.connectionCount == 1 }
        await a.stop()
        await server.drain(grace: .zero)
    }
}
