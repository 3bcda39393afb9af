import Glibc
import JournalFormat
import Raft
import Synchronization
import Testing

@testable import PeerTransport

/// Prints what messages cost; run by name with VECRAFT_PEER_COST=1.
@Suite(.serialized, .enabled(if: getenv("VECRAFT_PEER_COST") != nil)) struct CostTests {
    /// An append or heartbeat there, an acknowledge back, `depth` of them under way.
    @Test(arguments: [(0, 1), (0, 16), (4_096, 1), (4_096, 16)]) func ofAPair(entryBytes: Int, depth: Int) async throws
    {
        let pairs = 30_000
        let nodes = Mutex<(Node?, Node?)>((nil, nil))
        let left = Atomic<Int>(pairs)
        let done = Atomic<Int>(0)
        let reply = message(
            .acknowledge(.init(matched: 9, durable: 8, round: 7, incarnation: 0, isRecovering: false)), from: 2, to: 1)
        let ask =
            entryBytes == 0
            ? message(.heartbeat(.init(commit: 9, round: 7)))
            : append(sampleRun(from: 1, count: 1, term: 3, bodyBytes: entryBytes))
        let two = Quiet { _ in nodes.withLock { $0.1 }?.links.send([reply]) }
        let one = Quiet { _ in
            done.add(1, ordering: .relaxed)
            if left.subtract(1, ordering: .relaxed).newValue >= 0 { nodes.withLock { $0.0 }?.links.send([ask]) }
        }
        try await withPair(one: one.recorder, two: two.recorder) { a, b in
            nodes.withLock { $0 = (a, b) }
            let before = cpuMicroseconds()
            left.subtract(depth, ordering: .relaxed)
            for _ in 0..<depth { a.links.send([ask]) }
            try await until { done.load(ordering: .relaxed) == pairs }
            let after = cpuMicroseconds()
            let (user, kernel) = (
                Double(after.user - before.user) / Double(pairs), Double(after.kernel - before.kernel) / Double(pairs)
            )
            print(
                "peer cost: \(entryBytes) B, \(depth) under way: \(user) us of our CPU a pair, \(kernel) us of the kernel's"
            )
        }
        nodes.withLock { $0 = (nil, nil) }
    }

    @Test func ofBulk() async throws {
        let bytes = Atomic<Int>(0)
        let two = Quiet { message in bytes.add(message.frames?.bytes.count ?? 0, ordering: .relaxed) }
        try await withPair(two: two.recorder) { a, b in
            let run = sampleRun(from: 1, count: 60, term: 3, bodyBytes: 4_096)
            let clock = ContinuousClock()
            let (start, before) = (clock.now, cpuMicroseconds())
            for i in 1...2_000 {
                a.links.send([append(run)])
                if i % 100 == 0 { try await until { bytes.load(ordering: .relaxed) == i * run.bytes.count } }
            }
            let seconds = (clock.now - start) / .seconds(1)
            let megabytes = Double(2_000 * run.bytes.count) / 1e6
            let after = cpuMicroseconds()
            let cpu = Double(after.user + after.kernel - before.user - before.kernel) / megabytes
            print("peer cost: bulk \(Int(megabytes / seconds)) MB/s, \(Int(cpu)) us CPU a MB")
        }
    }
}

/// Keeps nothing.
private struct Quiet {
    let recorder: Recorder
    init(_ onReceive: @escaping @Sendable (PeerMessage) -> Void) {
        self.recorder = Recorder(onReceive: onReceive, keeps: false)
    }
}

private func cpuMicroseconds() -> (user: Int, kernel: Int) {
    var usage = rusage()
    getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
    return (
        usage.ru_utime.tv_sec * 1_000_000 + Int(usage.ru_utime.tv_usec),
        usage.ru_stime.tv_sec * 1_000_000 + Int(usage.ru_stime.tv_usec)
    )
}
