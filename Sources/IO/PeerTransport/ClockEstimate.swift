/// How far a peer's wall clock is from ours, from pings in the manner of NTP (RFC 5905, 8 and 10).
struct ClockEstimate {
    struct Sample: Equatable {
        var roundTripNanoseconds: UInt64
        /// Peer's clock minus ours.
        var offsetNanoseconds: Int64
    }

    /// NTP keeps eight; the one with the shortest way says most, for its error is at most half its round trip.
    private static let kept = 8
    private var samples: [Sample] = []

    /// Takes one ping and its answer.
    ///
    /// - Parameters:
    ///   - sentMonotonic, receivedMonotonic, receivedWall: Our clocks.
    ///   - peerReceived, peerAnswered: The peer's wall clock.
    /// - Returns: nil when the answer makes no sense: the peer's clock was set meanwhile, or it is not an answer to a ping of ours.
    mutating func add(
        sentMonotonic: UInt64, receivedMonotonic: UInt64, receivedWall: UInt64, peerReceived: UInt64,
        peerAnswered: UInt64
    ) -> Sample? {
        guard sentMonotonic <= receivedMonotonic, peerReceived <= peerAnswered else { return nil }
        let passed = receivedMonotonic - sentMonotonic
        let held = peerAnswered - peerReceived
        guard held <= passed, passed <= receivedWall, receivedWall <= Self.latest, peerAnswered <= Self.latest else {
            return nil
        }
        // Our wall clock when the ping left, had it not been set since.
        let sentWall = Int64(receivedWall - passed)
        let there = Int64(peerReceived) - sentWall
        let back = Int64(peerAnswered) - Int64(receivedWall)
        let sample = Sample(roundTripNanoseconds: passed - held, offsetNanoseconds: there / 2 + back / 2)
        // Each is off by half its way at most. If two cannot both be true, a clock was set in between, and what was before tells nothing.
        self.samples.removeAll {
            ($0.offsetNanoseconds - sample.offsetNanoseconds).magnitude > Self.slack($0) + Self.slack(sample)
        }
        self.samples.append(sample)
        if self.samples.count > Self.kept { self.samples.removeFirst() }
        return sample
    }

    /// With as much as clocks drift apart meanwhile.
    private static func slack(_ sample: Sample) -> UInt64 { sample.roundTripNanoseconds / 2 + 1_000_000 }

    /// Sums and differences of times below it cannot overflow; the year 2116.
    private static let latest = UInt64(Int64.max / 2)

    var best: Sample? { self.samples.min { $0.roundTripNanoseconds < $1.roundTripNanoseconds } }
}
