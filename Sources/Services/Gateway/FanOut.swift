package import Observability
package import Primitives
internal import Synchronization

/// What is known of other nodes as answerers: whom to ask, and when to ask another one as well.
package final class FanOut: Sendable {
    private struct Node {
        /// Smoothed, nanoseconds.
        var latency: Double = 0
        var failedAt: UInt64 = 0
    }
    private struct State {
        var nodes: [UInt64: Node] = [:]
        /// Estimate of the 95th percentile of all answers, nanoseconds.
        var slow: Double = 20_000_000
        var answers = 0
        /// Hedges that may be made, in hundredths.
        var hedges = 1_000
    }
    private let state = Mutex(State())
    private let metrics: FanOutMetrics

    /// Before as many answers little is known of what is slow.
    private static let learned = 50
    private static let unlearned: UInt64 = 100_000_000
    private static let delays: ClosedRange<Double> = 5e6...500e6
    /// A node that failed is asked last for this long.
    private static let shunned: UInt64 = 1_000_000_000
    /// Of a hundred questions, how many may be asked twice; and at once.
    private static let hedgesEach = 5
    private static let hedgesMost = 1_000

    package init(_ metrics: FanOutMetrics) { self.metrics = metrics }

    /// Whom to ask, of those that did not fail just now: one that is asked anyway, else one that is near, else the one that answers fastest.
    ///
    /// What goes from zone to zone costs, and latency tells zones apart only once both have been asked.
    package func prefer(
        _ nodes: [UInt64], like asked: some Collection<UInt64>, near: (UInt64) -> Bool = { _ in true }
    ) -> UInt64? {
        let now = SystemTime.monotonicNanoseconds
        return self.state.withLock { state in
            func weight(_ id: UInt64) -> (Int, Int, Double) {
                let node = state.nodes[id] ?? Node()
                let distance = near(id) ? 0 : 1
                if node.failedAt > 0, now - node.failedAt < Self.shunned { return (2, distance, node.latency) }
                return (asked.contains(id) ? 0 : 1, distance, node.latency)
            }
            return nodes.map { (id: $0, weight: weight($0)) }.min { $0.weight < $1.weight }?.id
        }
    }

    package func answered(_ node: UInt64, _ result: Result<[UInt8], VecraftError>, nanoseconds: UInt64) {
        let took = Double(nanoseconds)
        self.metrics.seconds.observe(nanoseconds: nanoseconds)
        self.state.withLock { state in
            var known = state.nodes[node] ?? Node()
            switch result {
            case .success:
                known.failedAt = 0
                known.latency += (took - known.latency) / 16
                state.answers += 1
                state.hedges = min(Self.hedgesMost, state.hedges + Self.hedgesEach)
                // Moves up by 19 steps for each slower one and down by one for each faster: at rest 1 of 20 is slower.
                let step = state.slow / 200
                state.slow += took > state.slow ? 19 * step : -step
                state.slow = min(max(state.slow, Self.delays.lowerBound), Self.delays.upperBound)
            case .failure(let error) where error.code == .unavailable || error.code == .deadlineExceeded:
                known.failedAt = SystemTime.monotonicNanoseconds
            case .failure: break
            }
            state.nodes[node] = known
        }
        switch result {
        case .success: self.metrics.answered.increment()
        case .failure: self.metrics.failed.increment()
        }
    }

    /// Nanoseconds after which another holder is asked as well.
    var hedgeDelay: UInt64 {
        self.state.withLock { $0.answers < Self.learned ? Self.unlearned : UInt64($0.slow) }
    }

    /// A node has not answered in that time: others go first for a while.
    package func late(_ node: UInt64) {
        self.state.withLock { $0.nodes[node, default: Node()].failedAt = SystemTime.monotonicNanoseconds }
    }

    /// Whether one may be made now: at most so many of all questions, lest a slow cluster gets twice the work.
    func takeHedge() -> Bool {
        let isTaken = self.state.withLock { state in
            guard state.hedges >= 100 else { return false }
            state.hedges -= 100
            return true
        }
        if isTaken { self.metrics.hedged.increment() }
        return isTaken
    }
}

/// Questions to other nodes.
package struct FanOutMetrics: Sendable {
    let seconds: Histogram
    let answered: Counter
    let failed: Counter
    let hedged: Counter

    package init(_ registry: MetricsRegistry) {
        self.seconds = registry.histogram(
            "vecraft_query_shard_read_seconds", help: "Until another node answered for its shards.", labels: []
        ).with()
        let reads = registry.counter(
            "vecraft_query_shard_reads_total", help: "Questions to other nodes for their shards, by outcome.",
            labels: ["outcome"])
        self.answered = reads.with("answered")
        self.failed = reads.with("failed")
        self.hedged = registry.counter(
            "vecraft_query_hedged_reads_total", help: "Questions asked of a second node because the first was slow.",
            labels: []
        ).with()
    }
}
