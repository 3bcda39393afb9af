import Primitives
import Testing
import VectorKernels

@Suite struct FloatKernelTests {
    /// Every tail of every loop: around the widths of all variants, then sizes of real embeddings.
    static let dimensions = Array(1...70) + [96, 100, 127, 128, 129, 383, 384, 385, 767, 768, 1023, 1024, 1536]

    /// Sums are added in another order by each variant; this bounds what that may change.
    private func tolerance(_ a: [Float], _ b: [Float], squared: Bool) -> Double {
        let terms = zip(a, b).map { squared ? Double($0 - $1) * Double($0 - $1) : abs(Double($0) * Double($1)) }
        return 1e-6 * terms.reduce(0, +) + 1e-12
    }

    @Test(arguments: Variant.all)
    func dotAndL2AgreeWithDoublePrecision(_ variant: Variant) {
        var rng = SeededRNG(seed: 1)
        for dimension in Self.dimensions {
            let a = rng.floats(dimension)
            let b = rng.floats(dimension)
            let dot = zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
            let l2 = zip(a, b).reduce(0.0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
            #expect(abs(Double(variant.kernels.dot(a, b, dimension)) - dot) <= self.tolerance(a, b, squared: false))
            #expect(abs(Double(variant.kernels.l2(a, b, dimension)) - l2) <= self.tolerance(a, b, squared: true))
        }
    }

    @Test(arguments: Variant.all)
    func emptyVectorsAreAtZero(_ variant: Variant) {
        let none: [Float] = [1]
        #expect(variant.kernels.dot(none, none, 0) == 0)
        #expect(variant.kernels.l2(none, none, 0) == 0)
    }

    /// A row's distance does not depend on its place in a batch, on alignment, or on what lies between rows.
    @Test(arguments: Variant.all)
    func batchesGiveWhatSingleRowsGive(_ variant: Variant) {
        var rng = SeededRNG(seed: 2)
        for dimension in [1, 3, 8, 15, 16, 17, 33, 100, 384, 1100] {
            for offset in [0, 1, 3] {
                let vectors = (0..<13).map { _ in rng.floats(dimension) }
                let query = rng.floats(dimension + 1)
                let rows = FloatRows(vectors, stride: dimension + offset, misaligned: offset)
                query.withUnsafeBufferPointer { query in
                    let unaligned = query.baseAddress! + 1
                    var kernelRows = vk_rows()
                    kernelRows.floats = UnsafePointer(rows.base)
                    kernelRows.stride = rows.stride
                    kernelRows.dimension = UInt32(dimension)
                    var kernelQuery = vk_query()
                    kernelQuery.floats = unaligned
                    for count in 0...13 {
                        let ids = (0..<count).map { _ in UInt32.random(in: 0..<13, using: &rng) }
                        var dots = [UInt32](repeating: 7, count: count + 1)
                        var l2s = dots
                        variant.kernels.dot_rows(&kernelRows, &kernelQuery, ids, count, &dots)
                        variant.kernels.l2_rows(&kernelRows, &kernelQuery, ids, count, &l2s)
                        for (i, id) in ids.enumerated() {
                            let row = rows.base + Int(id) * rows.stride
                            #expect(dots[i] == vk_key(1 - variant.kernels.dot(unaligned, row, dimension)))
                            #expect(l2s[i] == vk_key(variant.kernels.l2(unaligned, row, dimension)))
                        }
                        #expect(dots[count] == 7 && l2s[count] == 7, "written past \(count) keys")
                    }
                }
            }
        }
    }

    /// Distances between two rows are the same both ways: links carry one for both ends.
    @Test(arguments: Variant.all)
    func distancesAreSymmetric(_ variant: Variant) {
        var rng = SeededRNG(seed: 3)
        for dimension in Self.dimensions {
            let a = rng.floats(dimension)
            let b = rng.floats(dimension)
            #expect(variant.kernels.dot(a, b, dimension) == variant.kernels.dot(b, a, dimension))
            #expect(variant.kernels.l2(a, b, dimension) == variant.kernels.l2(b, a, dimension))
        }
    }

    /// Products that overflow: every variant gives a key, infinities at their end, NaN behind everything.
    @Test(arguments: Variant.all)
    func overflowStaysOrdered(_ variant: Variant) {
        let huge = Float.greatestFiniteMagnitude
        for dimension in [2, 16, 40] {
            let query = [Float](repeating: huge, count: dimension)
            let near = [Float](repeating: huge, count: dimension)  // dot is infinite, 1 - dot is minus infinity
            let far = [Float](repeating: -huge, count: dimension)
            let mixed = (0..<dimension).map { $0 % 2 == 0 ? huge : -huge }  // infinity minus infinity
            let plain = [Float](repeating: 0, count: dimension)
            let rows = FloatRows([near, far, mixed, plain, plain], stride: dimension, misaligned: 0)
            var kernelRows = vk_rows()
            kernelRows.floats = UnsafePointer(rows.base)
            kernelRows.stride = rows.stride
            kernelRows.dimension = UInt32(dimension)
            query.withUnsafeBufferPointer { query in
                var kernelQuery = vk_query()
                kernelQuery.floats = query.baseAddress
                var keys = [UInt32](repeating: 0, count: 5)
                variant.kernels.dot_rows(&kernelRows, &kernelQuery, [0, 1, 2, 3, 4], 5, &keys)
                #expect(keys[0] == vk_key(-.infinity) && keys[1] == vk_key(.infinity) && keys[3] == vk_key(1))
                #expect(keys[0] < keys[3] && keys[3] < keys[1])
                #expect(keys[2] == vk_key(.nan) || keys[2] == vk_key(.infinity) || keys[2] == vk_key(-.infinity))
                variant.kernels.l2_rows(&kernelRows, &kernelQuery, [0, 1, 2, 3, 4], 5, &keys)
                #expect(keys[0] == vk_key(0) && keys[1] == vk_key(.infinity))
            }
        }
    }
}
