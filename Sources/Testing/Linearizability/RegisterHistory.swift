/// Operations on independent registers, and whether each register behaved as if they had happened one at a time.
///
/// Linearizability is local: a history holds if that of each register does (Herlihy and Wing, *Linearizability: a correctness
/// condition for concurrent objects*, 1990, theorem 1). So registers are searched one by one, and memory is bounded by one.
package struct RegisterHistory: Sendable {
    package private(set) var operations: [RegisterOperation] = []

    package init() {}
    package init(_ operations: [RegisterOperation]) { self.operations = operations }

    package mutating func append(_ operation: RegisterOperation) { self.operations.append(operation) }
    package mutating func append(contentsOf other: [RegisterOperation]) { self.operations += other }

    /// - Parameter limit: Configurations remembered a register, of some 100 bytes each; with more the verdict is `undecided`.
    ///   A history of 32 clients takes a few thousand.
    package func check(limit: Int = 2_000_000) -> Verdict<RegisterViolation> {
        let registers = Dictionary(grouping: self.operations, by: \.register)
        var undecided: Verdict<RegisterViolation>?
        for (register, history) in registers.sorted(by: { $0.key < $1.key }) {
            switch Self.judge(history, limit: limit) {
            case .found: continue
            case .impossible: return .violated(RegisterViolation(in: history, limit: limit))
            case .tooLarge:
                undecided = .undecided(
                    "register \(register): more than \(limit) configurations of \(history.count) operations")
            }
        }
        return undecided ?? .holds
    }

    /// Of one register.
    static func judge(_ history: [RegisterOperation], limit: Int) -> RegisterSearch.Outcome {
        let normal = NormalHistory(history)
        guard normal.impossible == nil else { return .impossible }
        var search = RegisterSearch(normal, limit: limit)
        return search.run()
    }
}
