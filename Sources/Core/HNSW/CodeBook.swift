internal import Primitives
internal import VectorKernels

/// How vectors become codes: less the centre of the data, each with a step of its own, so that neither an offset that all
/// share nor a few long vectors cost the others precision.
///
/// With `x` the vector less the centre `c` and `x^` what its codes stand for, a distance is taken as
/// `bias(q) + bias(x) + factor * q^ . x^`, where the biases hold all that depends on one side alone. Among it is
/// `x . (x^ - x)`: without it the error of a row's codes would be felt in proportion to the query's length, with it in
/// proportion to its distance, and near neighbours are told apart.
struct CodeBook {
    let kind: CodeKind
    let metric: Metric
    let dimension: Int
    /// `dimension` floats; nil for the origin.
    let centre: UnsafePointer<Float>?
    let stride: Int
    /// Each side's half of `1 - c . c`; 0 by L2.
    private let constant: Float
    private let kernels: UnsafePointer<vk_kernels>

    init(kind: CodeKind, metric: Metric, dimension: Int, centre: UnsafePointer<Float>?) {
        self.kind = kind
        self.metric = metric
        self.dimension = dimension
        self.centre = centre
        self.stride = kind.stride(dimension: dimension)
        self.kernels = vk_kernels_best()
        let squares = centre.map { vk_kernels_best().pointee.dot($0, $0, dimension) } ?? 0
        self.constant = metric == .l2 ? 0 : (1 - squares) / 2
    }

    @inline(__always) private var factor: Float { self.metric == .l2 ? -2 : -1 }

    private func bias(_ coded: vk_coded) -> Float {
        self.metric == .l2
            ? 2 * coded.cross - coded.squares
            : self.constant - coded.along + (coded.cross - coded.squares)
    }

    /// Codes one row: `stride` bytes and two terms.
    func encode(
        _ row: UnsafePointer<Float>, codes: UnsafeMutablePointer<UInt8>, terms: UnsafeMutablePointer<Float>
    ) {
        let coded: vk_coded
        switch self.kind {
        case .none: return
        case .int8:
            coded = self.kernels.pointee.encode8(
                row, self.centre, UInt32(self.dimension), codes, UInt32(self.stride), 0x80)
        case .int4:
            coded = self.kernels.pointee.encode4(row, self.centre, UInt32(self.dimension), codes, UInt32(self.stride))
        }
        terms[0] = coded.step
        terms[1] = self.bias(coded)
    }

    /// Aims `query` at a vector, whose codes go to `codes`: as many as the kind's `queryStride`.
    func aim(
        _ query: UnsafeMutablePointer<vk_query>, at vector: UnsafePointer<Float>, codes: UnsafeMutablePointer<UInt8>
    ) {
        query.pointee.floats = vector
        guard self.kind != .none else { return }
        let stride = self.kind == .int4 ? 2 * self.stride : self.stride
        let coded = self.kernels.pointee.encode8(vector, self.centre, UInt32(self.dimension), codes, UInt32(stride), 0)
        query.pointee.codes = UnsafePointer(UnsafeMutableRawPointer(codes).assumingMemoryBound(to: Int8.self))
        // A 4-bit product comes out doubled.
        query.pointee.scale = (self.kind == .int4 ? 0.5 : 1) * self.factor * coded.step
        query.pointee.bias = self.bias(coded)
        query.pointee.offset = (self.kind == .int4 ? 15 : 128) &* coded.sum
        query.pointee.is_row = 0
    }

    /// Sketches one row: the bytes of `vk_sketch_stride`.
    func sketch(_ row: UnsafePointer<Float>, to sketch: UnsafeMutableRawPointer) {
        let words = (self.dimension + 63) / 64
        let coded = self.kernels.pointee.sketch_row(
            row, self.centre, UInt32(self.dimension), sketch.bindMemory(to: UInt64.self, capacity: words))
        let terms = (sketch + 8 * words).bindMemory(to: Float.self, capacity: 2)
        terms[0] = coded.step
        terms[1] = self.bias(coded)
    }

    /// What one sign of a row is worth.
    func sketchStep(_ rows: UnsafePointer<vk_rows>, _ row: UInt32) -> Float {
        let sketch = rows.pointee.sketches + Int(row) &* Int(rows.pointee.sketch_stride)
        return UnsafeRawPointer(sketch + (self.dimension &+ 63) / 64 &* 8).assumingMemoryBound(to: Float.self)[0]
    }

    /// Of a row without a vector: farther than any other.
    static func sketchNothing(_ sketch: UnsafeMutableRawPointer, dimension: Int) {
        let terms = (sketch + (dimension + 63) / 64 * 8).bindMemory(to: Float.self, capacity: 2)
        terms[0] = 0
        terms[1] = .infinity
    }

    /// Aims `query` at a vector for rows' sketches; its signs go to `planes`, two words for each 64 components.
    func aimSketch(
        _ query: UnsafeMutablePointer<vk_query>, at vector: UnsafePointer<Float>, planes: UnsafeMutablePointer<UInt64>
    ) {
        let coded = self.kernels.pointee.sketch_query(vector, self.centre, UInt32(self.dimension), planes)
        query.pointee.codes = UnsafeRawPointer(planes).assumingMemoryBound(to: Int8.self)
        // A product comes out doubled.
        query.pointee.scale = 0.5 * self.factor * coded.step
        query.pointee.bias = self.bias(coded)
        query.pointee.offset = 3 * Int32(self.dimension)
        query.pointee.slack = 0
        query.pointee.is_row = 0
    }

    /// Aims `query` at a row by its 8-bit codes. The distance of two rows is the same either way, to the bit.
    @inline(__always) func aim(_ query: UnsafeMutablePointer<vk_query>, at row: UInt32, of rows: UnsafePointer<vk_rows>)
    {
        query.pointee.codes = UnsafeRawPointer(rows.pointee.codes + Int(row) &* self.stride).assumingMemoryBound(
            to: Int8.self)
        query.pointee.scale = self.factor * rows.pointee.terms[2 &* Int(row)]
        query.pointee.bias = rows.pointee.terms[2 &* Int(row) &+ 1]
        query.pointee.is_row = 1
    }

    /// The mean of some rows, in `centre`.
    static func mean(_ rows: VectorRows, _ sample: some Collection<UInt32>, into centre: UnsafeMutablePointer<Float>) {
        var sums = [Double](repeating: 0, count: rows.dimension)
        for row in sample {
            let vector = rows.base + Int(row) * rows.stride
            for i in 0..<rows.dimension { sums[i] += Double(vector[i]) }
        }
        for i in 0..<rows.dimension { centre[i] = Float(sums[i] / Double(max(1, sample.count))) }
    }
}

/// Whether 8-bit codes tell the rows of a sample apart as their floats do.
enum CodeTrial {
    /// Rows looked at, and those of them that are compared with all.
    static let rows = 2_000
    static let queries = 64
    /// Share of the ten nearest that codes alone must find: a walk that errs more often builds a worse graph.
    static let least = 0.9

    static func holds(_ book: CodeBook, _ rows: VectorRows, _ sample: [UInt32]) -> Bool {
        let k = 10
        guard sample.count > 4 * k else { return rows.metric == .cosine }
        let places = sample.prefix(Self.rows)
        let codes = UnsafeMutableRawPointer.allocate(byteCount: places.count * book.stride, alignment: 64)
            .bindMemory(to: UInt8.self, capacity: places.count * book.stride)
        let terms = UnsafeMutablePointer<Float>.allocate(capacity: 2 * places.count)
        defer {
            UnsafeMutableRawPointer(codes).deallocate()
            terms.deallocate()
        }
        for (i, row) in places.enumerated() {
            book.encode(rows.base + Int(row) * rows.stride, codes: codes + i * book.stride, terms: terms + 2 * i)
        }
        return places.withUnsafeBufferPointer { places in
            var kernelRows = rows.kernelRows(codes: codes, terms: terms, codeStride: book.stride)
            kernelRows.places = places.baseAddress
            var query = vk_query()
            let ids = (0..<UInt32(places.count)).map { $0 }
            var coded = [UInt32](repeating: 0, count: ids.count)
            var exact = coded
            let queries = min(Self.queries, ids.count)
            var hits = 0
            for q in 0..<queries {
                let row = q * ids.count / queries
                query.floats = rows.base + Int(places[row]) * rows.stride
                book.aim(&query, at: UInt32(row), of: &kernelRows)
                GraphView.measure(metric: rows.metric, kind: .none)(&kernelRows, &query, ids, ids.count, &exact)
                GraphView.measure(metric: rows.metric, kind: .int8)(&kernelRows, &query, ids, ids.count, &coded)
                // Ties, as copies have them, are settled alike on both sides: by what is found, not which.
                let limit = exact.sorted()[k]
                let found = ids.sorted { coded[Int($0)] < coded[Int($1)] }.prefix(k + 1)
                hits += found.filter { exact[Int($0)] <= limit }.count
            }
            return Double(hits) >= Self.least * Double(queries * (k + 1))
        }
    }
}
