import Primitives
import Testing
import VectorKernels

@Suite struct SketchKernelTests {
    static let dimensions = [
        1, 5, 63, 64, 65, 127, 128, 129, 192, 193, 200, 256, 320, 384, 448, 500, 512, 513, 768, 1000, 1536,
    ]

    private static func vectors(_ dimension: Int, _ rng: inout SeededRNG) -> [[Float]] {
        (0..<19).map { _ in rng.floats(dimension, in: -3...3) }
            + [[Float](repeating: 3, count: dimension), [Float](repeating: -3, count: dimension)]
            + [(0..<dimension).map { $0 % 2 == 0 ? 5 : -5 }, [Float](repeating: 0, count: dimension)]
    }

    /// Every variant gives the bits that the portable one gives, for every way a batch can end.
    @Test(arguments: Variant.all) func batchesAgreeToTheBit(_ variant: Variant) {
        var rng = SeededRNG(seed: 71)
        for dimension in Self.dimensions {
            let vectors = Self.vectors(dimension, &rng)
            let sketches = Sketches(vectors, centre: rng.floats(dimension))
            sketches.terms(3)[1] = .infinity
            sketches.terms(4)[0] = .nan
            var rows = sketches.kernelRows
            for count in 0...vectors.count {
                let ids = (0..<count).map { _ in UInt32.random(in: 0..<UInt32(vectors.count), using: &rng) }
                for q in [0, 19, 20, 21, 22] {
                    let asked = SketchedQuery(vectors[q], centre: nil)
                    var query = asked.query
                    query.slack = Float(q) / 7
                    var keys = [UInt32](repeating: 7, count: count + 1)
                    var expected = keys
                    variant.kernels.sketch_rows(&rows, &query, ids, count, &keys)
                    Variant.portable.kernels.sketch_rows(&rows, &query, ids, count, &expected)
                    #expect(keys == expected, "\(dimension), \(count) rows, query \(q)")
                }
            }
        }
    }

    /// A distance is that of the vectors that the signs stand for, and their product with the vector is right.
    @Test(arguments: Variant.all) func distancesAreThoseOfTheSigns(_ variant: Variant) {
        var rng = SeededRNG(seed: 72)
        for dimension in Self.dimensions {
            let centre = rng.floats(dimension)
            let vectors = Self.vectors(dimension, &rng)
            let sketches = Sketches(vectors, centre: centre)
            var rows = sketches.kernelRows
            let asked = SketchedQuery(vectors[1], centre: centre)
            var query = asked.query
            query.slack = 2.5
            let ids = vectors.indices.map { UInt32($0) }
            var keys = [UInt32](repeating: 0, count: ids.count)
            variant.kernels.sketch_rows(&rows, &query, ids, ids.count, &keys)
            for row in vectors.indices {
                let x = zip(vectors[row], centre).map { Double($0 - $1) }
                let signs = x.map { $0 >= 0 ? Double(sketches.terms(row)[0]) : -Double(sketches.terms(row)[0]) }
                let squares = x.reduce(0) { $0 + $1 * $1 }
                let itself = zip(x, signs).reduce(0) { $0 + $1.0 * $1.1 }
                #expect(abs(itself - squares) <= 1e-5 * squares)
                let product = zip(asked.decoded, signs).reduce(0) { $0 + $1.0 * $1.1 }
                let low = 2.5 * Double(sketches.terms(row)[0])
                let expected = Double(query.bias + sketches.terms(row)[1]) - product - low
                #expect(
                    abs(Double(vk_distance(keys[row])) - expected) <= 1e-4 * (1 + abs(expected)),
                    "row \(row) of \(dimension)")
            }
            let q = zip(vectors[1], centre).map { Double($0 - $1) }
            let squares = q.reduce(0) { $0 + $1 * $1 }
            #expect(abs(zip(q, asked.decoded).reduce(0) { $0 + $1.0 * $1.1 } - 2 * squares) <= 1e-5 * squares)
        }
    }

    @Test(arguments: Variant.all) func encodingAgreesToTheBit(_ variant: Variant) {
        var rng = SeededRNG(seed: 73)
        for dimension in Array(1...40) + Self.dimensions {
            for scale: Float in [1e-30, 1e-12, 1, 1e15, 1e25] {
                let vector = rng.floats(dimension + 1, in: -scale...scale)
                let centre = Bool.random(using: &rng) ? rng.floats(dimension, in: -scale...scale) : nil
                var words = [UInt64](repeating: 9, count: 2 * ((dimension + 63) / 64) + 1)
                var expected = words
                vector.withUnsafeBufferPointer { vector in
                    let unaligned = vector.baseAddress! + 1
                    for encode in [\vk_kernels.sketch_row, \vk_kernels.sketch_query] {
                        let a = variant.kernels[keyPath: encode]!(unaligned, centre, UInt32(dimension), &words)
                        let b = Variant.portable.kernels[keyPath: encode]!(
                            unaligned, centre, UInt32(dimension), &expected)
                        #expect(words == expected && a.bits == b.bits, "\(dimension) components of \(scale)")
                    }
                }
            }
        }
    }

    @Test func vectorsWithoutADirectionBecomeNothing() {
        for vector: [Float] in [
            [0, 0, 0], [.leastNonzeroMagnitude, 0, 0], [.infinity, 1, 2], [-0.0, 0, 0], [3e19, 3e19, 1],
        ] {
            var words = [UInt64](repeating: 9, count: 2)
            for encode in [\vk_kernels.sketch_row, \vk_kernels.sketch_query] {
                let coded = Variant.portable.kernels[keyPath: encode]!(vector, nil, 3, &words)
                #expect(words[0] == 0 && coded.step == 0 && coded.squares == 0, "\(vector)")
            }
        }
    }

    /// What signs are for: of many random vectors they find the near ones, by an error as the paper bounds it.
    @Test func errorsAreThoseOfSigns() {
        var rng = SeededRNG(seed: 74)
        let dimension = 384
        let vectors = (0..<500).map { _ in rng.floats(dimension) }
        let sketches = Sketches(vectors, centre: nil)
        var rows = sketches.kernelRows
        let asked = SketchedQuery(rng.floats(dimension), centre: nil)
        var query = asked.query
        let ids = vectors.indices.map { UInt32($0) }
        var keys = [UInt32](repeating: 0, count: ids.count)
        Variant.all[0].kernels.sketch_rows(&rows, &query, ids, ids.count, &keys)
        var squares = 0.0
        for row in vectors.indices {
            let l2 = zip(asked.vector, vectors[row]).reduce(0.0) { $0 + Double($1.0 - $1.1) * Double($1.0 - $1.1) }
            let error = Double(vk_distance(keys[row])) - l2
            squares += error * error
        }
        // Components even between -1 and 1: each square a third. Signs lose a third of a product's variance, four levels a
        // seventh or so.
        let deviation = (squares / Double(vectors.count)).squareRoot()
        let product = 2 * (Double(dimension) / 9).squareRoot()
        #expect(0.4 * product < deviation && deviation < 0.9 * product, "\(deviation) of \(product)")
    }

    static let ranges: [ClosedRange<UInt32>] = [
        0...0, 0...7 * 0x0ccc_cccc, 3 * 0x0ccc_cccc...17 * 0x0ccc_cccc, 9...(.max), 0...(.max),
    ]

    @Test(arguments: Variant.all) func whatLiesBetweenIsKept(_ variant: Variant) {
        var rng = SeededRNG(seed: 75)
        for count in [0, 1, 15, 16, 17, 64, 256, 320] {
            let keys = (0..<count).map { _ in UInt32.random(in: 0...20, using: &rng) &* 0x0ccc_cccc }
            let ids = (0..<count).map { UInt32($0 * 3) }
            for range in Self.ranges {
                var kept = [UInt32](repeating: 1, count: count + 1)
                let some = variant.kernels.keep_between(keys, ids, count, range.lowerBound, range.upperBound, &kept)
                #expect(Array(kept[..<some]) == ids.indices.filter { range.contains(keys[$0]) }.map { ids[$0] })
                #expect(kept[count] == 1)
            }
        }
    }
}

/// Sketched rows, by L2, 64-byte aligned as a graph keeps them.
private final class Sketches {
    let dimension: Int
    private let stride: Int
    private let base: UnsafeMutableRawPointer
    private var words: Int { (self.dimension + 63) / 64 }

    init(_ rows: [[Float]], centre: [Float]?) {
        self.dimension = rows[0].count
        self.stride = Int(vk_sketch_stride(UInt32(rows[0].count)))
        self.base = .allocate(byteCount: rows.count * self.stride, alignment: 64)
        // Whatever lies behind the terms must not be counted.
        self.base.initializeMemory(as: UInt8.self, repeating: 0xa5, count: rows.count * self.stride)
        for (i, row) in rows.enumerated() {
            let bits = (self.base + i * self.stride).assumingMemoryBound(to: UInt64.self)
            let coded = Variant.portable.kernels.sketch_row(row, centre, UInt32(self.dimension), bits)
            self.terms(i)[0] = coded.step
            self.terms(i)[1] = 2 * coded.cross - coded.squares
        }
    }

    deinit { self.base.deallocate() }

    /// What one sign is worth, and what the row adds to any distance.
    func terms(_ row: Int) -> UnsafeMutablePointer<Float> {
        (self.base + row * self.stride + 8 * self.words).assumingMemoryBound(to: Float.self)
    }

    var kernelRows: vk_rows {
        var rows = vk_rows()
        rows.dimension = UInt32(self.dimension)
        rows.sketches = UnsafePointer(self.base.assumingMemoryBound(to: UInt8.self))
        rows.sketch_stride = UInt32(self.stride)
        return rows
    }
}

private final class SketchedQuery {
    let vector: [Float]
    private let planes: UnsafeMutablePointer<UInt64>
    private let coded: vk_coded

    init(_ vector: [Float], centre: [Float]?) {
        self.vector = vector
        self.planes = .allocate(capacity: 2 * ((vector.count + 63) / 64))
        self.coded = Variant.portable.kernels.sketch_query(vector, centre, UInt32(vector.count), self.planes)
    }

    deinit { self.planes.deallocate() }

    var query: vk_query {
        var query = vk_query()
        query.codes = UnsafeRawPointer(self.planes).assumingMemoryBound(to: Int8.self)
        query.scale = -self.coded.step
        query.bias = 2 * self.coded.cross - self.coded.squares
        query.offset = 3 * Int32(self.vector.count)
        return query
    }

    /// Twice what the levels stand for, as L2 wants it.
    var decoded: [Double] {
        let words = (self.vector.count + 63) / 64
        func sign(_ plane: Int, _ i: Int) -> Double {
            self.planes[plane * words + i / 64] >> UInt64(i % 64) & 1 == 1 ? 1 : -1
        }
        return self.vector.indices.map { Double(self.coded.step) * (sign(0, $0) + 2 * sign(1, $0)) }
    }
}
