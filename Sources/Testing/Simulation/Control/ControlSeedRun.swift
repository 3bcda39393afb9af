internal import Synchronization

/// Many seeds of the control plane, on a few threads.
package struct ControlSeedRun: Sendable {
    package let counts: ControlCounts
    package let findings: Int
    package let elapsed: Duration

    /// - Parameter report: Called with the first few findings and the end of their transcripts; of a single seed, the whole.
    package static func run(
        _ seeds: Range<UInt64>, options: ControlOptions = ControlOptions(), threads: Int,
        report: @escaping @Sendable (String) -> Void
    ) -> ControlSeedRun {
        let next = Atomic<UInt64>(seeds.lowerBound)
        let total = Mutex((counts: ControlCounts(), findings: 0))
        let clock = ContinuousClock()
        let start = clock.now
        SimulationThreads.run(threads) {
            while true {
                let seed = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard seed < seeds.upperBound else { return }
                let result = ControlSimulation.run(seed: seed, options: options)
                let isWorthTelling = total.withLock { total in
                    total.counts += result.counts
                    if result.finding != nil { total.findings += 1 }
                    return result.finding != nil && total.findings <= 3
                }
                if isWorthTelling { report(seeds.count == 1 ? result.description : result.brief) }
                // Enough is known; the rest would only take time.
                if total.withLock({ $0.findings }) >= 20 { return }
            }
        }
        return total.withLock { ControlSeedRun(counts: $0.counts, findings: $0.findings, elapsed: clock.now - start) }
    }
}
