/// One register's operations made ready to be searched: reads know their write, and what has no bearing on the verdict is left out.
struct NormalHistory {
    struct Operation {
        /// Place of the write that a read saw, -1 for the register's beginning; a write's own place.
        var source: Int
        var invoked: UInt64
        var returned: UInt64
        var isRead: Bool
    }
    /// Found without a search.
    enum Impossible: Equatable {
        /// The read saw what nobody wrote.
        case unwritten(read: RegisterOperation)
        /// The read returned before the write of its value began.
        case future(read: RegisterOperation, write: RegisterOperation)
    }

    /// By invocation.
    private(set) var operations: [Operation] = []
    private(set) var impossible: Impossible?

    /// - A read without an answer says nothing.
    /// - A write of unknown outcome that nobody read may as well never have happened: leave it out of any order, and each read
    ///   still returns what is then the last write before it.
    /// - A write that was read took effect before the first answer that had its value, so that is its latest end, known or not.
    init(_ history: [RegisterOperation]) {
        var firstSeen: [UInt64: UInt64] = [:]
        for operation in history {
            guard case .read(let value?) = operation.action, let returned = operation.returned else { continue }
            firstSeen[value] = min(firstSeen[value] ?? .max, returned)
        }
        var kept: [(operation: RegisterOperation, returned: UInt64)] = []
        for operation in history {
            switch (operation.action, operation.returned) {
            case (.read, nil): continue
            case (.read, let returned?): kept.append((operation, returned))
            case (.write(let value), let returned):
                guard let end = [returned, firstSeen[value]].compactMap(\.self).min() else { continue }
                kept.append((operation, end))
            }
        }
        kept.sort { ($0.operation.invoked, $0.returned) < ($1.operation.invoked, $1.returned) }
        var places: [UInt64: Int] = [:]
        for (place, (operation, _)) in kept.enumerated() {
            guard case .write(let value) = operation.action else { continue }
            precondition(places.updateValue(place, forKey: value) == nil, "the value \(value) is written twice")
        }
        for (place, (operation, returned)) in kept.enumerated() {
            var source = place
            if case .read(let value) = operation.action {
                source = -1
                if let value {
                    guard let write = places[value] else {
                        self.impossible = .unwritten(read: operation)
                        return
                    }
                    let began = kept[write].operation
                    guard returned >= began.invoked else {
                        self.impossible = .future(read: operation, write: began)
                        return
                    }
                    source = write
                }
            }
            // A write seen by a read that ended before it began was caught above, so no end is before its beginning.
            self.operations.append(
                Operation(
                    source: source, invoked: operation.invoked, returned: returned, isRead: !operation.isWrite))
        }
    }
}
