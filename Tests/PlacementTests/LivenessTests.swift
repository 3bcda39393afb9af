import Placement
import Primitives
import Testing

@Suite struct LivenessTests {
    static let nodes = (1...4).map { NodeID(UInt64($0)) }
    private var liveness = Liveness(now: .zero)
    private var now = Duration.zero
    private var silent: Set<UInt64> = []

    init() {
        self.liveness.watch(Self.nodes, now: .zero)
        self.pass(.milliseconds(250))
    }

    /// Heartbeats and ticks each quarter second, but for the silent.
    private mutating func pass(_ time: Duration) {
        let end = self.now + time
        while self.now < end {
            self.now += .milliseconds(250)
            for node in Self.nodes where !self.silent.contains(node.rawValue) {
                _ = self.liveness.heard(node, now: self.now)
            }
            _ = self.liveness.tick(now: self.now)
        }
    }
    private func health(_ node: UInt64) -> NodeHealth { self.liveness.health(of: NodeID(node)) }

    @Test func theFirstWordIsEnough() {
        #expect(Self.nodes.allSatisfy { self.liveness.health(of: $0) == .up })
        #expect(self.liveness.health(of: NodeID(9)) == .suspected)
    }

    /// Design 12: reads go elsewhere in less than a second; replacing begins early enough for a minute.
    @Test mutating func silenceIsSuspectedThenDown() {
        self.silent = [2]
        self.pass(.milliseconds(500))
        #expect(self.health(2) == .up)
        self.pass(.milliseconds(250))
        #expect(self.health(2) == .suspected)
        self.pass(.seconds(14))
        #expect(self.health(2) == .suspected)
        self.pass(.milliseconds(500))
        #expect(self.health(2) == .down)
        let settings = LivenessSettings()
        #expect(settings.suspectAfter < .seconds(1) && settings.downAfter < .seconds(30))
    }

    @Test mutating func aHeldLeaseLengthensTheGrace() {
        self.liveness.lease(NodeID(2), isHeld: true)
        self.silent = [2]
        self.pass(.seconds(44))
        #expect(self.health(2) == .suspected)
        self.pass(.seconds(2))
        #expect(self.health(2) == .down)
    }

    /// Each absence doubles the time for which a node must be steady, up to a limit; five minutes forgive one.
    @Test mutating func whoFlapsIsTrustedLater() {
        var waits: [Int] = []
        for _ in 0..<8 {
            self.silent = [3]
            self.pass(.seconds(1))
            self.silent = []
            var wait = 0
            repeat {
                self.pass(.seconds(1))
                wait += 1
            } while self.health(3) == .flapping
            #expect(self.health(3) == .up)
            waits.append(wait)
        }
        #expect(zip(waits, [5, 10, 20, 40, 80, 160, 300, 300]).allSatisfy { abs($0 - $1) <= 1 }, "\(waits)")
        self.pass(.seconds(8 * 300))
        self.silent = [3]
        self.pass(.seconds(1))
        self.silent = []
        self.pass(.seconds(4))
        #expect(self.health(3) == .flapping)
        self.pass(.seconds(2))
        #expect(self.health(3) == .up)
    }

    /// Who hears almost nobody does not know who is down.
    @Test mutating func theBlindCallNobodyDown() {
        self.silent = [1, 2, 3]
        self.pass(.seconds(60))
        #expect(self.liveness.isBlind)
        #expect((1...3).allSatisfy { self.health($0) == .suspected })
        self.silent = [1]
        self.pass(.seconds(20))
        #expect(!self.liveness.isBlind && self.health(1) == .down && self.health(2).isReachable)
    }

    /// A controller that stood still knows nothing of the time: nobody is up before it is heard of, nobody is blamed.
    @Test mutating func ownStandstillIsNobodysAbsence() {
        self.now += .seconds(100)
        _ = self.liveness.heard(NodeID(1), now: self.now)
        _ = self.liveness.tick(now: self.now)
        #expect(self.health(1) == .up)
        #expect((2...4).allSatisfy { self.health($0) == .suspected })
        self.silent = [2]
        self.pass(.seconds(1))
        #expect(self.health(3) == .up && self.health(4) == .up && self.health(2) == .suspected)
        self.pass(.seconds(15))
        #expect(self.health(2) == .down)
    }

    @Test mutating func aNewControllerGivesEveryoneTheGrace() {
        var fresh = Liveness(now: .seconds(1000))
        fresh.watch(Self.nodes, now: .seconds(1000))
        for second in 1...14 { _ = fresh.tick(now: .seconds(1000 + second)) }
        #expect(Self.nodes.allSatisfy { fresh.health(of: $0) == .suspected })
    }

    @Test mutating func whoIsNotWatchedAnyMoreIsForgotten() {
        self.liveness.watch(Self.nodes.dropLast(), now: self.now)
        #expect(self.liveness.heard(NodeID(4), now: self.now) == nil)
        #expect(self.liveness.healths.count == 3)
    }

    @Test func settingsAreChecked() throws {
        try LivenessSettings().validate()
        try PlannerSettings().validate()
        var settings = LivenessSettings()
        settings.suspectAfter = .milliseconds(300)
        #expect(throws: VecraftError.self) { try settings.validate() }
        settings = LivenessSettings()
        settings.downAfterWithLease = .seconds(1)
        #expect(throws: VecraftError.self) { try settings.validate() }
        var planner = PlannerSettings()
        planner.maxMoves = planner.maxBuilds + 1
        #expect(throws: VecraftError.self) { try planner.validate() }
    }
}
