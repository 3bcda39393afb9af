/// Looks for an order of one register's operations that respects time and in which each read returns what was written last.
///
/// The search is Wing and Gong's, with Lowe's list of calls and returns and his memory of configurations already tried (Wing and
/// Gong, *Testing and verifying concurrent objects*, 1993; Lowe, *Testing for linearizability*, 2017). An operation can be next
/// if nothing that is left returned before it began. Three facts about registers with unique values keep it narrow; each takes
/// away choices, never an order that could not be had otherwise:
///
/// - A read of the present value that can be next, is: it changes nothing, and so it may go first in every order that is left.
/// - While reads of the present value are left, no write can be next, for the value never comes back.
/// - When a write can be next, one that nobody reads, is: whatever comes after it in an order that is left begins with a write.
///
/// So choices are only between writes that are read, and what is left then depends on the set of operations done alone.
struct RegisterSearch {
    enum Outcome: Equatable { case found, impossible, tooLarge }

    private struct Step {
        let operation: Int
        /// No other operation could have been next.
        let isForced: Bool
        /// The present value before it.
        let before: Int
    }

    /// Sorted by invocation. Reads name their write's place here; -1 is the register's beginning.
    private let source: [Int]
    private let invoked: [UInt64]
    private let returned: [UInt64]
    private let isRead: [Bool]
    /// Reads left, by write's place; the last is the beginning's.
    private var readsLeft: [Int]

    // Lowe's doubly linked list: event 2i is the call of operation i, 2i + 1 its return; `head` stands before all.
    private var next: [Int]
    private var previous: [Int]
    private let head: Int
    private let end: Int

    private var done: [Bool]
    private var present = -1
    private var steps: [Step] = []
    private var tried: Set<[Int32]> = []
    private let limit: Int

    init(_ history: NormalHistory, limit: Int) {
        let operations = history.operations
        self.source = operations.map(\.source)
        self.invoked = operations.map(\.invoked)
        self.returned = operations.map(\.returned)
        self.isRead = operations.map(\.isRead)
        self.limit = limit
        let count = operations.count
        self.readsLeft = [Int](repeating: 0, count: count + 1)
        for operation in operations where operation.isRead {
            self.readsLeft[operation.source < 0 ? count : operation.source] += 1
        }
        self.done = [Bool](repeating: false, count: count)
        self.head = 2 * count
        self.end = 2 * count + 1
        self.next = [Int](repeating: 0, count: 2 * count + 2)
        self.previous = self.next
        // At one instant calls stand before returns: operations that touch are concurrent.
        let events = (0..<2 * count).sorted { a, b in
            let (x, y) = (Self.time(a, operations), Self.time(b, operations))
            return (x, a & 1, a) < (y, b & 1, b)
        }
        var last = self.head
        for event in events + [self.end] {
            self.next[last] = event
            self.previous[event] = last
            last = event
        }
    }

    private static func time(_ event: Int, _ operations: [NormalHistory.Operation]) -> UInt64 {
        event & 1 == 0 ? operations[event / 2].invoked : operations[event / 2].returned
    }

    mutating func run() -> Outcome {
        while self.next[self.head] != self.end {
            let choices = self.choices()
            if choices.isEmpty {
                guard self.backtrack() else { return .impossible }
            } else if choices.count == 1 {
                self.take(choices[0].operation, isForced: choices[0].isForced)
            } else {
                guard self.branch(choices.map(\.operation)) || self.backtrack() else { return .impossible }
            }
            if self.tried.count > self.limit { return .tooLarge }
        }
        return .found
    }

    /// Operations that can be next. One alone if it must be.
    private func choices() -> [(operation: Int, isForced: Bool)] {
        var writes: [(operation: Int, isForced: Bool)] = []
        let mayWrite = self.readsLeft[self.slot(self.present)] == 0
        var event = self.next[self.head]
        // The list up to the first return: nothing left returned before these began.
        while event & 1 == 0 {
            let operation = event / 2
            if self.isRead[operation] {
                if self.source[operation] == self.present { return [(operation, true)] }
            } else if mayWrite {
                if self.readsLeft[operation] == 0 { return [(operation, true)] }
                writes.append((operation, false))
            }
            event = self.next[event]
        }
        return writes
    }

    /// Takes the first choice that leads to a configuration not tried yet.
    private mutating func branch(_ choices: some Sequence<Int>) -> Bool {
        for operation in choices {
            self.take(operation, isForced: false)
            if self.tried.insert(self.configuration()).inserted { return true }
            self.undo()
        }
        return false
    }

    private mutating func backtrack() -> Bool {
        while let last = self.steps.last {
            self.undo()
            if last.isForced { continue }
            let choices = self.choices().map(\.operation)
            if self.branch(choices.drop { $0 != last.operation }.dropFirst()) { return true }
        }
        return false
    }

    private func slot(_ write: Int) -> Int { write < 0 ? self.done.count : write }

    private mutating func take(_ operation: Int, isForced: Bool) {
        self.steps.append(Step(operation: operation, isForced: isForced, before: self.present))
        self.done[operation] = true
        if self.isRead[operation] {
            self.readsLeft[self.slot(self.source[operation])] -= 1
        } else {
            self.present = operation
        }
        for event in [2 * operation, 2 * operation + 1] {
            self.next[self.previous[event]] = self.next[event]
            self.previous[self.next[event]] = self.previous[event]
        }
    }

    private mutating func undo() {
        let step = self.steps.removeLast()
        self.done[step.operation] = false
        if self.isRead[step.operation] { self.readsLeft[self.slot(self.source[step.operation])] += 1 }
        self.present = step.before
        for event in [2 * step.operation + 1, 2 * step.operation] {
            self.next[self.previous[event]] = event
            self.previous[self.next[event]] = event
        }
    }

    /// The set of operations done: all before the first that is left, and those behind it, which are few.
    private func configuration() -> [Int32] {
        let first = self.next[self.head] / 2
        guard first < self.done.count else { return [Int32(self.done.count)] }
        var key = [Int32(first), Int32(self.present)]
        // What was done could be next once, so it began before the first return that is left.
        var event = self.next[self.head]
        while event & 1 == 0 { event = self.next[event] }
        let bound = event == self.end ? UInt64.max : self.returned[event / 2]
        var operation = first + 1
        while operation < self.done.count, self.invoked[operation] <= bound {
            if self.done[operation] { key.append(Int32(operation)) }
            operation += 1
        }
        return key
    }
}
