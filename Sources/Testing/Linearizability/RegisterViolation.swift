/// Why a register's history is not linearizable: the fewest of its operations that show it.
package struct RegisterViolation: Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case unwritten = "a value that nobody wrote"
        case future = "a read from the future"
        case unseen = "a write seen and then unseen"
        case lost = "an acknowledged write that nobody saw"
        case stale = "a stale read"
        case order = "no order"
    }
    package let kind: Kind
    package let register: Int
    /// By invocation; answers later than the last one here are unknown outcomes.
    package let operations: [RegisterOperation]
    /// How many operations the history has.
    package let total: Int

    /// - Parameter history: Of one register, judged impossible.
    init(in history: [RegisterOperation], limit: Int) {
        let prefix = Self.shortestPrefix(of: history, limit: limit)
        let few = Self.fewest(of: prefix, limit: limit)
        self.operations = few.sorted { ($0.invoked, $0.returned ?? .max) < ($1.invoked, $1.returned ?? .max) }
        self.register = history[0].register
        self.total = history.count
        self.kind = Self.kind(self.operations, in: history)
    }

    // MARK: Shrinking

    /// What had been seen when it first became impossible. Any prefix of a linearizable history is linearizable, so this can be
    /// found by halving.
    private static func shortestPrefix(of history: [RegisterOperation], limit: Int) -> [RegisterOperation] {
        let answers = history.compactMap(\.returned).sorted()
        var low = 0
        var high = answers.count - 1
        while low < high {
            let middle = (low + high) / 2
            if self.isImpossible(self.prefix(of: history, through: answers[middle]), limit) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return self.prefix(of: history, through: answers[low])
    }

    private static func prefix(of history: [RegisterOperation], through time: UInt64) -> [RegisterOperation] {
        history.compactMap { operation in
            guard operation.invoked <= time else { return nil }
            var seen = operation
            if let returned = operation.returned, returned > time { seen.returned = nil }
            return seen.returned == nil && !seen.isWrite ? nil : seen
        }
    }

    /// Leaves out whatever can be: first values with all that concerns them, in halves, quarters and so on, then single reads.
    private static func fewest(of history: [RegisterOperation], limit: Int) -> [RegisterOperation] {
        func byValue(_ some: [RegisterOperation]) -> [RegisterOperation] {
            self.shrink(Array(Dictionary(grouping: some, by: \.value).values), limit)
        }
        let left = byValue(history)
        // A value without its write would be impossible for another reason.
        let writes = left.filter(\.isWrite)
        return byValue(writes + self.shrink(left.filter { !$0.isWrite }.map { [$0] }, beside: writes, limit))
    }

    private static func shrink(
        _ groups: [[RegisterOperation]], beside kept: [RegisterOperation] = [], _ limit: Int
    ) -> [RegisterOperation] {
        var groups = groups.sorted { ($0[0].invoked, $0.count) < ($1[0].invoked, $1.count) }
        var size = max(1, groups.count / 2)
        while true {
            var start = 0
            while start < groups.count {
                let rest = Array(groups[..<start] + groups[min(start + size, groups.count)...])
                if self.isImpossible(kept + rest.flatMap(\.self), limit) { groups = rest } else { start += size }
            }
            if size == 1 { return groups.flatMap(\.self) }
            size = max(1, size / 2)
        }
    }

    private static func isImpossible(_ history: [RegisterOperation], _ limit: Int) -> Bool {
        !history.isEmpty && RegisterHistory.judge(history, limit: limit) == .impossible
    }

    // MARK: Saying it

    private static func kind(_ few: [RegisterOperation], in history: [RegisterOperation]) -> Kind {
        switch NormalHistory(few).impossible {
        case .unwritten: return .unwritten
        case .future: return .future
        case nil: break
        }
        // The answer that made it impossible is the last.
        guard let last = few.filter({ $0.returned != nil }).max(by: { $0.returned! < $1.returned! }), !last.isWrite
        else { return .order }
        let before = few.filter { $0.returned.map { $0 < last.invoked } ?? false && $0.value != last.value }
        if before.contains(where: { !$0.isWrite }) { return .unseen }
        guard let write = before.last(where: \.isWrite) else { return .order }
        let isSeen = history.contains { !$0.isWrite && $0.returned != nil && $0.value == write.value }
        return isSeen ? .stale : .lost
    }

    package var description: String {
        let start = self.operations.first?.invoked ?? 0
        let end = self.operations.compactMap(\.returned).max() ?? start
        var lines = [
            "register \(self.register) is not linearizable: \(self.kind.rawValue).",
            "The fewest of its \(self.total) operations that show it; milliseconds after \(start) ns:",
        ]
        for operation in self.operations {
            let returned = operation.returned.map { Timeline.milliseconds($0 - start) } ?? "no answer"
            let what =
                switch operation.action {
                case .write(let value): "writes \(value)"
                case .read(let value): "reads \(value.map { "\($0)" } ?? "nothing")"
                }
            lines.append(
                Timeline.bar(operation.invoked, operation.returned, within: start...max(start + 1, end))
                    + " \(Timeline.milliseconds(operation.invoked - start)) to \(returned): client \(operation.client) \(what)"
                    + (operation.note.isEmpty ? "" : " (\(operation.note))"))
        }
        return lines.joined(separator: "\n")
    }
}

/// Calls drawn along time.
enum Timeline {
    private static let width = 32

    static func milliseconds(_ nanoseconds: UInt64) -> String {
        let micros = nanoseconds / 1000
        let fraction = "\(micros % 1000)"
        return "\(micros / 1000)." + String(repeating: "0", count: 3 - fraction.count) + fraction
    }

    static func bar(_ from: UInt64, _ to: UInt64?, within: ClosedRange<UInt64>) -> String {
        let length = within.upperBound - within.lowerBound
        func place(_ time: UInt64) -> Int {
            Int(
                Double(min(max(time, within.lowerBound), within.upperBound) - within.lowerBound) / Double(length)
                    * Double(self.width - 1))
        }
        let first = place(from)
        let last = to.map(place) ?? self.width
        return String(
            (0...self.width).map { column -> Character in
                if column == first { return "|" }
                if column == last { return to == nil ? ">" : "|" }
                return column > first && column < last ? "-" : " "
            })
    }
}
