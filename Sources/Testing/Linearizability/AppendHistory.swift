/// One attempt to append to a log, as its client saw it. Attempts under one key are retries of one append.
package struct AppendOperation: Sendable, Hashable {
    package var key: String
    package var client: Int
    package var invoked: UInt64
    /// Nil: the outcome is unknown.
    package var answer: Answer?

    package struct Answer: Sendable, Hashable {
        package var returned: UInt64
        package var offset: UInt64
    }

    package init(key: String, client: Int, from invoked: UInt64, to returned: UInt64?, offset: UInt64 = 0) {
        precondition(returned.map { $0 >= invoked } ?? true, "an answer before its call")
        self.key = key
        self.client = client
        self.invoked = invoked
        self.answer = returned.map { Answer(returned: $0, offset: offset) }
    }
}

/// Appends to one log that answers with offsets, and whether they could have happened one at a time.
///
/// Offsets name the order, so there is nothing to search: it is the order of offsets, or none.
package struct AppendHistory: Sendable {
    package private(set) var operations: [AppendOperation] = []

    package init() {}
    package init(_ operations: [AppendOperation]) { self.operations = operations }

    package mutating func append(_ operation: AppendOperation) { self.operations.append(operation) }
    package mutating func append(contentsOf other: [AppendOperation]) { self.operations += other }

    /// - Parameter log: What the log holds in the end, keys by offset (entries of others have none), if it was read.
    package func check(log: [UInt64: String]? = nil) -> Verdict<AppendViolation> {
        do throws(AppendViolation) {
            let appends = try self.appends(log)
            try Self.checkPlaces(appends, log)
            try Self.checkOrder(appends)
            return .holds
        } catch {
            return .violated(error)
        }
    }

    /// One append with all its attempts. It happened between the first attempt's call and the first answer.
    private struct Append {
        var first: AppendOperation
        var answered: AppendOperation?
        var offset: UInt64?
    }

    private func appends(_ log: [UInt64: String]?) throws(AppendViolation) -> [Append] {
        var places: [String: UInt64] = [:]
        for (offset, key) in (log ?? [:]).sorted(by: { $0.key < $1.key }) {
            if let other = places.updateValue(offset, forKey: key) {
                throw AppendViolation(
                    .doubled, "\(key) is in the log at \(other) and at \(offset)",
                    self.operations.filter { $0.key == key })
            }
        }
        var appends: [Append] = []
        for attempts in Dictionary(grouping: self.operations, by: \.key).values {
            let byStart = attempts.sorted { $0.invoked < $1.invoked }
            let answered = byStart.filter { $0.answer != nil }.sorted { $0.answer!.returned < $1.answer!.returned }
            if let other = answered.first(where: { $0.answer?.offset != answered[0].answer?.offset }) {
                throw AppendViolation(
                    .doubled,
                    "one key was answered with \(answered[0].answer!.offset) and with \(other.answer!.offset)",
                    [answered[0], other])
            }
            // What was found in the log without an answer was appended too.
            appends.append(
                Append(
                    first: byStart[0], answered: answered.first,
                    offset: answered.first?.answer?.offset ?? places[byStart[0].key]))
        }
        return appends
    }

    private static func checkPlaces(_ appends: [Append], _ log: [UInt64: String]?) throws(AppendViolation) {
        var owners: [UInt64: AppendOperation] = [:]
        for append in appends {
            guard let offset = append.offset else { continue }
            let shown = append.answered ?? append.first
            if let other = owners.updateValue(shown, forKey: offset) {
                throw AppendViolation(.shared, "the offset \(offset) was given to two keys", [other, shown])
            }
            if let log, log[offset] != append.first.key {
                let found = log[offset].map { "holds \($0)" } ?? "is not there"
                throw AppendViolation(.lost, "\(append.first.key) was answered with \(offset), which \(found)", [shown])
            }
        }
    }

    /// An append that was answered before another began has the smaller offset.
    private static func checkOrder(_ appends: [Append]) throws(AppendViolation) {
        // From the greatest offset down: the earliest end among those behind must not be before a beginning.
        var earliest: Append?
        for append in appends.filter({ $0.offset != nil }).sorted(by: { $0.offset! > $1.offset! }) {
            if let behind = earliest, let end = behind.answered?.answer?.returned, end < append.first.invoked {
                throw AppendViolation(
                    .order,
                    "\(append.first.key) began after \(behind.first.key) was answered with \(behind.offset!), and is at \(append.offset!)",
                    [behind.answered!, append.answered ?? append.first])
            }
            guard let end = append.answered?.answer?.returned else { continue }
            if end < earliest?.answered?.answer?.returned ?? .max { earliest = append }
        }
    }
}

/// Why appends could not have happened one at a time: the attempts that show it.
package struct AppendViolation: Error, Sendable, CustomStringConvertible {
    package enum Kind: String, Sendable {
        case doubled = "an append done twice"
        case shared = "an offset given twice"
        case lost = "an acknowledged append that is not in the log"
        case order = "offsets against the order of time"
    }
    package let kind: Kind
    package let what: String
    package let operations: [AppendOperation]

    init(_ kind: Kind, _ what: String, _ operations: [AppendOperation]) {
        self.kind = kind
        self.what = what
        self.operations = operations.sorted { $0.invoked < $1.invoked }
    }

    package var description: String {
        let start = self.operations.first?.invoked ?? 0
        let end = self.operations.compactMap { $0.answer?.returned }.max() ?? start
        var lines = ["\(self.kind.rawValue): \(self.what). Milliseconds after \(start) ns:"]
        for operation in self.operations {
            let answer =
                operation.answer.map { "\(Timeline.milliseconds($0.returned - start)), offset \($0.offset)" }
                ?? "no answer"
            lines.append(
                Timeline.bar(operation.invoked, operation.answer?.returned, within: start...max(start + 1, end))
                    + " \(Timeline.milliseconds(operation.invoked - start)) to \(answer): client \(operation.client) appends \(operation.key)"
            )
        }
        return lines.joined(separator: "\n")
    }
}
