import HNSW
import Primitives
import Synchronization

/// Links every row, on so many threads.
func build(_ data: DataSet, quantisation: Quantisation, threads: Int, m: Int, efConstruction: Int) -> HNSWGraph {
    let graph = HNSWGraph(
        dimension: data.dimension, metric: data.metric, m: m, efConstruction: efConstruction, capacity: data.count,
        rows: UnsafePointer(data.vectors), stride: data.stride, quantisation: quantisation, sample: data.sample)
    let next = Atomic<Int>(0)
    withUnsafePointer(to: next) { next in
        nonisolated(unsafe) let next = next
        onThreads(threads) { _ in
            let scratch = SearchScratch()
            while true {
                let row = next.pointee.add(1, ordering: .relaxed).oldValue
                if row >= data.count { return }
                var hash = StableHash()
                hash.combine(UInt64(row))
                graph.insert(row: UInt32(row), level: HNSWGraph.level(hash: hash.finish(), m: m), scratch: scratch)
            }
        }
    }
    return graph
}
