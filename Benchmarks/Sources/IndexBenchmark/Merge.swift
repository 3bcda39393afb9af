import Glibc
import HNSW
import Primitives

/// Two ways to the graph of a merged segment, by one thread: every row linked anew, and the links of the largest input taken
/// over. `share` of the rows are the input's, `gone` of them were replaced since and come in anew.
func merge(
    _ data: DataSet, quantisation: Quantisation, m: Int, efConstruction: Int, share: Double, gone: Double
) throws -> String {
    let old = Int(Double(data.count) * share)
    let scratch = SearchScratch()
    func empty() -> HNSWGraph {
        HNSWGraph(
            dimension: data.dimension, metric: data.metric, m: m, efConstruction: efConstruction, capacity: data.count,
            rows: UnsafePointer(data.vectors), stride: data.stride, quantisation: quantisation, sample: data.sample)
    }
    func insert(_ rows: some Sequence<Int>, _ graph: HNSWGraph) {
        for row in rows {
            var hash = StableHash()
            hash.combine(UInt64(row))
            graph.insert(row: UInt32(row), level: HNSWGraph.level(hash: hash.finish(), m: m), scratch: scratch)
        }
    }
    let input = empty()
    insert(0..<old, input)
    let block = input.sealed(quantisation, rowCount: old)
    let sealed = try HNSWGraph(mapped: block.bytes, rows: data.rows, rowCount: old, owner: block)
    var rng = SeededRNG(seed: 8)
    let newRows = (0..<old).map { Double.random(in: 0..<1, using: &rng) < gone ? UInt32.max : UInt32($0) }

    var start = now(CLOCK_THREAD_CPUTIME_ID)
    let afresh = empty()
    insert(0..<data.count, afresh)
    let fresh = now(CLOCK_THREAD_CPUTIME_ID) - start
    start = now(CLOCK_THREAD_CPUTIME_ID)
    let merged = empty()
    merged.adopt(sealed, newRows: newRows, scratch: scratch)
    let adopted = now(CLOCK_THREAD_CPUTIME_ID) - start
    insert((0..<data.count).filter { $0 >= old || newRows[$0] == .max }, merged)
    let reused = now(CLOCK_THREAD_CPUTIME_ID) - start
    let recalls = [afresh, merged].map { graph in
        [24, 48, 96].map { String(measure(data, graph, ef: $0, seconds: 0).recall) }.joined(separator: "/")
    }
    return """
        share \(share) gone \(gone) afresh-cpu \(fresh) reused-cpu \(reused) (adopting \(adopted)) ratio \(reused / fresh) \
        recall afresh \(recalls[0]) reused \(recalls[1]) reachable \(afresh.reachable()) \(merged.reachable())
        """
}
