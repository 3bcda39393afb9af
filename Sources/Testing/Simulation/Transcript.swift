internal import Primitives
package import Raft

/// Plays a script of what happens to a group, and writes down what the replicas do.
///
/// A transcript is text: lines that begin with `#` or are empty are remarks, those that begin with `>` are commands, all others are what
/// came of the command above. ``play(_:)`` gives the text anew, so a transcript is right if playing it changes nothing.
///
///     group 1 2 3                 replicas, all voters; `spare 4` makes one that belongs to none
///     elect 1                     150 ms pass for all, 1 campaigns, all settles; only the outcome is written
///     timeout 2                   the clock of 2 goes on until it campaigns; nobody else's does
///     wait 60ms [2 3]             clocks go on, all or some, with a tick each 10 ms
///     deliver [1 -> 2] [append]   messages under way arrive, all or some; what they cause is under way then
///     settle                      deliver until nothing is under way
///     drop [1 -> 2] [append]      messages under way are lost
///     keep, release               messages under way are put aside; they are under way again
///     cut 1 2, isolate 1, heal    one way; both ways from all; all is well
///     propose 1 3, read 1         three entries; a strong read
///     stall 1, unstall 1          its disk does not answer; it answers all
///     crash 1, restart 1 [lose 4] what was not synced is lost; entries from 4 on turn out damaged
///     change 1 learn 4, unlearn 4, voters 1 2 4
///     transfer 1 2, trim 1 3, staged 4, leap 1 5s
///     status, log
package struct Transcript {
    private var nodes: [Node] = []
    private var wire: [Envelope] = []
    private var kept: [Envelope] = []
    private var network = SimulatedNetwork()
    private var output: [String] = []
    private let bugs: PlantedBugs
    private var nextRead: UInt64 = 0
    private var nextKey: UInt64 = 0

    private final class Node {
        let id: ReplicaID
        let store: SimulatedStore
        var raft: RaftReplica?
        var now = MonotonicInstant(nanoseconds: 0)
        var isStalled = false
        var disk: [DiskOperation] = []
        var sending: (transfer: LogTransfer, image: LogImage)?
        var staged: [(transfer: LogTransfer, image: LogImage)] = []
        init(id: ReplicaID, store: SimulatedStore) {
            self.id = id
            self.store = store
        }
    }

    private struct Envelope {
        let message: RaftMessage
        let entries: [SimulatedEntry]
    }

    /// What a command said that cannot be done.
    private struct Fault: Error { let what: String }

    private init(bugs: PlantedBugs) { self.bugs = bugs }

    /// - Returns: The transcript with the output that its commands have.
    package static func play(_ text: String, bugs: PlantedBugs = []) -> String {
        var transcript = Transcript(bugs: bugs)
        var lines: [String] = []
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix(">") {
                lines.append(String(line))
                lines += transcript.output(of: line.dropFirst().split(separator: " ").map(String.init)).map {
                    "    \($0)"
                }
            } else if line.hasPrefix("#") || line.isEmpty {
                lines.append(String(line))
            }
        }
        return lines.joined(separator: "\n")
    }

    private mutating func output(of words: [String]) -> [String] {
        self.output = []
        do throws(Fault) { try self.obey(words) } catch { self.output.append("cannot: \(error.what)") }
        for node in self.nodes {
            if let broken = node.raft?.brokenInvariant() { self.output.append("BROKEN at \(node.id): \(broken)") }
        }
        return self.output
    }

    private mutating func obey(_ words: [String]) throws(Fault) {
        guard let verb = words.first else { return }
        let rest = Array(words.dropFirst())
        switch verb {
        case "group": self.group(rest, voters: rest.compactMap { UInt64($0) }.map { ReplicaID($0) })
        case "spare": self.group(rest, voters: nil)
        case "elect": try self.elect(try self.node(rest, 0))
        case "timeout": try self.timeout(try self.node(rest, 0))
        case "wait": try self.wait(rest)
        case "deliver": self.deliver(self.filter(rest))
        case "settle": self.settle()
        case "drop": self.drop(self.filter(rest))
        case "keep":
            self.kept += self.wire
            self.wire = []
        case "release":
            self.wire += self.kept
            self.kept = []
        case "cut": self.network.cut(try self.node(rest, 0).id, try self.node(rest, 1).id)
        case "isolate":
            let lone = try self.node(rest, 0).id
            for other in self.nodes where other.id != lone {
                self.network.cut(lone, other.id)
                self.network.cut(other.id, lone)
            }
        case "heal": self.network.heal()
        case "stall": try self.node(rest, 0).isStalled = true
        case "unstall":
            try self.node(rest, 0).isStalled = false
            self.sync(try self.node(rest, 0))
        case "crash":
            let node = try self.node(rest, 0)
            node.raft = nil
            node.disk = []
            node.staged = []
        case "restart": try self.restart(rest)
        case "leap":
            let node = try self.node(rest, 0)
            node.now = node.now + (try self.duration(rest, 1))
        case "status": for node in self.nodes { self.output.append("\(node.id): \(node.raft?.summary ?? "down")") }
        case "log": for node in self.nodes { self.output.append("\(node.id): \(self.log(of: node))") }
        default: try self.request(verb, rest)
        }
    }

    /// What somebody asks of a replica.
    private mutating func request(_ verb: String, _ rest: [String]) throws(Fault) {
        let node = try self.node(rest, 0)
        guard node.raft != nil else { throw Fault(what: "\(node.id) is down") }
        do throws(RaftRefusal) {
            switch verb {
            case "propose": try self.propose(node, Int(rest.dropFirst().first ?? "1") ?? 1)
            case "read":
                self.nextRead += 1
                try node.raft!.read(id: self.nextRead, now: node.now)
            case "change": try node.raft!.change(self.change(rest), now: node.now)
            case "transfer": try node.raft!.transferLeadership(to: self.id(rest, 1), now: node.now)
            case "trim":
                if !node.raft!.trim(through: self.id(rest, 1).rawValue, now: node.now) {
                    self.output.append("not trimmed")
                }
            case "staged": self.stage(node)
            default: self.output.append("unknown command \(verb)")
            }
        } catch { self.output.append("refused: \(error)") }
        self.carryOut(node)
    }

    // MARK: Words

    private func node(_ words: [String], _ place: Int) throws(Fault) -> Node {
        guard place < words.count, let number = UInt64(words[place]),
            let node = self.nodes.first(where: { $0.id.rawValue == number })
        else { throw Fault(what: "a replica's number is due") }
        return node
    }

    private func id(_ words: [String], _ place: Int) -> ReplicaID {
        ReplicaID(place < words.count ? UInt64(words[place]) ?? 0 : 0)
    }

    private func duration(_ words: [String], _ place: Int) throws(Fault) -> Nanoseconds {
        guard place < words.count else { throw Fault(what: "a duration is due") }
        let text = words[place]
        if text.hasSuffix("ms"), let count = UInt64(text.dropLast(2)) { return count * 1_000_000 }
        if text.hasSuffix("s"), let count = UInt64(text.dropLast()) { return count * 1_000_000_000 }
        throw Fault(what: "\(text) is no duration")
    }

    private func change(_ words: [String]) -> MembershipChange {
        switch words.count > 1 ? words[1] : "" {
        case "learn": .addLearner(self.id(words, 2))
        case "unlearn": .removeLearner(self.id(words, 2))
        default: .setVoters(words.dropFirst(2).compactMap { UInt64($0) }.map { ReplicaID($0) })
        }
    }

    private func filter(_ words: [String]) -> (RaftMessage) -> Bool {
        var words = words
        var from: String?, to: String?
        if words.count >= 3, words[1] == "->" {
            (from, to) = (words[0], words[2])
            words.removeFirst(3)
        }
        let name = words.isEmpty ? nil : words.joined(separator: " ")
        return { message in
            (from == nil || from == "*" || from == "\(message.from)")
                && (to == nil || to == "*" || to == "\(message.to)")
                && (name == nil || name == message.body.name)
        }
    }

    // MARK: Life and time

    private mutating func group(_ words: [String], voters: [ReplicaID]?) {
        for number in words.compactMap({ UInt64($0) }) {
            let membership = voters.map { Membership(voters: $0) } ?? .none
            let node = Node(id: ReplicaID(number), store: SimulatedStore(start: LogStart(membership: membership)))
            self.nodes.append(node)
            self.start(node)
        }
    }

    private mutating func start(_ node: Node) {
        node.raft = RaftReplica(
            id: node.id, start: node.store.restart(), view: node.store, seed: node.id.rawValue, now: node.now,
            plantedBugs: self.bugs)
        self.carryOut(node)
    }

    private mutating func restart(_ words: [String]) throws(Fault) {
        let node = try self.node(words, 0)
        if words.count >= 3, words[1] == "lose" { node.store.damaged = [self.id(words, 2).rawValue] }
        self.start(node)
    }

    private mutating func timeout(_ node: Node) throws(Fault) {
        guard node.raft != nil else { throw Fault(what: "\(node.id) is down") }
        let term = node.raft!.term
        let sent = self.wire.count
        for _ in 0..<200 where self.wire.count == sent && node.raft!.term == term { self.tick(node) }
    }

    private mutating func elect(_ node: Node) throws(Fault) {
        try self.wait(["150ms"])
        self.wire = []
        try self.timeout(node)
        self.settle()
        self.output.removeAll { !$0.contains(" leads ") }
    }

    private mutating func wait(_ words: [String]) throws(Fault) {
        let steps = try self.duration(words, 0) / 10_000_000
        let chosen = words.dropFirst().compactMap { UInt64($0) }
        for _ in 0..<steps {
            for node in self.nodes where chosen.isEmpty || chosen.contains(node.id.rawValue) { self.tick(node) }
        }
    }

    private mutating func tick(_ node: Node) {
        node.now = node.now + 10_000_000
        node.raft?.tick(now: node.now)
        self.carryOut(node)
    }

    // MARK: Messages

    private mutating func deliver(_ isMeant: (RaftMessage) -> Bool) {
        let arriving = self.wire.filter { isMeant($0.message) }
        self.wire.removeAll { isMeant($0.message) }
        for envelope in arriving {
            let message = envelope.message
            guard let node = self.nodes.first(where: { $0.id == message.to }), node.raft != nil,
                !self.network.isCut(message.from, message.to)
            else {
                self.output.append("lost: \(message)")
                continue
            }
            self.output.append("\(message)")
            node.raft!.receive(message, now: node.now)
            var first: LogIndex = 0
            if case .append(let append) = message.body { first = append.entries?.first ?? 0 }
            self.carryOut(node, entries: envelope.entries, firstEntry: first)
        }
    }

    private mutating func settle() {
        for _ in 0..<100 where !self.wire.isEmpty { self.deliver { _ in true } }
    }

    private mutating func drop(_ isMeant: (RaftMessage) -> Bool) {
        for envelope in self.wire where isMeant(envelope.message) { self.output.append("lost: \(envelope.message)") }
        self.wire.removeAll { isMeant($0.message) }
    }

    private mutating func propose(_ node: Node, _ count: Int) throws(RaftRefusal) {
        let range = try node.raft!.propose(count: count, bytes: 100 * count, now: node.now)
        let entries = (0..<count).map { _ in
            self.nextKey += 1
            return SimulatedEntry(term: range.term, content: .append(key: self.nextKey), bytes: 100)
        }
        self.carryOut(node, entries: entries, firstEntry: range.first)
    }

    // MARK: The driver

    private mutating func carryOut(_ node: Node, entries: [SimulatedEntry] = [], firstEntry: LogIndex = 0) {
        guard let actions = node.raft?.actions, !actions.isEmpty else { return }
        node.raft!.clearActions()
        for action in actions { self.carryOut(action, node, entries, firstEntry) }
        if !node.isStalled { self.sync(node) }
    }

    private mutating func carryOut(
        _ action: RaftAction, _ node: Node, _ entries: [SimulatedEntry], _ firstEntry: LogIndex
    ) {
        switch action {
        case .send(let message):
            var sent: [SimulatedEntry] = []
            if case .append(let append) = message.body, let range = append.entries {
                sent = node.store.image.slice(range.first, range.last)
            }
            self.wire.append(Envelope(message: message, entries: sent))
        case .save(let state, let ticket):
            self.output.append("\(node.id) saves \(state)")
            node.disk.append(.save(ticket, state))
        case .write(let order): self.write(order, node, entries, firstEntry)
        case .commit(let index): self.output.append("\(node.id) commits through \(index)")
        case .lead(let term): self.output.append("\(node.id) leads term \(term)")
        case .follow(let term, let leader):
            self.output.append("\(node.id) follows \(leader.map(\.description) ?? "nobody") in term \(term)")
        case .readReady(let id, let index): self.output.append("\(node.id) answers read \(id) at \(index)")
        case .readRefused(let id): self.output.append("\(node.id) refuses read \(id)")
        case .trim(let start):
            self.output.append("\(node.id) trims through \(start.position)")
            node.store.image.trim(to: start)
            node.disk.append(.trim(start))
        case .sendLog(let transfer):
            self.output.append(
                "\(node.id) sends \(transfer.to) its log \(transfer.start.position)...\(transfer.through)")
            var image = LogImage(start: transfer.start)
            image.entries = node.store.image.slice(transfer.start.position.index + 1, transfer.through.index)
            node.sending = (transfer, image)
        case .discardLog(let transfer):
            self.output.append("\(node.id) discards the log through \(transfer.through)")
            node.staged.removeAll { $0.transfer == transfer }
        case .retire: self.output.append("\(node.id) is retired")
        case .halt(let why): self.output.append("\(node.id) HALTS: \(why)")
        }
    }

    private mutating func write(_ order: WriteOrder, _ node: Node, _ entries: [SimulatedEntry], _ firstEntry: LogIndex)
    {
        let range = order.entries
        self.output.append("\(node.id) writes \(range)\(order.truncateFrom.map { ", cutting from \($0)" } ?? "")")
        var written = entries
        switch order.content {
        case .proposed: break
        case .barrier: written = [SimulatedEntry(term: range.term, content: .barrier, bytes: 64)]
        case .configuration:
            written = [SimulatedEntry(term: range.term, content: .configuration(range.membership!), bytes: 128)]
        case .received: written = Array(entries[Int(range.first - firstEntry)...Int(range.last - firstEntry)])
        case .transfer(let transfer):
            guard let image = node.staged.first(where: { $0.transfer == transfer })?.image else { return }
            node.store.replace(with: image)
            return node.disk.append(.replace(order.ticket, image))
        }
        node.store.write(written, truncatingFrom: order.truncateFrom)
        node.disk.append(.write(order.ticket, truncateFrom: order.truncateFrom, written))
    }

    /// The disk does all it was asked.
    private mutating func sync(_ node: Node) {
        while !node.disk.isEmpty, !node.isStalled {
            let operation = node.disk.removeFirst()
            node.store.persist(operation)
            switch operation {
            case .save(let ticket, _): node.raft?.saved(ticket, now: node.now)
            case .write(let ticket, _, _), .replace(let ticket, _): node.raft?.written(ticket, now: node.now)
            case .trim: break
            }
            self.carryOut(node)
        }
    }

    /// The log that somebody sends has arrived here.
    private mutating func stage(_ node: Node) {
        guard let sender = self.nodes.first(where: { $0.sending?.transfer.to == node.id }),
            let (transfer, image) = sender.sending
        else {
            return self.output.append("nobody sends \(node.id) a log")
        }
        sender.sending = nil
        node.staged.append((transfer, image))
        node.raft!.logStaged(transfer, summary: image.summary, now: node.now)
        self.carryOut(node)
        sender.raft?.logTransferEnded(transfer, isDelivered: true, now: sender.now)
        self.carryOut(sender)
    }

    /// "1@1 2@1 3@2 | 4@2": terms of all entries; committed before the bar.
    private func log(of node: Node) -> String {
        let image = node.store.image
        let commit = node.raft?.commit ?? 0
        var words = image.start.position.index > 0 ? ["(\(image.start.position))"] : []
        for (i, entry) in image.entries.enumerated() {
            let index = image.firstIndex + UInt64(i)
            if index == commit + 1 { words.append("|") }
            words.append("\(index)@\(entry.term)")
        }
        return words.joined(separator: " ")
    }
}
