import Linearizability
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct RegisterTests {
    @Test(arguments: [
        [],
        [read(nil, 1, 2)],
        [write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8)],
        // While a write is under way, either value.
        [write(1, 1, 2), write(2, 3, 9), read(1, 4, 5), read(2, 6, 7)],
        [write(1, 1, 9), read(nil, 2, 3), read(1, 4, 5)],
        // Two at once, in either order.
        [write(1, 1, 9), write(2, 1, 9, by: 3), read(1, 10, 11)],
        [write(1, 1, 9), write(2, 1, 9, by: 3), read(2, 10, 11)],
        [write(1, 1, 9), write(2, 1, 9, by: 3), read(1, 2, 8), read(2, 10, 11)],
        // Calls that touch are concurrent.
        [write(1, 1, 2), read(nil, 2, 3)],
        // Without an answer: never, in time, or late.
        [write(1, 1, nil), read(nil, 10, 11), read(nil, 12, 13)],
        [write(1, 1, nil), read(1, 2, 3), read(1, 4, 5)],
        [write(1, 1, nil), read(nil, 10, 11), write(2, 12, 13), read(2, 14, 15), read(1, 16, 17)],
        [write(1, 1, 2), read(7, 3, nil), read(1, 4, 5)],
    ])
    func goodOnesHold(history: [RegisterOperation]) {
        #expect(RegisterHistory(history).check().holds)
    }

    struct Planted: Sendable, CustomTestStringConvertible {
        let name: String
        let history: [RegisterOperation]
        let kind: RegisterViolation.Kind
        var testDescription: String { self.name }
    }

    static let planted = [
        Planted(
            name: "stale read", history: [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6), read(2, 7, 8)], kind: .stale),
        Planted(
            name: "lost write", history: [write(1, 1, 2), write(2, 3, 4), read(1, 5, 6), read(1, 7, 8)], kind: .lost),
        Planted(name: "lost first write", history: [write(1, 1, 2), read(nil, 3, 4)], kind: .lost),
        Planted(
            name: "write seen and unseen", history: [write(1, 1, 2), write(2, 3, 20), read(2, 5, 6), read(1, 7, 8)],
            kind: .unseen),
        Planted(
            name: "unknown write seen and unseen",
            history: [write(1, 1, 2), write(2, 3, nil), read(2, 5, 6), read(1, 7, 8)],
            kind: .unseen),
        Planted(name: "read from the future", history: [read(1, 1, 2), write(1, 3, 4)], kind: .future),
        Planted(name: "invented value", history: [write(1, 1, 2), read(9, 3, 4)], kind: .unwritten),
        // A retry that was applied a second time brings an overwritten value back.
        Planted(
            name: "doubled write",
            history: [write(1, 1, 2), read(1, 3, 4), write(2, 5, 6), read(2, 7, 8), read(1, 9, 10)],
            kind: .unseen),
        Planted(
            name: "two readers, two orders",
            history: [write(1, 1, 20), write(2, 1, 20, by: 3), read(1, 2, 3), read(2, 4, 5), read(1, 6, 7)],
            kind: .unseen),
    ]

    @Test(arguments: planted) func plantedOnesAreFound(planted: Planted) throws {
        let violation = try #require(RegisterHistory(planted.history).check().violation)
        #expect(violation.kind == planted.kind, "\(violation)")
    }

    /// The same in the middle of a long history: what is shown is still only what matters.
    @Test(arguments: planted) func fewOperationsAreShown(planted: Planted) throws {
        var rng = SeededRNG(seed: 3)
        let before = RealRegister(lost: 0).history(using: &rng)
        let begin = before.compactMap(\.returned).max()! + 1
        // What follows is told in values of its own; a last write settles what was before.
        let shift = UInt64(10_000)
        let settled = write(shift, begin, begin + 1)
        let moved = planted.history.map { operation in
            var moved = operation
            moved.invoked += begin + 10
            moved.returned = operation.returned.map { $0 + begin + 10 }
            switch operation.action {
            case .write(let value): moved.action = .write(value + shift)
            case .read(let value): moved.action = .read(value.map { $0 + shift } ?? shift)
            }
            return moved
        }
        var after: [RegisterOperation] = []
        for i in UInt64(1)...100 {
            let start = begin + 100 + 10 * i
            after += [write(20_000 + i, start, start + 1), read(20_000 + i, start + 2, start + 3)]
        }
        let history = RegisterHistory(before + [settled] + moved + after)
        let violation = try #require(history.check().violation)
        #expect(violation.operations.count <= 5, "\(violation)")
        #expect(violation.total == 400 + 1 + moved.count + 200)
        #expect(violation.kind == planted.kind, "\(violation)")
        let text = violation.description
        #expect(text.contains(planted.kind.rawValue) && text.contains("client"), "\(text)")
    }

    @Test func anExplanationReadsWell() throws {
        let history = [
            RegisterOperation(register: 4, client: 1, .write(1), from: 1_000_000, to: 3_000_000, note: "node 1"),
            RegisterOperation(register: 4, client: 1, .write(2), from: 4_000_000, to: 6_000_000, note: "node 3"),
            RegisterOperation(register: 4, client: 2, .read(1), from: 7_500_000, to: 9_000_000, note: "node 2"),
        ]
        let violation = try #require(RegisterHistory(history).check().violation)
        #expect(
            violation.description == """
                register 4 is not linearizable: an acknowledged write that nobody saw.
                The fewest of its 3 operations that show it; milliseconds after 1000000 ns:
                |------|                          0.000 to 2.000: client 1 writes 1 (node 1)
                           |-------|              3.000 to 5.000: client 1 writes 2 (node 3)
                                         |-----|  6.500 to 8.000: client 2 reads 1 (node 2)
                """)
    }

    @Test func registersAreIndependent() {
        var operations = [write(1, 1, 2), write(2, 3, 4), read(2, 5, 6)]
        operations += operations.map { operation in
            var other = operation
            other.register = 1
            return other
        }
        #expect(RegisterHistory(operations).check().holds)
        operations.append(RegisterOperation(register: 1, client: 9, .read(1), from: 7, to: 8))
        #expect(RegisterHistory(operations).check().violation?.register == 1)
    }

    @Test func memoryIsBounded() {
        // Many writes at once, each read, in an order that cannot be: much to try.
        var history: [RegisterOperation] = []
        for i in UInt64(1)...14 {
            history.append(write(i, 1, 1_000, by: Int(i)))
            history.append(read(i, 2, 1_000, by: Int(100 + i)))
        }
        history += [write(50, 2_000, 2_001), read(1, 2_002, 2_003)]
        guard case .undecided = RegisterHistory(history).check(limit: 100) else {
            Issue.record("decided with 100 configurations")
            return
        }
        #expect(RegisterHistory(history).check().violation != nil)
    }
}
