import JournalFormat
import Primitives
import Raft
import Testing
import Wire

@testable import PeerTransport

@Suite struct PeerWireTests {
    static let bodies: [RaftMessage.Body] = [
        .preVote(last: LogPosition(index: 7, term: 2)),
        .preVoteReply(isGranted: true), .preVoteReply(isGranted: false),
        .vote(last: LogPosition(index: 1 << 40, term: 9), isTransfer: true),
        .vote(last: .zero, isTransfer: false),
        .voteReply(isGranted: true), .voteReply(isGranted: false),
        .append(.init(previous: LogPosition(index: 4, term: 1), commit: 3, round: 8)),
        .heartbeat(.init(commit: 10, round: 11)),
        .heartbeat(.init(commit: 10, round: 11, recovery: .init(incarnation: 3, through: 99))),
        .acknowledge(.init(matched: 9, durable: 8, round: 7, incarnation: 2, isRecovering: true)),
        .reject(.init(previous: 6, hint: LogPosition(index: 4, term: 2), incarnation: 1, isRecovering: false)),
        .commit(12), .timeoutNow, .outdated,
    ]

    @Test(arguments: bodies) func everyKindComesBack(body: RaftMessage.Body) throws {
        for partition in [PartitionID.data(0), .data(65_535), .txn, .sys] {
            let sent = message(
                body, partition: partition, closed: ClosedTimestamp(offset: 5, hlc: HLCTimestamp(rawValue: .max)))
            #expect(same(try decode(encode(sent)), sent))
        }
        let timed = message(body, closed: ClosedTimestamp(offset: 5, hlc: .zero, since: 77))
        #expect(same(try decode(encode(timed)), timed))
        #expect(same(try decode(encode(message(body))), message(body)))
    }

    @Test func framesComeBack() throws {
        let sent = append(sampleRun(from: 5, count: 4, term: 3))
        #expect(same(try decode(encode(sent)), sent))
    }

    @Test func aConfigurationComesBack() throws {
        let membership = Membership(members: [
            .init(id: ReplicaID(1), isVoter: true), .init(id: ReplicaID(2), isVoter: false, isOutgoing: true),
            .init(id: ReplicaID(4), isVoter: false), .init(id: ReplicaID(.max), isVoter: true, isOutgoing: true),
        ])
        let sent = append(sampleRun(from: 5, count: 1, term: 3), membership: membership)
        #expect(same(try decode(encode(sent)), sent))
    }

    // MARK: What does not hold

    typealias Proto = VecraftInternalV1

    private func refused(_ change: (inout Proto.ReplicaMessage) -> Void) -> Bool {
        var wire = sampleAppend()
        change(&wire)
        do {
            _ = try decode(wire.encode())
            return false
        } catch {
            return true
        }
    }

    private func sampleAppend() -> Proto.ReplicaMessage {
        (try? Proto.ReplicaMessage.decode(encode(append(sampleRun(from: 5, count: 4, term: 3))))) ?? .init()
    }

    private func refusedEntries(_ change: (inout Proto.Entries) -> Void) -> Bool {
        self.refused { wire in
            guard case .append(var append) = wire.body, var entries = append.entries else { return }
            change(&entries)
            append.entries = entries
            wire.body = .append(append)
        }
    }

    @Test func nothingChangedHolds() { #expect(!self.refusedEntries { _ in }) }

    @Test func whatDoesNotHoldIsRefused() {
        #expect(self.refused { $0.partitionKind = .init(rawValue: 9) })
        #expect(self.refused { $0.partitionKind = .init(rawValue: 0) })
        #expect(self.refused { $0.partitionKind = .init(rawValue: 257) })
        #expect(self.refused { $0.partitionKind = .init(rawValue: -1) })
        #expect(self.refused { $0.partitionIndex = 65_536 })
        #expect(self.refused { $0.term = .max })
        #expect(self.refused { $0.body = nil })
        #expect(self.refused { $0.closed = .init(offset: .max, hlc: 0) })
        #expect(self.refused { $0.body = .acknowledge(.init(matched: 1, durable: 2)) })
        #expect(self.refused { $0.body = .commit(.init(index: 1 << 62)) })
    }

    @Test func entriesThatDoNotHoldAreRefused() {
        #expect(self.refusedEntries { $0.last = 4 })
        #expect(self.refusedEntries { $0.last = 9 })
        #expect(self.refusedEntries { $0.last = .max })
        #expect(self.refusedEntries { $0.first = 6 })
        #expect(self.refusedEntries { $0.first = 0 })
        #expect(self.refusedEntries { $0.term = 4 })
        #expect(self.refusedEntries { $0.salt = 78 })
        #expect(self.refusedEntries { $0.bytes = .max })
        #expect(self.refusedEntries { $0.frameBytes = .max })
        #expect(self.refusedEntries { $0.frameBytes = 0 })
        #expect(self.refusedEntries { $0.frames.removeLast() })
        #expect(self.refusedEntries { $0.frames.append(0) })
        #expect(self.refusedEntries { $0.membership = .init(members: [.init(id: 1, voter: true)]) })
        for at in stride(from: 0, to: 900, by: 7) {
            #expect(self.refusedEntries { $0.frames[at] ^= 0x10 }, "byte \(at)")
        }
    }

    @Test func anEntryOfAnotherTermIsRefused() {
        let run = sampleRun(from: 5, count: 4, term: 3, terms: [2: 2])
        #expect(throws: PeerFault.self) { try decode(encode(append(run))) }
    }

    @Test func membersInDisorderAreRefused() throws {
        let run = sampleRun(from: 5, count: 1, term: 3)
        var wire = try Proto.ReplicaMessage.decode(encode(append(run, membership: .init(voters: [ReplicaID(1)]))))
        guard case .append(var append) = wire.body else { return }
        append.entries?.membership = .init(members: [.init(id: 2), .init(id: 2)])
        wire.body = .append(append)
        #expect(throws: PeerFault.self) { try decode(wire.encode()) }
    }

    /// Whatever comes: an error or a message, never a trap.
    @Test func randomDamageNeverTraps() {
        var rng = SeededRNG(seed: 4)
        let good =
            PeerWireTests.bodies.map { encode(message($0)) } + [encode(append(sampleRun(from: 5, count: 2, term: 3)))]
        for _ in 0..<20_000 {
            var bytes = good[Int.random(in: 0..<good.count, using: &rng)]
            for _ in 0..<Int.random(in: 1...4, using: &rng) {
                let at = Int.random(in: 0..<bytes.count, using: &rng)
                switch Int.random(in: 0..<3, using: &rng) {
                case 0: bytes[at] = UInt8.random(in: .min ... .max, using: &rng)
                case 1: bytes.remove(at: at)
                default: bytes.insert(UInt8.random(in: .min ... .max, using: &rng), at: at)
                }
                if bytes.isEmpty { bytes = [0] }
            }
            _ = try? decode(bytes)
        }
    }
}

func encode(_ message: PeerMessage) -> [UInt8] {
    ArenaPool.shared.withArena { arena in
        let out = VecraftInternalV1.ReplicaMessage.Builder(in: arena)
        PeerWire.fill(out, message, frames: message.frames?.bytes)
        return withExtendedLifetime(message) { out.encode() }
    }
}

/// As a session takes a message whose frames are not cut.
func decode(_ bytes: [UInt8]) throws -> PeerMessage {
    let arena = Arena()
    return try withExtendedLifetime(arena) {
        let view = try bytes.withUnsafeBytes { try VecraftInternalV1.ReplicaMessage.View.decode($0, in: arena) }
        var message = try PeerWire.read(view, from: ReplicaID(1), to: ReplicaID(2))
        if case .append(let wire) = view.body, let entries = wire.entries,
            case .append(let append) = message.message.body, let range = append.entries
        {
            var assembly = try FrameAssembly(
                total: entries.frameBytes, limit: 1 << 20, salt: entries.salt, first: entries.first)
            try assembly.add(entries.frames)
            guard assembly.isWhole else { throw PeerFault(.protocolBroken, "cut") }
            let run = try assembly.run()
            try PeerWire.check(run, against: range)
            message.frames = run
        }
        return message
    }
}
