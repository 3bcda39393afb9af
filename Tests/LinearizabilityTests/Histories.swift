import Linearizability
import Primitives

func write(_ value: UInt64, _ from: UInt64, _ to: UInt64?, by client: Int = 1) -> RegisterOperation {
    RegisterOperation(client: client, .write(value), from: from, to: to)
}

func read(_ value: UInt64?, _ from: UInt64, _ to: UInt64?, by client: Int = 2) -> RegisterOperation {
    RegisterOperation(client: client, .read(value), from: from, to: to)
}

/// Histories of a register that is one: each operation takes effect at an instant between its call and its answer.
struct RealRegister {
    var clients = 8
    var registers = 1
    var operations = 400
    /// Of a hundred answers, how many are lost.
    var lost = 5

    func history(using rng: inout SeededRNG) -> [RegisterOperation] {
        struct Planned {
            var operation: RegisterOperation
            var effect: UInt64?
        }
        var planned: [Planned] = []
        var clocks = (0..<self.clients).map { _ in UInt64.random(in: 1...50, using: &rng) }
        for number in 1...self.operations {
            let client = Int.random(in: 0..<self.clients, using: &rng)
            let from = clocks[client]
            let effect = from + .random(in: 0...40, using: &rng)
            let to = effect + .random(in: 0...40, using: &rng)
            clocks[client] = to + .random(in: 1...20, using: &rng)
            let isLost = Int.random(in: 0..<100, using: &rng) < self.lost
            let isWrite = Bool.random(using: &rng)
            var happens: UInt64? = effect
            if isLost, isWrite {
                // Never, in time, or long after.
                happens = [nil, effect, effect + .random(in: 0...1_000, using: &rng)].randomElement(using: &rng)!
            }
            planned.append(
                Planned(
                    operation: RegisterOperation(
                        register: .random(in: 0..<self.registers, using: &rng), client: client,
                        isWrite ? .write(UInt64(number)) : .read(nil), from: from, to: isLost ? nil : to),
                    effect: happens))
        }
        // At one instant in the order drawn, which is an order of time: answers come after effects.
        var values: [Int: UInt64] = [:]
        for i in planned.indices.filter({ planned[$0].effect != nil }).sorted(by: {
            planned[$0].effect! < planned[$1].effect!
        }) {
            let register = planned[i].operation.register
            if case .write(let value) = planned[i].operation.action {
                values[register] = value
            } else {
                planned[i].operation.action = .read(values[register])
            }
        }
        return planned.map(\.operation)
    }
}

/// Two independent judges that are slower or narrower than the search, and much simpler.
enum Judge {
    /// Every order, and every choice of which writes of unknown outcome happened. For few operations.
    static func byBruteForce(_ history: [RegisterOperation]) -> Bool {
        let relevant = history.filter { $0.isWrite || $0.returned != nil }
        return self.canGoOn(relevant, value: nil)
    }

    private static func canGoOn(_ left: [RegisterOperation], value: UInt64?) -> Bool {
        // Writes without an answer need not happen at all.
        if left.allSatisfy({ $0.returned == nil }) { return true }
        let firstEnd = left.compactMap(\.returned).min() ?? .max
        for (i, operation) in left.enumerated() where operation.invoked <= firstEnd {
            var rest = left
            rest.remove(at: i)
            switch operation.action {
            case .write(let written): if self.canGoOn(rest, value: written) { return true }
            case .read(let seen): if seen == value, self.canGoOn(rest, value: value) { return true }
            }
        }
        return false
    }

    /// Gibbons and Korach, *Testing shared memories* (1997), 4: with reads that name their write, a history is linearizable if and
    /// only if no zone of a value overlaps another's or holds it, as below. Only for histories in which all is answered.
    static func byZones(_ history: [RegisterOperation]) -> Bool {
        struct Zone {
            var firstEnd = UInt64.max
            var lastStart = UInt64.min
            var isForward: Bool { self.firstEnd < self.lastStart }
            var low: UInt64 { min(self.firstEnd, self.lastStart) }
            var high: UInt64 { max(self.firstEnd, self.lastStart) }
        }
        var zones: [UInt64?: Zone] = [:]
        // The beginning counts as a write of nothing, over before all.
        zones[nil, default: Zone()].firstEnd = 0
        var starts: [UInt64: UInt64] = [:]
        for operation in history {
            zones[operation.value, default: Zone()].firstEnd = min(
                zones[operation.value]?.firstEnd ?? .max, operation.returned!)
            zones[operation.value]!.lastStart = max(zones[operation.value]!.lastStart, operation.invoked)
            if case .write(let value) = operation.action { starts[value] = operation.invoked }
        }
        for operation in history where !operation.isWrite {
            guard let value = operation.value else { continue }
            guard let start = starts[value], start <= operation.returned! else { return false }
        }
        let all = Array(zones.values)
        for (i, a) in all.enumerated() where a.isForward {
            for (j, b) in all.enumerated() where i != j {
                if b.isForward, a.low < b.high, b.low < a.high { return false }
                if !b.isForward, a.low < b.low, b.high < a.high { return false }
            }
        }
        return true
    }
}
