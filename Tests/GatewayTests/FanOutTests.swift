import Gateway
import Observability
import Primitives
import Testing

/// Which holder of a shard is asked.
@Suite struct FanOutTests {
    private let fanOut = FanOut(FanOutMetrics(MetricsRegistry()))
    private let none: [UInt64] = []

    @Test func whoIsNearIsAskedBeforeWhoIsFast() {
        // Node 3 answers in a tenth of the time.
        for _ in 0..<100 {
            self.fanOut.answered(2, .success([]), nanoseconds: 1_000_000)
            self.fanOut.answered(3, .success([]), nanoseconds: 100_000)
            self.fanOut.answered(4, .success([]), nanoseconds: 2_000_000)
        }
        #expect(self.fanOut.prefer([2, 3, 4], like: self.none) == 3)
        #expect(self.fanOut.prefer([2, 3, 4], like: self.none) { $0 != 3 } == 2, "of those that are near the fastest")
        #expect(self.fanOut.prefer([3, 4], like: self.none) { $0 == 4 } == 4)
        #expect(self.fanOut.prefer([3, 4], like: self.none) { _ in false } == 3)
        #expect(self.fanOut.prefer([], like: self.none) { _ in true } == nil)
    }

    @Test func whoIsAskedAnywayIsAskedForMore() {
        #expect(self.fanOut.prefer([2, 3], like: [3]) { $0 == 2 } == 3)
    }

    @Test func whoFailedJustNowIsAskedLastWhereverItIs() {
        self.fanOut.answered(2, .failure(VecraftError(.unavailable, "it is away")), nanoseconds: 1)
        #expect(self.fanOut.prefer([2, 3], like: self.none) { $0 == 2 } == 3)
        #expect(self.fanOut.prefer([2, 3], like: [2]) { $0 == 2 } == 3)
        #expect(self.fanOut.prefer([2], like: self.none) { $0 == 2 } == 2, "better than nobody")
        self.fanOut.answered(2, .success([]), nanoseconds: 1_000)
        #expect(self.fanOut.prefer([2, 3], like: self.none) { $0 == 2 } == 2)
    }
}
