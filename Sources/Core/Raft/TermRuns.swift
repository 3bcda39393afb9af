/// Which term each entry of the log has: one run per term, so a log of any length takes a few words and no disk is asked.
///
/// Invariant: runs are in order of index and of term (Raft paper, 5.3: a leader appends its own term only); none is empty.
struct TermRuns: Equatable, Sendable {
    struct Run: Equatable, Sendable {
        let first: LogIndex
        let term: Term
    }

    /// Before the first entry.
    private(set) var start: LogPosition
    private(set) var lastIndex: LogIndex
    private var runs: [Run] = []

    init(start: LogPosition) {
        self.start = start
        self.lastIndex = start.index
    }

    var last: LogPosition { LogPosition(index: self.lastIndex, term: self.runs.last?.term ?? self.start.term) }
    var isOrdered: Bool {
        let first = self.runs.first.map { $0.term >= self.start.term && $0.first == self.start.index + 1 } ?? true
        let within = self.runs.last.map { $0.first <= self.lastIndex } ?? (self.lastIndex == self.start.index)
        return first && within
            && zip(self.runs, self.runs.dropFirst()).allSatisfy { $0.first < $1.first && $0.term < $1.term }
    }

    /// Nil outside the log, where `start` still counts as inside.
    func term(at index: LogIndex) -> Term? {
        guard index >= self.start.index, index <= self.lastIndex else { return nil }
        guard let run = self.run(of: index) else { return self.start.term }
        return self.runs[run].term
    }

    /// The last entry with the same term, without a break, as the one at `index`.
    func runEnd(of index: LogIndex) -> LogIndex {
        guard let run = self.run(of: index), run + 1 < self.runs.count else { return self.lastIndex }
        return self.runs[run + 1].first - 1
    }

    /// The greatest position at or before `index` whose term is at most `term`, not before `start`.
    func floor(index: LogIndex, term: Term) -> LogPosition {
        var index = min(index, self.lastIndex)
        while index > self.start.index, let run = self.run(of: index), self.runs[run].term > term {
            index = self.runs[run].first - 1
        }
        index = max(index, self.start.index)
        return LogPosition(index: index, term: self.term(at: index) ?? self.start.term)
    }

    /// Adds entries up to `index`, all of one term.
    mutating func append(through index: LogIndex, term: Term) {
        if self.last.term != term || self.runs.isEmpty { self.runs.append(Run(first: self.lastIndex + 1, term: term)) }
        self.lastIndex = index
    }

    mutating func truncate(from index: LogIndex) {
        guard index <= self.lastIndex else { return }
        while let run = self.runs.last, run.first >= index { self.runs.removeLast() }
        self.lastIndex = index - 1
    }

    /// Forgets what is at or before `index`; its term becomes the start's.
    mutating func trim(through index: LogIndex) {
        guard index > self.start.index, let term = self.term(at: index) else { return }
        let run = self.run(of: index) ?? 0
        let end = self.runEnd(of: index)
        self.runs.removeFirst(index == end ? run + 1 : run)
        if index < end { self.runs[0] = Run(first: index + 1, term: term) }
        self.start = LogPosition(index: index, term: term)
    }

    /// Where the run of an entry stands; nil before the first.
    private func run(of index: LogIndex) -> Int? {
        guard index > self.start.index, let last = self.runs.last else { return nil }
        // Nearly every question is about the newest entries.
        if index >= last.first { return self.runs.count - 1 }
        var low = 0, high = self.runs.count - 1
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.runs[middle].first <= index { low = middle } else { high = middle }
        }
        return low
    }
}
