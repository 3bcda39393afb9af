/// How far a peer's steady clock (`SystemTime.steadyNanoseconds`) is ahead of ours at most: so a moment of its time can be said in ours.
///
/// A ping arrives after it was sent, whatever way it took: what the peer's clock showed then, less what ours showed when it left, is
/// too much, never too little. Nobody sets these clocks, so unlike one of wall clocks this bound stays true; only their rates differ.
struct SteadyOffset {
    private struct Sample {
        var ahead: Int64
        var at: UInt64
    }

    /// As many as of ``ClockEstimate``; the least of them counts.
    private static let kept = 8
    /// One part of so many: twice what clocks are slewed by at most (500 ppm).
    private static let drift: UInt64 = 1_000
    private var samples: [Sample] = []

    /// - Parameters:
    ///   - sent: By our clock.
    ///   - received: By the peer's; 0: it does not say.
    mutating func add(sent: UInt64, received: UInt64) {
        guard received > 0, sent <= Self.latest, received <= Self.latest else { return }
        self.samples.append(Sample(ahead: Int64(received) - Int64(sent), at: sent))
        if self.samples.count > Self.kept { self.samples.removeFirst() }
    }

    /// A moment of the peer's time in ours, or one before it; nil before the first sample.
    func here(_ there: UInt64, now: UInt64) -> UInt64? {
        guard there <= Self.latest, now <= Self.latest else { return nil }
        let bounds = self.samples.map { $0.ahead + Int64((now - min($0.at, now)) / Self.drift) }
        guard let ahead = bounds.min() else { return nil }
        return min(UInt64(max(0, Int64(there) - ahead)), now)
    }

    /// Sums and differences of times below it cannot overflow.
    private static let latest = UInt64(Int64.max / 4)
}
