import Gateway
import Primitives
import Testing

/// What a point may show that one process writes over and over.
@Suite struct CanaryJudgeTests {
    private static let millisecond: UInt64 = 1_000_000

    private func read(
        _ level: ConsistencyLevel, _ seen: CanaryValue?, at milliseconds: UInt64 = 1_000_000, bound: UInt64 = 1000
    ) -> CanaryJudge.Read {
        CanaryJudge.Read(level: level, seen: seen, began: milliseconds * Self.millisecond, boundMilliseconds: bound)
    }

    /// A judge that has seen two writes acknowledged, ten seconds apart.
    private func judge() -> (judge: CanaryJudge, first: CanaryValue, second: CanaryValue) {
        var judge = CanaryJudge(process: 7)
        let first = judge.next()
        judge.acknowledge(first, at: 10_000 * Self.millisecond)
        let second = judge.next()
        judge.acknowledge(second, at: 20_000 * Self.millisecond)
        return (judge, first, second)
    }

    @Test func theLastAcknowledgedValueKeepsEveryLevel() {
        let (judge, _, second) = self.judge()
        for level in ConsistencyLevel.allCases { #expect(judge.judge(self.read(level, second)) == .ok, "\(level)") }
    }

    @Test func anOlderOrAbsentValueBreaksStrongAndReadYourWrites() {
        let (judge, first, _) = self.judge()
        for level in [ConsistencyLevel.strong, .readYourWrites] {
            #expect(judge.judge(self.read(level, first)) != .ok, "\(level)")
            #expect(judge.judge(self.read(level, nil)) != .ok, "\(level)")
        }
        #expect(judge.judge(self.read(.eventual, first)) == .ok)
        #expect(judge.judge(self.read(.eventual, nil)) == .ok)
    }

    @Test func boundedMayBeBehindByItsBoundAndNoMore() {
        let (judge, first, second) = self.judge()
        // The second is half a second old: the first will do, nothing will not.
        #expect(judge.judge(self.read(.bounded, first, at: 20_500)) == .ok)
        #expect(judge.judge(self.read(.bounded, nil, at: 20_500)) != .ok)
        // At the bound it must be there.
        #expect(judge.judge(self.read(.bounded, first, at: 21_000)) != .ok)
        #expect(judge.judge(self.read(.bounded, second, at: 21_000)) == .ok)
        // Within the bound of the first, nothing is needed.
        #expect(judge.judge(self.read(.bounded, nil, at: 10_999)) == .ok)
    }

    @Test func anAnswerThatSaysToMissMoreThanTheBoundBreaksIt() {
        let (judge, _, second) = self.judge()
        var read = self.read(.bounded, second)
        read.missedMilliseconds = 1010
        #expect(judge.judge(read) != .ok)
        // It waited for 8 ms, in which it may have aged.
        read.tookNanoseconds = 8 * Self.millisecond
        #expect(judge.judge(read) == .ok)
    }

    @Test func aValueThatWasNeverWrittenBreaksEveryLevel() {
        let (judge, _, _) = self.judge()
        let future = CanaryValue(process: 7, sequence: 3)
        for level in ConsistencyLevel.allCases { #expect(judge.judge(self.read(level, future)) != .ok, "\(level)") }
    }

    @Test func aWriteWithoutAnAnswerMayTakeEffectAtAnyTime() {
        var (judge, first, _) = self.judge()
        let lost = judge.next()
        judge.doubt(lost)
        let last = judge.next()
        judge.acknowledge(last, at: 30_000 * Self.millisecond)
        #expect(judge.judge(self.read(.strong, lost)) == .ok)
        #expect(judge.judge(self.read(.strong, last)) == .ok)
        #expect(judge.judge(self.read(.strong, first)) != .ok)
    }

    @Test func theProcessBeforeIsForgivenForAWhile() {
        let foreign = CanaryValue(process: 8, sequence: 99)
        var judge = CanaryJudge(process: 7)
        #expect(judge.judge(self.read(.strong, foreign)) == .ok)
        for i in 1...UInt64(CanaryJudge.grace) {
            judge.acknowledge(judge.next(), at: i)
            #expect(judge.judge(self.read(.strong, foreign)) == .ok)
        }
        judge.acknowledge(judge.next(), at: 9)
        #expect(judge.judge(self.read(.strong, foreign)) != .ok)
    }

    @Test func valuesReadBackFromTheirText() {
        let value = CanaryValue(process: .max, sequence: 12)
        #expect(CanaryValue(value.text) == value)
        for text in ["", "7", "7-", "x-1-2", "g-1"] { #expect(CanaryValue(text) == nil, "\(text)") }
    }
}
