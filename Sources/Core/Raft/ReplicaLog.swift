/// What a replica knows of its own log: which terms, which configurations, and how far the disk has come.
struct ReplicaLog: Sendable {
    private(set) var runs: TermRuns
    private(set) var memberships: MembershipHistory
    /// Durable here. Only what is durable is ever promised (Raft paper, figure 2).
    private(set) var durable: LogIndex
    private(set) var writes = PendingWrites()

    init(_ summary: LogSummary) {
        self.runs = summary.runs
        self.memberships = summary.memberships
        self.durable = summary.runs.lastIndex
    }

    var start: LogPosition { self.runs.start }
    var last: LogPosition { self.runs.last }
    var membership: Membership { self.memberships.latest.membership }
    func term(at index: LogIndex) -> Term? { self.runs.term(at: index) }

    /// Adds entries at the end, after what is cut off.
    mutating func write(
        _ entries: EntryRange, content: WriteOrder.Content, truncatingFrom cut: LogIndex? = nil,
        at now: MonotonicInstant
    ) -> WriteOrder {
        if let cut { self.truncate(from: cut) }
        assert(entries.first == self.runs.lastIndex + 1)
        self.runs.append(through: entries.last, term: entries.term)
        if let membership = entries.membership { self.memberships.append(membership, at: entries.first) }
        let ticket = self.writes.add(last: entries.last, at: now)
        return WriteOrder(ticket: ticket, content: content, entries: entries, truncateFrom: cut)
    }

    private mutating func truncate(from index: LogIndex) {
        self.runs.truncate(from: index)
        self.memberships.truncate(from: index)
        self.durable = min(self.durable, index - 1)
        self.writes.truncate(from: index)
    }

    /// The disk has done all writes up to a ticket.
    mutating func written(_ ticket: WriteTicket) { self.durable = max(self.durable, self.writes.finish(ticket)) }

    mutating func trim(through index: LogIndex) -> LogStart {
        let membership = self.memberships.membership(at: index)
        self.runs.trim(through: index)
        self.memberships.trim(through: index)
        return LogStart(position: self.runs.start, membership: membership)
    }

    /// Another log takes this one's place.
    mutating func replace(with summary: LogSummary, transfer: LogTransfer, at now: MonotonicInstant) -> WriteOrder {
        self.runs = summary.runs
        self.memberships = summary.memberships
        // Until it is in place the disk holds what was here before, of which nothing is promised any more.
        self.durable = 0
        self.writes.truncate(from: 0)
        let entries = EntryRange(
            first: summary.start.position.index + 1, last: summary.last.index, term: summary.last.term, bytes: 0)
        let ticket = self.writes.add(last: summary.last.index, at: now)
        return WriteOrder(ticket: ticket, content: .transfer(transfer), entries: entries, truncateFrom: nil)
    }
}

/// Writes the disk has not answered, oldest first: a ring that allocates when it grows, and never in the steady state.
struct PendingWrites: Sendable {
    private struct Write {
        let ticket: WriteTicket
        /// The last entry written that is still in the log.
        var last: LogIndex
        let at: MonotonicInstant
    }
    private var ring = Ring<Write>()
    private var lastTicket: WriteTicket = 0

    var count: Int { self.ring.count }
    /// When the oldest was asked for.
    var oldest: MonotonicInstant? { self.ring.first?.at }

    mutating func add(last: LogIndex, at now: MonotonicInstant) -> WriteTicket {
        self.lastTicket += 1
        self.ring.append(Write(ticket: self.lastTicket, last: last, at: now))
        return self.lastTicket
    }

    /// What was written behind here is no longer in the log: that it is durable says nothing of what takes its place.
    mutating func truncate(from index: LogIndex) {
        let last = index > 0 ? index - 1 : 0
        for i in 0..<self.ring.count where self.ring[i].last > last { self.ring[i].last = last }
    }

    /// - Returns: The last entry known durable by it.
    mutating func finish(_ ticket: WriteTicket) -> LogIndex {
        var durable: LogIndex = 0
        while let first = self.ring.first, first.ticket <= ticket {
            durable = max(durable, first.last)
            self.ring.removeFirst()
        }
        return durable
    }
}

/// A queue in one array, used in a circle.
struct Ring<Element> {
    private var elements: [Element?] = []
    private var head = 0
    private(set) var count = 0

    var isEmpty: Bool { self.count == 0 }
    var first: Element? { self.count == 0 ? nil : self.elements[self.head] }
    var last: Element? { self.count == 0 ? nil : self[self.count - 1] }

    subscript(_ i: Int) -> Element {
        get { self.elements[(self.head &+ i) & (self.elements.count &- 1)]! }
        set { self.elements[(self.head &+ i) & (self.elements.count &- 1)] = newValue }
    }

    mutating func append(_ element: Element) {
        if self.count == self.elements.count { self.grow() }
        self.elements[(self.head &+ self.count) & (self.elements.count &- 1)] = element
        self.count += 1
    }

    mutating func removeFirst() {
        self.elements[self.head] = nil
        self.head = (self.head &+ 1) & (self.elements.count &- 1)
        self.count -= 1
    }

    mutating func removeAll() {
        while !self.isEmpty { self.removeFirst() }
    }

    /// A power of two, so that the circle is a mask.
    private mutating func grow() {
        var larger: [Element?] = []
        larger.reserveCapacity(max(8, self.elements.count * 2))
        for i in 0..<self.count { larger.append(self[i]) }
        while larger.count < max(8, self.elements.count * 2) { larger.append(nil) }
        self.elements = larger
        self.head = 0
    }
}

extension Ring: Sendable where Element: Sendable {}
