import CPlatform
import HNSW
import Primitives
import Synchronization

/// Filters that are asked again: what searches say of them, and the making of their graphs.
extension ShardEngine {
    /// Rows linked before a thread looks around.
    private static let rowsAtATime = 32

    /// Bytes that filter graphs may take: a share of what the graphs of sealed segments do. Under the lock.
    var filterGraphLimit: Int {
        var bytes = 0.0
        for segment in self.segments where segment.state == .sealed {
            for case let graph? in segment.graphs {
                bytes +=
                    Double(graph.linked)
                    * GraphFootprint(dimension: graph.rows.dimension, m: graph.m).sealed(graph.kind)
            }
        }
        return Int(bytes * self.settings.filterGraphShare)
    }

    /// A search for `k` without a filter graph took so long. Under the lock.
    func note(
        _ filter: RememberedFilter, _ place: FilterPlace, _ segment: Segment, k: Int, ef: Int, selected: Int,
        began: UInt64
    ) {
        // What is being merged goes soon, and its graphs with it.
        guard let graph = segment.graphs[place.column], !segment.isMerging else { return }
        let now = monotonicNanoseconds()
        let cost = self.settings.filterGraphAfter * SubsetGraph.buildNanoseconds(count: selected, of: graph)
        let lost = Double(now - began) - SubsetGraph.walkNanoseconds(k: k, ef: ef, of: graph)
        guard lost > 0 || cost == 0,
            SubsetGraph.expectedBytes(count: selected, of: graph) + segment.rowCount / 8 <= self.filterGraphLimit
        else { return }
        filter.lost(max(0, lost), at: place, now: now, cost: cost)
    }

    /// - Parameter matches: Live rows that match.
    func order(_ filter: RememberedFilter, _ place: FilterPlace, _ segment: Segment, _ matches: [UInt64]) {
        if self.filterGraphs.order(FilterOrder(filter, place, segment, matches: matches)) { self.workers.wake(self) }
    }

    /// Links some rows of the filter graph in hand. False if there is none to make.
    func buildFilterGraph(_ scratch: SearchScratch) -> Bool {
        let order = self.filterGraphs.current { order, others in
            // Spelled otherwise, but the same rows: one graph serves both.
            let (graph, other): (HNSWGraph?, FilterGraph?) = self.lock.reading {
                let deleted = UnsafePointer(order.segment.deleted.words)
                return (
                    order.segment.graphs[order.place.column], others.first { $0.isSame(order.matches, deleted) }
                )
            }
            if other == nil, let graph { order.begin(graph) }
            if !order.isBegun { self.filterGraphs.settle(order, with: other) }
        }
        guard let order else { return false }
        guard let build = order.build else { return true }
        let (linked, isLast) = build.link(Self.rowsAtATime, scratch: scratch, breathe: { vc_thread_breathe() })
        if isLast {
            let graph = FilterGraph(
                order.place, build.finish(), matches: order.matches, storage: order.segment.storage,
                now: monotonicNanoseconds())
            self.filterGraphs.install(order, graph, limit: self.lock.reading { self.filterGraphLimit })
        }
        return linked > 0
    }
}
