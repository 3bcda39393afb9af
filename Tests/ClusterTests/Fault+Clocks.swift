import ClusterSupport
import Primitives
import TestSupport

/// A node's wall clock is wrong, or each node's is in its own way, and right again when the fault is over.
extension Fault {
    func setClock(_ run: ClusterRun, _ load: ClusterLoad, leader: Int, follower: Int, _ round: Int) async throws {
        guard let clocks = run.cluster.clocks else { throw LoadFailure(description: "no clocks to set") }
        var rng = SeededRNG(seed: RealClusters.ClusterTortureTests.seed &+ UInt64(round))
        let leads = self == .stepLeadersClockFar || Bool.random(using: &rng)
        let node = leads ? leader : follower
        let sign = Bool.random(using: &rng) ? 1 : -1
        let small = Duration.milliseconds(sign * Int.random(in: 50...400, using: &rng))
        // Beyond what is allowed (`clock.max_offset_ms`, 500).
        let large = Duration.milliseconds(sign * Int.random(in: 600...3_000, using: &rng))
        let outcome: Result<Void, any Error>
        do {
            switch self {
            case .driftClock: try await self.drift(clocks, node, by: large, load)
            case .stepAllClocks:
                // As far apart as they may be. Further, and what they stamp says nothing of its age to a node that was away and has but
                // the stamps to go by; nodes that were there do not need them (`ClockTests`).
                for node in run.cluster.nodes.map(\.id) {
                    try clocks.set(node, to: .milliseconds(Int.random(in: -250...250, using: &rng)))
                }
                try await load.awaitWrites(100)
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...3_000, using: &rng)))
                try await load.awaitWrites(100)
            case .restartWithWrongClock:
                try clocks.set(node, to: Bool.random(using: &rng) ? small : large)
                await run.cluster[node].kill()
                try await load.awaitWrites(50)
                try await run.cluster[node].start()
                try await load.awaitWrites(200)
            default:
                try clocks.set(node, to: self == .stepClock ? small : large)
                // At first nobody has noticed, then all have.
                try await load.awaitWrites(Int.random(in: 10...100, using: &rng))
                try await Task.sleep(for: .milliseconds(Int.random(in: 0...3_000, using: &rng)))
                try await load.awaitWrites(100)
            }
            outcome = .success(())
        } catch {
            outcome = .failure(LoadFailure(description: "the clock of node \(node), by \(small) or \(large): \(error)"))
        }
        for node in run.cluster.nodes.map(\.id) { try clocks.set(node, to: .zero) }
        try outcome.get()
        try await load.awaitWrites(50)
    }

    /// In small steps, and back in such.
    private func drift(_ clocks: ClockShift, _ node: Int, by end: Duration, _ load: ClusterLoad) async throws {
        let steps = 60
        for step in Array(1...steps) + Array((0..<steps).reversed()) {
            try clocks.set(node, to: end * step / steps)
            try await Task.sleep(for: .milliseconds(50))
        }
        try await load.awaitWrites(50)
    }
}
