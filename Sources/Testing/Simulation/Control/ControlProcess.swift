internal import Placement
internal import Primitives

/// A FailoverManager: hears nodes, plans while it believes to lead, writes with the epoch compared.
final class ControlProcess {
    let index: Int
    var isUp = true
    var isCutFromStore = false
    var pausedUntil = 0
    var returnAt = 0
    /// Does not ask whether it still leads: only the comparison stands between its views and the map.
    let isStubborn: Bool
    var isLeading = false
    var view = ClusterMap()
    var liveness: Liveness?
    var halts = HaltPatience()
    /// When it last heard each; of one not heard yet, when it began to listen.
    var heardAt: [NodeID: Int] = [:]
    var reports: [NodeID: NodeObservation] = [:]
    var groups: [PartitionID: GroupObservation] = [:]
    var pending: [Decision] = []
    var plannedAt = 0
    var lastPlan = Plan()
    var nextPlan = 0

    /// 5 s: a plan that is older than this is thrown away unwritten.
    static let planAge = 20

    init(index: Int, isStubborn: Bool) {
        self.index = index
        self.isStubborn = isStubborn
    }

    func stop() {
        self.isLeading = false
        self.pending = []
        self.liveness = nil
        self.halts = HaltPatience()
        self.heardAt = [:]
        self.reports = [:]
        self.groups = [:]
        self.lastPlan = Plan()
    }
}
