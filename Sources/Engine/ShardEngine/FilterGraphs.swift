import Filter
import HNSW
import Primitives
import Synchronization

/// What a shard remembers of filters, and the graphs it made for those that are asked again and again.
///
/// A filter is known by its bytes, so that two that are taken for one are one. Each place has a graph when searches with the
/// filter have lost as much time there as making it takes (``ShardSettings/filterGraphAfter``); what has graphs and was not
/// asked for longest goes when they would take more than their share of memory.
final class FilterGraphs: Sendable {
    private struct State {
        var filters: [[UInt8]: (filter: RememberedFilter, asked: UInt64)] = [:]
        var graphs: [FilterGraph] = []
        var bytes = 0
        var orders: [FilterOrder] = []
        var building: FilterOrder?
    }
    private let state = Mutex(State())
    /// Filters whose bytes are more are not remembered: such lists are seldom asked twice.
    private static let keyBytes = 1_024
    /// Filters remembered, at most; with their bytes a megabyte.
    private static let filters = 1_024
    /// Places that wait for their graph; who finds no room asks again.
    private static let orders = 64

    let built = Atomic<UInt64>(0)
    let evicted = Atomic<UInt64>(0)

    /// - Returns: Nil for a filter too long to be remembered.
    func remember(_ filter: Filter, now: UInt64) -> RememberedFilter? {
        let key = filter.encoded()
        guard key.count <= Self.keyBytes else { return nil }
        return self.state.withLock { state in
            if let known = state.filters[key] {
                state.filters[key]!.asked = now
                return known.filter
            }
            if state.filters.count >= Self.filters { Self.makeRoom(&state) }
            guard state.filters.count < Self.filters else { return nil }
            let made = RememberedFilter(key)
            state.filters[key] = (made, now)
            return made
        }
    }

    /// Forgets a quarter: those not asked for longest, and none that has a graph.
    private static func makeRoom(_ state: inout State) {
        let idle = state.filters.values.filter { !$0.filter.isInUse }.sorted { $0.asked < $1.asked }
        for (filter, _) in idle.prefix(Self.filters / 4) { state.filters[filter.key] = nil }
    }

    // MARK: Building

    /// - Returns: False if too many wait already.
    func order(_ order: FilterOrder) -> Bool {
        self.state.withLock { state in
            // A filter forgotten since the search began is asked again if it is wanted.
            guard state.orders.count < Self.orders, state.filters[order.filter.key]?.filter === order.filter,
                order.filter.order(at: order.place)
            else { return false }
            state.orders.append(order)
            return true
        }
    }

    /// The order being built, or the next one, which `begin` is then called with; nil if there is none.
    func current(_ begin: (FilterOrder, [FilterGraph]) -> Void) -> FilterOrder? {
        let (order, others): (FilterOrder?, [FilterGraph]) = self.state.withLock { state in
            if let building = state.building { return (building.isBegun ? building : nil, []) }
            guard !state.orders.isEmpty else { return (nil, []) }
            let order = state.orders.removeFirst()
            state.building = order
            return (order, state.graphs.filter { $0.place == order.place })
        }
        guard let order else { return nil }
        if !order.isBegun { begin(order, others) }
        return order
    }

    /// Ends the order in hand without a graph of its own: another filter matches the same rows, or none is to be had.
    func settle(_ order: FilterOrder, with other: FilterGraph? = nil) {
        self.state.withLock { state in
            guard state.building === order else { return }
            state.building = nil
            if let other, state.graphs.contains(where: { $0 === other }) {
                other.users.append(order.filter)
                order.filter.set(.ready(other), at: order.place)
            } else {
                order.filter.set(.nothing, at: order.place)
            }
        }
    }

    /// Puts a graph in use, and takes out of use what there is no more room for.
    func install(_ order: FilterOrder, _ graph: FilterGraph, limit: Int) {
        self.state.withLock { state in
            // Not if its segment went meanwhile.
            guard state.building === order else { return }
            state.building = nil
            guard graph.bytes <= limit else {
                order.filter.set(.nothing, at: order.place)
                return
            }
            self.evict(&state, to: limit - graph.bytes)
            graph.users = [order.filter]
            state.graphs.append(graph)
            state.bytes += graph.bytes
            order.filter.set(.ready(graph), at: order.place)
            self.built.wrappingAdd(1, ordering: .relaxed)
        }
    }

    private func evict(_ state: inout State, to limit: Int) {
        while state.bytes > limit {
            let oldest = state.graphs.indices.min {
                state.graphs[$0].used.load(ordering: .relaxed) < state.graphs[$1].used.load(ordering: .relaxed)
            }
            guard let oldest else { return }
            let graph = state.graphs.remove(at: oldest)
            Self.drop(graph, &state)
            self.evicted.wrappingAdd(1, ordering: .relaxed)
        }
    }

    private static func drop(_ graph: FilterGraph, _ state: inout State) {
        state.bytes -= graph.bytes
        for filter in graph.users { filter.set(.nothing, at: graph.place) }
        graph.users = []
    }

    // MARK: End

    /// Segments went, or their graphs were written anew: what was made of them goes too.
    func forget(segments: Set<UInt64>) {
        self.state.withLock { state in
            for graph in state.graphs where segments.contains(graph.place.segment) { Self.drop(graph, &state) }
            state.graphs.removeAll { segments.contains($0.place.segment) }
            state.orders.removeAll { segments.contains($0.place.segment) }
            if let building = state.building, segments.contains(building.place.segment) { state.building = nil }
            for (filter, _) in state.filters.values { filter.forget(segments: segments) }
        }
    }

    var held: (graphs: Int, bytes: Int) { self.state.withLock { ($0.graphs.count, $0.bytes) } }
    /// What is wrong with the bookkeeping, in words; empty when sound.
    func faults() -> [String] {
        self.state.withLock { state in
            var faults: [String] = []
            if state.bytes != state.graphs.reduce(0, { $0 + $1.bytes }) {
                faults.append("\(state.bytes) bytes counted")
            }
            for graph in state.graphs {
                faults += graph.graph.checkInvariants()
                if graph.users.isEmpty { faults.append("a graph at \(graph.place) that no filter uses") }
                for user in graph.users where state.filters[user.key]?.filter !== user {
                    faults.append("a graph at \(graph.place) of a filter that is forgotten")
                }
            }
            return faults
        }
    }

    var places: [FilterPlace] { self.state.withLock { $0.graphs.map(\.place) } }

    /// Nothing is ordered or being built.
    var isIdle: Bool { self.state.withLock { $0.orders.isEmpty && $0.building == nil } }
}

/// A graph that is to be made.
///
/// `@unchecked Sendable`: `build` is set once, by the thread that ``FilterGraphs/current(_:)`` let begin, before `begun`.
final class FilterOrder: @unchecked Sendable {
    let filter: RememberedFilter
    let place: FilterPlace
    let segment: Segment
    /// Live rows that match.
    let matches: [UInt64]
    private(set) var build: SubsetBuild?
    private let begun = Atomic<Bool>(false)

    init(_ filter: RememberedFilter, _ place: FilterPlace, _ segment: Segment, matches: [UInt64]) {
        self.filter = filter
        self.place = place
        self.segment = segment
        self.matches = matches
    }

    var isBegun: Bool { self.begun.load(ordering: .acquiring) }

    /// - Parameter graph: Of the whole segment.
    func begin(_ graph: HNSWGraph) {
        let present = self.segment.present[self.place.column].words
        var rows: [UInt32] = []
        for (w, word) in self.matches.enumerated() {
            var bits = word & present[w]
            while bits != 0 {
                rows.append(UInt32(w << 6 | bits.trailingZeroBitCount))
                bits &= bits &- 1
            }
        }
        guard !rows.isEmpty else { return }
        self.build = SubsetBuild(rows, of: graph)
        self.begun.store(true, ordering: .releasing)
    }
}
