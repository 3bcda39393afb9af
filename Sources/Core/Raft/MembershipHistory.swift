/// The configurations in the log. The newest counts from the moment it is in the log, committed or not (thesis, 4.1), so a cut
/// of the log takes it back.
struct MembershipHistory: Equatable, Sendable {
    struct Record: Equatable, Sendable {
        let index: LogIndex
        let membership: Membership
    }

    /// The first is what held at the log's start; never empty. In order of index.
    private(set) var records: [Record]

    init(base: Membership, at index: LogIndex) { self.records = [Record(index: index, membership: base)] }

    var latest: Record { self.records[self.records.count - 1] }

    /// What held at an index.
    func membership(at index: LogIndex) -> Membership {
        (self.records.last { $0.index <= index } ?? self.records[0]).membership
    }

    /// The first configuration entry at or after `index`.
    func next(from index: LogIndex) -> Record? {
        // The first record is the base, not an entry of the log. Nearly always the newest is older than what is asked for.
        guard self.records.count > 1, self.latest.index >= index else { return nil }
        return self.records.dropFirst().first { $0.index >= index }
    }

    mutating func append(_ membership: Membership, at index: LogIndex) {
        self.records.append(Record(index: index, membership: membership))
    }

    mutating func truncate(from index: LogIndex) {
        while self.records.count > 1, self.latest.index >= index { self.records.removeLast() }
    }

    mutating func trim(through index: LogIndex) {
        while self.records.count > 1, self.records[1].index <= index { self.records.removeFirst() }
    }
}
