// Measures the index as a library, one command a line on standard input, one line of answer each, so that a script can
// interleave it with other libraries in one run:
//
//   load FOLDER METRIC                              vectors.f32.npy, queries.f32.npy, groundtruth.u32.npy; cosine, dot, l2
//   build NAME KIND THREADS M EFCONSTRUCTION        KIND: auto, none, int8, int4; with "/f16", float16 for re-scoring
//   seal NAME KIND THREADS                          as a sealed segment has it
//   search NAME EF SECONDS THREADS
//   filter NAME EF SECONDS SHARE PATTERN STRATEGY   PATTERN: random, near, far; STRATEGY "again": filters asked before, each
//                                                   with a graph of its own
//   check NAME
//   merge KIND M EFCONSTRUCTION SHARE GONE          a merged segment's graph, afresh and from its largest input's links
import Glibc
import HNSW
import Primitives

struct BadCommand: Error { var what: String }

struct Session {
    var data: DataSet?
    var graphs: [String: HNSWGraph] = [:]
    var filters: [String: RowFilters] = [:]
    /// Of the last filters asked again: those of others would not fit beside them.
    var warm: WarmFilters?

    static let metrics: [String: Metric] = ["cosine": .cosine, "dot": .dot, "l2": .l2]
    static let strategies: [String: GraphSearch.Strategy] = [
        "automatic": .automatic, "exact": .exact, "scan": .scan, "plainWalk": .plainWalk, "filteredWalk": .filteredWalk,
    ]

    /// What the comparison asks for; another share is made when it is asked for.
    static let shares: Set = ["0.1", "0.01"]

    func loaded() throws -> DataSet {
        guard let data = self.data else { throw BadCommand(what: "load first") }
        return data
    }

    func graph(_ name: String) throws -> HNSWGraph {
        guard let graph = self.graphs[name] else { throw BadCommand(what: "no graph \(name)") }
        return graph
    }

    func quantisation(_ name: String) throws -> Quantisation {
        guard let quantisation = Quantisation(rawValue: String(name.prefix { $0 != "/" })) else {
            throw BadCommand(what: "no codes are called \(name)")
        }
        return quantisation
    }

    mutating func answer(_ command: String, _ words: [String]) throws -> String {
        switch command {
        case "load":
            guard let metric = Self.metrics[words[1]], let data = DataSet(folder: words[0], metric: metric) else {
                throw BadCommand(what: "cannot read \(words[0])")
            }
            self.data = data
            return "\(data.count) x \(data.dimension), \(VectorMath.kernels)"
        case "build":
            let data = try self.loaded()
            let quantisation = try self.quantisation(words[1])
            let start = now()
            let startCPU = now(CLOCK_PROCESS_CPUTIME_ID)
            let graph = build(
                data, quantisation: quantisation, threads: Int(words[2])!, m: Int(words[3])!,
                efConstruction: Int(words[4])!)
            let seconds = now() - start
            let cpu = 1e6 * (now(CLOCK_PROCESS_CPUTIME_ID) - startCPU) / Double(data.count)
            self.graphs[words[0]] = graph
            return """
                seconds \(seconds) rate \(Int(Double(data.count) / seconds)) cpu \(cpu) \
                reachable \(graph.reachable())
                """
        case "seal":
            let start = now()
            let data = try self.loaded()
            let block = try self.graph(words[0]).sealed(
                try self.quantisation(words[1]), rowCount: data.count,
                rescoring: words[1].hasSuffix("/f16") ? .float16 : .float32)
            let seconds = now() - start
            // As from a file.
            self.graphs[words[0]] = try HNSWGraph(
                mapped: block.bytes, rows: data.rows, rowCount: data.count, owner: block)
            let report = block.report
            let trials = report.trials.map { "\($0.kind)\($0.halves ? "" : "/f32"):\($0.recalls)/\($0.baseline)" }
            return """
                seconds \(seconds) codes \(report.kind) resident \(Double(report.residentBytes) / Double(data.count)) \
                rescoring \((report.bytes - report.residentBytes) / data.count) \
                trials \(trials.joined(separator: ";").filter { $0 != " " })-
                """
        case "merge":
            return try merge(
                try self.loaded(), quantisation: try self.quantisation(words[0]), m: Int(words[1])!,
                efConstruction: Int(words[2])!, share: Double(words[3])!, gone: Double(words[4])!)
        case "search":
            return measure(
                try self.loaded(), try self.graph(words[0]), ef: Int(words[1])!, seconds: Double(words[2])!,
                threads: Int(words[3])!
            ).line
        case "filter":
            let data = try self.loaded()
            let isWarm = words[5] == "again"
            let strategy = isWarm ? .automatic : Self.strategies[words[5]]
            guard RowFilters.Pattern(rawValue: words[4]) != nil, let strategy else {
                throw BadCommand(what: "no such pattern or strategy")
            }
            let key = words[3] + words[4]
            if self.filters[key] == nil {
                self.filters = RowFilters.all(data, shares: Array(Self.shares.union([words[3]])))
            }
            guard let filter = self.filters[key] else { throw BadCommand(what: "no share \(words[3])") }
            let graph = try self.graph(words[0])
            if isWarm, self.warm?.key != words[0] + key { self.warm = WarmFilters(words[0] + key, filter, graph) }
            return measure(
                data, graph, ef: Int(words[1])!, seconds: Double(words[2])!, filter: filter, strategy: strategy,
                warm: isWarm ? self.warm : nil
            ).line + (isWarm ? self.warm!.line : "")
        case "check":
            let faults = try self.graph(words[0]).checkInvariants()
            return "faults \(faults.count) \(faults.first ?? "")"
        default:
            throw BadCommand(what: "unknown command \(command)")
        }
    }
}

var session = Session()
let wordCounts = ["load": 2, "build": 5, "seal": 3, "search": 4, "filter": 6, "check": 1, "merge": 5]
while let line = readLine() {
    let words = line.split(separator: " ").map(String.init)
    guard let command = words.first else { continue }
    do {
        guard words.count - 1 == wordCounts[command] ?? words.count - 1 else {
            throw BadCommand(what: "words are missing")
        }
        print(try session.answer(command, Array(words.dropFirst())))
    } catch {
        print("error \(error)")
    }
    fflush(nil)
}
