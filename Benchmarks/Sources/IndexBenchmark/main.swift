// Measures the index as a library, one command a line on standard input, one line of answer each, so that a script can
// interleave it with other libraries in one run:
//
//   load FOLDER                                vectors.f16.npy, queries.f16.npy, groundtruth.u32.npy
//   build NAME STORE THREADS M EFCONSTRUCTION  STORE: float32, int8
//   seal NAME                                  serialises and opens in place
//   search NAME EF SECONDS [STRATEGY [SHARE]]  SHARE of rows allowed, by a seeded draw
//   check NAME
import Glibc
import HNSW
import Primitives
import Synchronization

func now() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// Rounded up to whole huge pages.
func hugeSize(_ bytes: Int) -> Int { (bytes / (2 << 20) + 1) * (2 << 20) }

/// A folder's vectors and questions, widened and normalised.
final class DataSet: @unchecked Sendable {  // constant after init
    let vectors: UnsafeMutablePointer<Float>
    let queries: UnsafeMutablePointer<Float>
    let truth: UnsafeMutablePointer<UInt32>
    let count: Int
    let dimension: Int
    let queryCount: Int
    let truthCount: Int

    init?(folder: String) {
        guard let vectors = NumpyArray(path: folder + "/vectors.f16.npy"), vectors.type == "<f2",
            let queries = NumpyArray(path: folder + "/queries.f16.npy"), queries.type == "<f2",
            let truth = NumpyArray(path: folder + "/groundtruth.u32.npy"), truth.type == "<u4"
        else { return nil }
        self.count = vectors.rows
        self.dimension = vectors.columns
        self.queryCount = queries.rows
        self.truthCount = truth.columns
        self.vectors = Self.widened(vectors)
        self.queries = Self.widened(queries)
        self.truth = truth.bytes.baseAddress!.assumingMemoryBound(to: UInt32.self)
    }

    private static func widened(_ array: NumpyArray) -> UnsafeMutablePointer<Float> {
        let count = array.rows * array.columns
        let raw = UnsafeMutableRawPointer.allocate(byteCount: hugeSize(count * 4), alignment: 2 << 20)
        madvise(raw, hugeSize(count * 4), 14 /* MADV_HUGEPAGE */)
        let floats = raw.bindMemory(to: Float.self, capacity: count)
        VectorMath.fromFloat16(array.bytes.baseAddress!.assumingMemoryBound(to: UInt16.self), floats, count: count)
        for row in 0..<array.rows {
            VectorMath.normalise(UnsafeMutableBufferPointer(start: floats + row * array.columns, count: array.columns))
        }
        return floats
    }
}

func build(_ data: DataSet, store: HNSWGraph.Store, threads: Int, m: Int, efConstruction: Int) -> HNSWGraph {
    let graph = HNSWGraph(
        dimension: data.dimension, metric: .cosine, m: m, efConstruction: efConstruction, capacity: data.count,
        rows: data.vectors, stride: data.dimension, store: store)
    final class Work: Sendable {
        let next = Atomic<Int>(0)
        let graph: HNSWGraph
        let count: Int
        init(_ graph: HNSWGraph, _ count: Int) {
            self.graph = graph
            self.count = count
        }
        func run() {
            let scratch = SearchScratch()
            while true {
                let row = self.next.add(1, ordering: .relaxed).oldValue
                if row >= self.count { return }
                var hash = StableHash()
                hash.combine(UInt64(row))
                self.graph.insert(
                    row: UInt32(row), level: HNSWGraph.level(hash: hash.finish(), m: self.graph.m), scratch: scratch)
            }
        }
    }
    let work = Work(graph, data.count)
    var others: [pthread_t] = []
    for _ in 1..<max(1, threads) {
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                Unmanaged<Work>.fromOpaque(argument!).takeUnretainedValue().run()
                return nil
            }, Unmanaged.passUnretained(work).toOpaque())
        others.append(thread)
    }
    work.run()
    for thread in others { pthread_join(thread, nil) }
    return graph
}

/// Exact neighbours of every query among the rows allowed.
func exactAnswers(_ data: DataSet, allowed: [UInt64], k: Int) -> [[UInt32]] {
    let rows = VectorRows(base: data.vectors, stride: data.dimension, dimension: data.dimension, metric: .cosine)
    let scratch = SearchScratch()
    let top = TopK(k: k)
    return (0..<data.queryCount).map { q in
        top.reset(k: k)
        ExactSearch.scan(
            rows, range: 0..<UInt32(data.count), query: data.queries + q * data.dimension, allowed: allowed,
            scratch: scratch, into: top)
        return top.neighbours().map(\.row)
    }
}

func measure(_ data: DataSet, _ graph: HNSWGraph, ef: Int, seconds: Double, strategy: GraphSearch.Strategy, share: Double) -> String {
    let k = 10
    var rng = SeededRNG(seed: 7)
    var allowed = [UInt64](repeating: 0, count: (data.count + 63) / 64)
    var allowedCount = 0
    for row in 0..<data.count where Double.random(in: 0..<1, using: &rng) < share {
        allowed[row / 64] |= 1 << UInt64(row % 64)
        allowedCount += 1
    }
    let filtered = share < 1
    let truth =
        filtered
        ? exactAnswers(data, allowed: allowed, k: k)
        : (0..<data.queryCount).map { q in (0..<k).map { data.truth[q * data.truthCount + $0] } }
    let scratch = SearchScratch()
    let top = TopK(k: k)
    var hits = 0
    var wanted = 0
    var short = 0
    var passes = 0
    var stats = SearchStats()
    var hops = 0
    var distances = 0
    let start = now()
    var end = start
    allowed.withUnsafeBufferPointer { allowed in
        repeat {
            for q in 0..<data.queryCount {
                var request = GraphSearch(query: data.queries + q * data.dimension, k: k)
                request.ef = ef
                request.strategy = strategy
                request.allowed = filtered ? allowed.baseAddress : nil
                top.reset(k: k)
                stats = graph.search(request, scratch: scratch, into: top)
                hops += stats.hops
                distances += stats.distances
                top.sort()
                if passes == 0 {
                    let found = (0..<top.count).map { top[$0].row }
                    hits += Set(found).intersection(truth[q]).count
                    wanted += truth[q].count
                    if found.count < min(k, allowedCount) { short += 1 }
                }
            }
            passes += 1
            end = now()
        } while end - start < seconds
    }
    let total = Double(passes * data.queryCount)
    return """
        qps \(Int(total / (end - start))) recall \(Double(hits) / Double(max(1, wanted))) short \(short) \
        hops \(Int(Double(hops) / total)) distances \(Int(Double(distances) / total)) strategy \(stats.strategy) ef \(stats.ef)
        """
}

/// What the graph becomes when its segment is sealed.
func sealed(_ graph: HNSWGraph, _ data: DataSet) throws(DecodingFault) -> HNSWGraph {
    let bytes = graph.serialisedBytes(rowCount: data.count)
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: hugeSize(bytes), alignment: 2 << 20)
    madvise(block.baseAddress!, block.count, 14 /* MADV_HUGEPAGE */)
    var at = 0
    graph.serialise(rowCount: data.count) { piece in
        (block.baseAddress! + at).copyMemory(from: piece.baseAddress!, byteCount: piece.count)
        at += piece.count
    }
    return try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: graph.rows, rowCount: data.count)
}

func main() throws {
    var data: DataSet?
    var graphs: [String: HNSWGraph] = [:]
    let stores: [String: HNSWGraph.Store] = ["float32": .float32, "int8": .int8]
    let strategies: [String: GraphSearch.Strategy] = [
        "automatic": .automatic, "exact": .exact, "scan": .scan, "plainWalk": .plainWalk, "filteredWalk": .filteredWalk,
    ]
    while let line = readLine() {
        defer { fflush(nil) }
        let words = line.split(separator: " ").map(String.init)
        guard let command = words.first else { continue }
        switch command {
        case "load":
            data = DataSet(folder: words[1])
            print(data.map { "ok \($0.count) x \($0.dimension), \(VectorMath.kernels)" } ?? "cannot read \(words[1])")
        case "build":
            guard let data, let store = stores[words[2]] else { print("load first"); continue }
            let start = now()
            let graph = build(data, store: store, threads: Int(words[3]) ?? 1, m: Int(words[4]) ?? 16, efConstruction: Int(words[5]) ?? 200)
            let seconds = now() - start
            graphs[words[1]] = graph
            print("seconds \(seconds) rate \(Int(Double(data.count) / seconds)) reachable \(graph.reachable())")
        case "seal":
            guard let data, let graph = graphs[words[1]] else { print("no such graph"); continue }
            graphs[words[1]] = try sealed(graph, data)
            print("ok")
        case "search":
            guard let data, let graph = graphs[words[1]] else { print("no such graph"); continue }
            let strategy = words.count > 4 ? strategies[words[4]] ?? .automatic : .automatic
            let share = words.count > 5 ? Double(words[5]) ?? 1 : 1
            print(measure(data, graph, ef: Int(words[2]) ?? 0, seconds: Double(words[3]) ?? 1, strategy: strategy, share: share))
        case "check":
            guard let graph = graphs[words[1]] else { print("no such graph"); continue }
            let faults = graph.checkInvariants()
            print("faults \(faults.count) \(faults.first ?? "")")
        default:
            print("unknown command \(command)")
        }
    }
}
try main()
