package import Primitives
internal import QueryProcessor

/// What a point holds that one process alone writes: who wrote it, and as which of its writes.
package struct CanaryValue: Equatable, Sendable {
    /// Drawn at random by each process.
    package var process: UInt64
    /// From 1.
    package var sequence: UInt64

    package init(process: UInt64, sequence: UInt64) {
        self.process = process
        self.sequence = sequence
    }

    package var text: String { "\(String(self.process, radix: 16))-\(self.sequence)" }

    package init?(_ text: String) {
        let parts = text.split(separator: "-")
        guard parts.count == 2, let process = UInt64(parts[0], radix: 16), let sequence = UInt64(parts[1]) else {
            return nil
        }
        self.init(process: process, sequence: sequence)
    }
}

/// Decides whether a read kept what its level promises, of a point with one writer who writes one value after another.
///
/// - strong, read_your_writes (with the write's session token): the last acknowledged value, or a later one.
/// - bounded: no value that another had replaced, acknowledged, by longer than the bound before the read began; and the answer
///   says to miss no more.
/// - eventual, and every level: never a value that was not written yet.
///
/// A write without an answer may yet take effect, even after later ones: its value is accepted at any time.
package struct CanaryJudge: Sendable {
    package enum Verdict: Equatable, Sendable {
        case ok
        case violation(String)
    }
    package struct Read: Sendable {
        package var level: ConsistencyLevel
        package var seen: CanaryValue?
        /// Monotonic nanoseconds.
        package var began: UInt64
        /// For bounded.
        package var boundMilliseconds: UInt64 = 0
        /// What the answer says that it may miss; 0 of one that is strong.
        package var missedMilliseconds: UInt64 = 0
        package var tookNanoseconds: UInt64 = 0

        package init(level: ConsistencyLevel, seen: CanaryValue?, began: UInt64, boundMilliseconds: UInt64 = 0) {
            self.level = level
            self.seen = seen
            self.began = began
            self.boundMilliseconds = boundMilliseconds
        }
    }

    /// Acknowledged values remembered: as many as can be younger than a bound.
    static let remembered = 64
    /// Writes without an answer that are remembered.
    static let maxDoubtful = 64
    /// A write of the process before may take effect until this one has written so often.
    package static let grace = 3

    let process: UInt64
    private(set) var attempted: UInt64 = 0
    private var acknowledged: [(sequence: UInt64, at: UInt64)] = []
    private var acknowledgements = 0
    private var doubtful: [UInt64] = []

    package init(process: UInt64) { self.process = process }

    /// The value to write next.
    package mutating func next() -> CanaryValue {
        self.attempted += 1
        return CanaryValue(process: self.process, sequence: self.attempted)
    }

    /// - Parameter at: Monotonic nanoseconds, not before the answer.
    package mutating func acknowledge(_ value: CanaryValue, at: UInt64) {
        self.acknowledgements += 1
        self.acknowledged.append((value.sequence, at))
        if self.acknowledged.count > Self.remembered { self.acknowledged.removeFirst() }
    }

    /// The write got no answer, or an error: it may have been done.
    package mutating func doubt(_ value: CanaryValue) {
        self.doubtful.append(value.sequence)
        if self.doubtful.count > Self.maxDoubtful { self.doubtful.removeFirst() }
    }

    package func judge(_ read: Read) -> Verdict {
        if let seen = read.seen, seen.process == self.process, seen.sequence > self.attempted {
            return .violation("value \(seen.sequence) was read, \(self.attempted) is the last that was written")
        }
        if read.level == .bounded,
            ReadAnswer.breaks(read.boundMilliseconds, missed: read.missedMilliseconds, after: read.tookNanoseconds)
        {
            return .violation(
                "the answer may miss \(read.missedMilliseconds) ms, \(read.boundMilliseconds) ms were allowed")
        }
        guard let needed = self.needed(read) else { return .ok }
        guard let seen = read.seen else { return .violation("nothing was read, value \(needed) was written") }
        guard seen.process == self.process else {
            return self.acknowledgements <= Self.grace
                ? .ok : .violation("a value of an earlier process was read, value \(needed) was written")
        }
        if seen.sequence >= needed || self.doubtful.contains(seen.sequence) { return .ok }
        return .violation("value \(seen.sequence) was read, value \(needed) was written")
    }

    /// The oldest value that the read may show; nil: any.
    private func needed(_ read: Read) -> UInt64? {
        switch read.level {
        case .eventual: nil
        case .readYourWrites, .strong: self.acknowledged.last?.sequence
        case .bounded:
            self.acknowledged.last { $0.at &+ read.boundMilliseconds * 1_000_000 <= read.began }?.sequence
        }
    }
}
