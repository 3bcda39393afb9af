package enum NodeHealth: String, Sendable, CaseIterable {
    /// Heard of, and steady: it may be given something new.
    case up
    /// Heard of, but it was away not long ago: what it holds counts, it gets nothing new.
    case flapping
    /// Silent for a moment: reads go elsewhere, nothing is thrown away and nothing made anew.
    case suspected
    /// Silent for so long that what it held is made again elsewhere.
    case down

    package var isReachable: Bool { self == .up || self == .flapping }
}

/// Judges nodes by what is heard of them. Pure: the driver hands in what it heard, and its monotonic clock as time since any zero.
///
/// Three things are not the nodes' fault, and held against none: that a controller has just been elected (silence begins with its
/// start), that it stood still itself (silence begins anew with the tick that shows it), and that it is cut off (``isBlind``: more
/// than half are silent; then nobody is newly called down). In all three nobody is *up* before it is heard of.
package struct Liveness: Sendable {
    package struct Transition: Equatable, Sendable {
        package let node: NodeID
        package let from: NodeHealth
        package let to: NodeHealth
        package let reason: String
    }

    private struct State {
        var lastHeard: Duration
        var holdsLease = false
        var health: NodeHealth
        /// Absences not forgiven yet.
        var absences = 0
        /// Since it was last away, or an absence was last forgiven.
        var upSince: Duration
        var wasHeard = false
        /// It was we who were away: its next word is no return.
        var isExcused = false
    }
    package let settings: LivenessSettings
    private let bugs: ControlBugs
    private var states: [NodeID: State] = [:]
    private var lastTick: Duration
    package private(set) var isBlind = false

    package init(settings: LivenessSettings = LivenessSettings(), now: Duration, bugs: ControlBugs = []) {
        self.settings = settings
        self.lastTick = now
        self.bugs = bugs
    }

    /// Nobody has heard of a node that is not watched: it is suspected.
    package func health(of node: NodeID) -> NodeHealth { self.states[node]?.health ?? .suspected }
    package var healths: [NodeID: NodeHealth] { self.states.mapValues(\.health) }

    /// Watches these and no others.
    package mutating func watch(_ nodes: some Sequence<NodeID>, now: Duration) {
        var states: [NodeID: State] = [:]
        for node in nodes {
            states[node] = self.states[node] ?? State(lastHeard: now, health: .suspected, upSince: now)
        }
        self.states = states
    }

    package mutating func heard(_ node: NodeID, now: Duration) -> Transition? {
        guard var state = self.states[node] else { return nil }
        defer { self.states[node] = state }
        state.lastHeard = max(now, state.lastHeard)
        guard !state.health.isReachable else { return nil }
        // The first word of all is no return.
        if state.wasHeard || state.health == .down, !state.isExcused { state.absences += 1 }
        state.wasHeard = true
        state.isExcused = false
        state.upSince = now
        let settle = self.settle(state.absences)
        return self.turn(
            node, &state, to: settle > .zero ? .flapping : .up,
            settle > .zero
                ? "heard of again after absence \(state.absences); steady in \(settle.seconds) s" : "heard of")
    }

    /// Of the metadata store: whether the node's lease is held.
    package mutating func lease(_ node: NodeID, isHeld: Bool) { self.states[node]?.holdsLease = isHeld }

    /// Time passes; call at least once a heartbeat, after what was heard.
    package mutating func tick(now: Duration) -> [Transition] {
        let gap = now - self.lastTick
        self.lastTick = now
        if gap > self.settings.suspectAfter {
            for (node, state) in self.states
            where now - state.lastHeard >= self.settings.suspectAfter && state.health != .down {
                self.states[node]!.lastHeard = now - self.settings.suspectAfter
                self.states[node]!.isExcused = true
            }
        }
        let silent = self.states.values.reduce(0) { $0 + (now - $1.lastHeard >= self.settings.suspectAfter ? 1 : 0) }
        self.isBlind = silent * 2 > self.states.count
        return self.states.keys.sorted().compactMap { self.judge($0, now) }
    }

    private mutating func judge(_ node: NodeID, _ now: Duration) -> Transition? {
        var state = self.states[node]!
        defer { self.states[node] = state }
        let silence = now - state.lastHeard
        switch state.health {
        case .up, .flapping:
            if silence >= self.settings.suspectAfter {
                return self.turn(node, &state, to: .suspected, "silent for \(silence.seconds) s")
            }
            if state.health == .flapping {
                guard now - state.upSince >= self.settle(state.absences) else { return nil }
                return self.turn(node, &state, to: .up, "steady")
            }
            while state.absences > 0, now - state.upSince >= self.settings.forgiveAfter {
                state.absences -= 1
                state.upSince += self.settings.forgiveAfter
            }
            return nil
        case .suspected:
            let limit = state.holdsLease ? self.settings.downAfterWithLease : self.settings.downAfter
            guard silence >= (self.bugs.contains(.noGrace) ? self.settings.suspectAfter : limit), !self.isBlind else {
                return nil
            }
            return self.turn(node, &state, to: .down, "silent for \(silence.seconds) s")
        case .down: return nil
        }
    }

    private func turn(_ node: NodeID, _ state: inout State, to health: NodeHealth, _ reason: String) -> Transition {
        defer { state.health = health }
        return Transition(node: node, from: state.health, to: health, reason: reason)
    }

    /// How long a node with so many absences must be up.
    private func settle(_ absences: Int) -> Duration {
        guard absences > 0 else { return .zero }
        return min(self.settings.settleMax, self.settings.settleBase * (1 << min(absences - 1, 16)))
    }
}

extension Duration {
    /// Rounded to tenths, for a person.
    var seconds: Double {
        let (seconds, attoseconds) = self.components
        return Double(seconds) + Double(attoseconds / 100_000_000_000_000_000) / 10
    }
}
