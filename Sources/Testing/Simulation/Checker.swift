internal import Raft

/// Judges a group from outside, after each step, by what its replicas did and what its clients saw.
///
/// The properties are those of the Raft paper's figure 3, and what clients were promised.
struct Checker {
    struct Committed {
        let entry: SimulatedEntry
        let by: ReplicaID
        /// In which it was committed: that of the leader who did it, who is always the first to know.
        let term: Term
    }
    /// What is wrong; the first finding stays.
    private(set) var finding: String?
    /// The one history: entry `i + 1` of all logs that have committed it.
    private(set) var history: [Committed] = []
    private var leaders: [Term: ReplicaID] = [:]
    private var known: [LogPosition: (entry: SimulatedEntry, previous: Term)] = [:]
    private var places: [UInt64: LogIndex] = [:]
    private var acknowledged: [UInt64: LogIndex] = [:]
    /// The greatest index that a client has been told of, by an append or a read.
    private(set) var told: LogIndex = 0
    private(set) var appends = 0
    private(set) var reads = 0

    mutating func fail(_ what: String) { if self.finding == nil { self.finding = what } }

    // MARK: Replicas

    /// Election safety: at most one leader a term. Leader completeness: it has all that was committed in earlier terms. (Its votes
    /// may have been long on their way: then there are later terms, of which it need know nothing.)
    mutating func leads(_ replica: ReplicaID, _ term: Term, log: LogImage) {
        if let other = self.leaders[term] {
            return self.fail("election safety: \(other) and \(replica) both lead term \(term)")
        }
        self.leaders[term] = replica
        let last = UInt64(self.history.lastIndex { $0.term < term }.map { $0 + 1 } ?? 0)
        guard log.lastIndex >= last else {
            return self.fail(
                "leader completeness: \(replica) leads term \(term) with a log through \(log.lastIndex), \(last) is committed"
            )
        }
        guard last >= log.firstIndex else { return }
        for index in log.firstIndex...last where log[index] != self.history[Int(index - 1)].entry {
            return self.fail(
                "leader completeness: \(replica) leads term \(term) with another entry \(index) than is committed")
        }
    }

    /// Log matching: an entry's index and term say what it is, and which term stands before it; by induction all before it.
    mutating func writes(_ replica: ReplicaID, _ entry: SimulatedEntry, at index: LogIndex, after previous: Term) {
        let position = LogPosition(index: index, term: entry.term)
        if previous > entry.term { self.fail("log matching: \(replica) writes \(position) after term \(previous)") }
        guard let other = self.known[position] else {
            self.known[position] = (entry, previous)
            return
        }
        guard other.entry == entry, other.previous == previous else {
            return self.fail("log matching: \(replica) writes another entry as \(position)")
        }
    }

    /// State machine safety: what one has committed at an index, nobody commits otherwise. No key is committed twice.
    mutating func commits(_ replica: ReplicaID, _ entry: SimulatedEntry, at index: LogIndex, in term: Term) {
        if index <= UInt64(self.history.count) {
            let other = self.history[Int(index - 1)]
            if other.entry != entry {
                self.fail("state machine safety: \(replica) commits another entry \(index) than \(other.by)")
            }
            return
        }
        guard index == UInt64(self.history.count) + 1 else {
            return self.fail("\(replica) commits \(index) before \(self.history.count + 1): a gap")
        }
        self.history.append(Committed(entry: entry, by: replica, term: term))
        guard let key = entry.key else { return }
        if let place = self.places[key] { self.fail("key \(key) is committed at \(place) and at \(index)") }
        self.places[key] = index
    }

    // MARK: Clients

    /// - Parameter floor: ``told`` when the append began.
    mutating func acknowledges(_ keys: [UInt64], last: LogIndex, floor: LogIndex) {
        self.appends += 1
        for key in keys {
            guard let place = self.places[key] else {
                return self.fail("key \(key) was acknowledged and is not committed")
            }
            if place <= floor, self.acknowledged[key] == nil {
                self.fail("linearizability: key \(key) was appended after \(floor) had been seen, and is at \(place)")
            }
            self.acknowledged[key] = place
        }
        guard let place = keys.compactMap({ self.places[$0] }).max(), place == last else {
            return self.fail("keys \(keys) were acknowledged at \(last) and are elsewhere")
        }
        self.told = max(self.told, last)
    }

    /// A strong read saw all through `index`. With appends in order of index, a history is linearizable if each read sees what was
    /// seen before it began, and nothing that is not committed.
    mutating func reads(through index: LogIndex, floor: LogIndex) {
        self.reads += 1
        if index < floor { self.fail("linearizability: a read saw \(index), \(floor) had been seen before it began") }
        if index > UInt64(self.history.count) { self.fail("a read saw \(index), which is not committed") }
        self.told = max(self.told, index)
    }

    /// At the end, with all replicas up: nothing acknowledged is missing from any log.
    mutating func ends(_ replica: ReplicaID, log: LogImage) {
        guard log.lastIndex >= UInt64(self.history.count) else {
            return self.fail("\(replica) ends with \(log.lastIndex) of \(self.history.count) entries")
        }
        for index in log.firstIndex...max(log.firstIndex, UInt64(self.history.count))
        where index <= log.lastIndex && index <= UInt64(self.history.count) {
            if log[index] != self.history[Int(index - 1)].entry {
                return self.fail("\(replica) ends with another entry \(index)")
            }
        }
        for (key, place) in self.acknowledged where log.oldKeys[key] != place {
            guard place >= log.firstIndex, log[place].key == key else {
                return self.fail("key \(key), acknowledged at \(place), is not in the log of \(replica)")
            }
        }
    }
}
