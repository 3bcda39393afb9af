import Glibc
import HNSW
import Primitives

/// A folder's vectors, questions and their true neighbours.
final class DataSet: @unchecked Sendable {  // constant after init
    let vectors: UnsafeMutablePointer<Float>
    let queries: UnsafeMutablePointer<Float>
    let truth: UnsafeMutablePointer<UInt32>
    let metric: Metric
    let count: Int
    let dimension: Int
    /// Floats from one row to the next: whole cache lines, as a segment has them.
    let stride: Int
    let queryCount: Int
    let truthCount: Int

    /// Reads `vectors.f32.npy`, `queries.f32.npy` and `groundtruth.u32.npy`; nil if one is missing or of another type.
    init?(folder: String, metric: Metric) {
        guard let vectors = NumpyArray(path: folder + "/vectors.f32.npy"), vectors.type == "<f4",
            let queries = NumpyArray(path: folder + "/queries.f32.npy"), queries.type == "<f4",
            queries.columns == vectors.columns,
            let truth = NumpyArray(path: folder + "/groundtruth.u32.npy"), truth.type == "<u4",
            truth.rows == queries.rows
        else { return nil }
        self.metric = metric
        self.count = vectors.rows
        self.dimension = vectors.columns
        self.stride = (vectors.columns + 15) / 16 * 16
        self.queryCount = queries.rows
        self.truthCount = truth.columns
        self.vectors = Self.aligned(vectors, stride: self.stride)
        self.queries = Self.aligned(queries, stride: self.stride)
        self.truth = truth.bytes.baseAddress!.assumingMemoryBound(to: UInt32.self)
    }

    private static func aligned(_ array: NumpyArray, stride: Int) -> UnsafeMutablePointer<Float> {
        let floats = hugeBlock(array.rows * stride * 4).bindMemory(to: Float.self, capacity: array.rows * stride)
        let from = array.bytes.baseAddress!.assumingMemoryBound(to: Float.self)
        for row in 0..<array.rows {
            (floats + row * stride).update(from: from + row * array.columns, count: array.columns)
        }
        return floats
    }

    func query(_ q: Int) -> UnsafePointer<Float> { UnsafePointer(self.queries + q * self.stride) }
    func vector(_ row: Int) -> UnsafePointer<Float> { UnsafePointer(self.vectors + row * self.stride) }
    /// Rows that a growing segment would have when its graph begins.
    var sample: [UInt32] { (0..<UInt32(min(self.count, HNSWGraph.sampleRows))).map { $0 } }
    var rows: VectorRows {
        VectorRows(
            base: UnsafePointer(self.vectors), stride: self.stride, dimension: self.dimension, metric: self.metric)
    }

    func distance(_ query: UnsafePointer<Float>, _ row: Int) -> Float {
        self.metric == .l2
            ? VectorMath.l2(query, self.vector(row), count: self.dimension)
            : 1 - VectorMath.dot(query, self.vector(row), count: self.dimension)
    }

    /// How many of the rows found are as near as the last of the true ones: copies are as good as one another.
    func hits(_ found: [UInt32], _ query: UnsafePointer<Float>, truth: [UInt32]) -> Int {
        guard let limit = truth.map({ self.distance(query, Int($0)) }).max() else { return 0 }
        return found.filter { self.distance(query, Int($0)) <= limit + 1e-6 * abs(limit) + 1e-9 }.count
    }
}

/// Zeroed, on huge pages.
func hugeBlock(_ bytes: Int) -> UnsafeMutableRawPointer {
    let size = (bytes / (2 << 20) + 1) * (2 << 20)
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 2 << 20)
    madvise(block, size, 14 /* MADV_HUGEPAGE */)
    block.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    return block
}

func now(_ clock: clockid_t = CLOCK_MONOTONIC) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

/// Runs `body` with the numbers below `count` on so many threads and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    final class Work: Sendable {
        let number: Int
        let body: @Sendable (Int) -> Void
        init(_ number: Int, _ body: @escaping @Sendable (Int) -> Void) {
            self.number = number
            self.body = body
        }
    }
    let others = (1..<max(1, count)).map { number in
        var thread = pthread_t()
        pthread_create(
            &thread, nil,
            { argument in
                let work = Unmanaged<Work>.fromOpaque(argument!).takeRetainedValue()
                work.body(work.number)
                return nil
            }, Unmanaged.passRetained(Work(number, body)).toOpaque())
        return thread
    }
    body(0)
    for thread in others { pthread_join(thread, nil) }
}
