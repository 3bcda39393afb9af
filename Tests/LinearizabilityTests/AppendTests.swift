import Linearizability
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct AppendTests {
    private static func append(
        _ key: String, _ from: UInt64, _ to: UInt64?, at offset: UInt64 = 0, by client: Int = 1
    ) -> AppendOperation {
        AppendOperation(key: key, client: client, from: from, to: to, offset: offset)
    }

    @Test(arguments: [
        [append("a", 1, 2, at: 1), append("b", 3, 4, at: 2)],
        // At once, in either order; others' entries lie between.
        [append("a", 1, 9, at: 7), append("b", 2, 8, at: 3)],
        // A retry is told the first offset; one without an answer says nothing.
        [append("a", 1, nil), append("b", 2, 3, at: 2), append("a", 4, 5, at: 1), append("a", 6, 7, at: 1)],
        // A retry may also be the one that counts.
        [append("a", 1, nil), append("b", 2, 3, at: 1), append("a", 4, 5, at: 2)],
    ])
    func goodOnesHold(history: [AppendOperation]) {
        #expect(AppendHistory(history).check().holds)
    }

    @Test func doubledAppendsAreFound() {
        let twice = AppendHistory([Self.append("a", 1, 2, at: 1), Self.append("a", 3, 4, at: 2)])
        #expect(twice.check().violation?.kind == .doubled)
        // Both attempts were carried out, and only one was answered: the log says it.
        let unanswered = AppendHistory([Self.append("a", 1, nil), Self.append("a", 3, 4, at: 2)])
        #expect(unanswered.check().holds)
        #expect(unanswered.check(log: [1: "a", 2: "a"]).violation?.kind == .doubled)
    }

    @Test func reorderedOffsetsAreFound() throws {
        let history = AppendHistory([
            Self.append("a", 1, 2, at: 5), Self.append("b", 3, 4, at: 4), Self.append("c", 5, 6, at: 6),
        ])
        let violation = try #require(history.check().violation)
        #expect(violation.kind == .order && Set(violation.operations.map(\.key)) == ["a", "b"])
        #expect(violation.description.contains("b began after a was answered with 5, and is at 4"), "\(violation)")
    }

    @Test func reorderedOffsetsAreFoundWithoutAnAnswer() {
        let history = AppendHistory([Self.append("a", 1, 2, at: 5), Self.append("b", 3, nil)])
        #expect(history.check(log: [5: "a", 6: "b"]).holds)
        #expect(history.check(log: [5: "a", 4: "b"]).violation?.kind == .order)
        #expect(history.check(log: [5: "a"]).holds)
    }

    @Test func sharedOffsetsAreFound() {
        let history = AppendHistory([Self.append("a", 1, 2, at: 1), Self.append("b", 1, 2, at: 1)])
        #expect(history.check().violation?.kind == .shared)
    }

    @Test func lostAppendsAreFound() throws {
        let history = AppendHistory([Self.append("a", 1, 2, at: 1), Self.append("b", 3, 4, at: 2)])
        #expect(history.check(log: [1: "a", 2: "b"]).holds)
        #expect(history.check(log: [1: "a"]).violation?.kind == .lost)
        let other = try #require(history.check(log: [1: "a", 2: "x"]).violation)
        #expect(other.kind == .lost && other.description.contains("holds x"), "\(other)")
    }

    /// A real log under overlapping appends with retries holds; with two offsets exchanged it is judged by comparing all pairs.
    @Test func randomOnes() {
        var bad = 0
        for seed in UInt64(0)..<300 {
            var rng = SeededRNG(seed: seed)
            var history = Self.real(using: &rng)
            #expect(AppendHistory(history).check().holds, "seed \(seed)")
            let answered = history.indices.filter { history[$0].answer != nil }
            let (a, b) = (answered.randomElement(using: &rng)!, answered.randomElement(using: &rng)!)
            let (first, second) = (history[a], history[b])
            guard first.key != second.key else { continue }
            for i in answered {
                if history[i].key == first.key { history[i].answer!.offset = second.answer!.offset }
                if history[i].key == second.key { history[i].answer!.offset = first.answer!.offset }
            }
            let expected = Self.isOrdered(history)
            if !expected { bad += 1 }
            #expect(AppendHistory(history).check().holds == expected, "seed \(seed)")
        }
        #expect(bad > 50)
    }

    private static func real(using rng: inout SeededRNG) -> [AppendOperation] {
        var clocks = [UInt64](repeating: 0, count: 5)
        var planned: [(key: String, effect: UInt64)] = []
        var attempts: [AppendOperation] = []
        for number in 0..<60 {
            let client = Int.random(in: 0..<clocks.count, using: &rng)
            let key = "k\(number)"
            let tries = Int.random(in: 1...3, using: &rng)
            let effective = Int.random(in: 0..<tries, using: &rng)
            for attempt in 0..<tries {
                let from = clocks[client] + .random(in: 1...10, using: &rng)
                let effect = from + .random(in: 0...20, using: &rng)
                let to = effect + .random(in: 0...20, using: &rng)
                if attempt == effective { planned.append((key, effect)) }
                // An attempt before the one that counts failed; the last is answered.
                let isAnswered = attempt >= effective && (attempt == tries - 1 || Bool.random(using: &rng))
                attempts.append(self.append(key, from, isAnswered ? to : nil, by: client))
                clocks[client] = to + 1
            }
        }
        var offsets: [String: UInt64] = [:]
        for (place, append) in planned.sorted(by: { $0.effect < $1.effect }).enumerated() {
            offsets[append.key] = UInt64(place + 1)
        }
        for i in attempts.indices where attempts[i].answer != nil {
            attempts[i].answer!.offset = offsets[attempts[i].key]!
        }
        return attempts
    }

    private static func isOrdered(_ history: [AppendOperation]) -> Bool {
        for a in history {
            guard let answer = a.answer else { continue }
            for b in history where b.key != a.key {
                let began = history.filter { $0.key == b.key }.map(\.invoked).min()!
                if let offset = history.first(where: { $0.key == b.key && $0.answer != nil })?.answer?.offset,
                    answer.returned < began, answer.offset > offset
                {
                    return false
                }
            }
        }
        return true
    }
}
