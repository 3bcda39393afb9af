import Primitives
import Testing
import VectorKernels

@Suite struct CodeKernelTests {
    @Test(arguments: Variant.all)
    func productsAreExact(_ variant: Variant) {
        var rng = SeededRNG(seed: 11)
        for count in Array(0...130) + [384, 1000, 16_384] {
            let a = rng.codes(count)
            let b = rng.codes(count)
            let expected = zip(a, b).reduce(0) { $0 + Int($1.0) * Int($1.1) }
            #expect(Int(variant.kernels.code_dot(a, b, count)) == expected)
        }
        // The largest sums there are: pairs must not saturate on the way.
        let high = [Int8](repeating: 127, count: 16_384)
        let low = [Int8](repeating: -127, count: 16_384)
        #expect(variant.kernels.code_dot(high, high, 16_384) == 127 * 127 * 16_384)
        #expect(variant.kernels.code_dot(low, low, 16_384) == 127 * 127 * 16_384)
        #expect(variant.kernels.code_dot(high, low, 16_384) == -127 * 127 * 16_384)
    }

    /// Every variant gives the bits that the portable one gives, for every way a batch can end.
    @Test(arguments: Variant.all)
    func batchesAgreeToTheBit(_ variant: Variant) {
        var rng = SeededRNG(seed: 12)
        for dimension in [1, 5, 63, 64, 65, 100, 128, 200, 384, 768, 1000] {
            let vectors =
                (0..<11).map { _ in rng.floats(dimension, in: -3...3) } + [[Float](repeating: 3, count: dimension)]
                + [[Float](repeating: -3, count: dimension)]
            let coded = CodedRows(vectors)
            var rows = vk_rows()
            rows.dimension = UInt32(dimension)
            rows.code_stride = UInt32(coded.stride)
            rows.codes = UnsafePointer(coded.codes)
            rows.code_terms = UnsafePointer(coded.terms)
            for count in 0...13 {
                let ids = (0..<count).map { _ in UInt32.random(in: 0..<13, using: &rng) }
                for q in [0, 11, 12] {
                    var query = coded.query(q)
                    var keys = [UInt32](repeating: 7, count: count + 1)
                    var expected = keys
                    variant.kernels.code_dot_rows(&rows, &query, ids, count, &keys)
                    Variant.portable.kernels.code_dot_rows(&rows, &query, ids, count, &expected)
                    #expect(keys == expected, "dot of \(dimension), \(count) rows")
                    variant.kernels.code_l2_rows(&rows, &query, ids, count, &keys)
                    Variant.portable.kernels.code_l2_rows(&rows, &query, ids, count, &expected)
                    #expect(keys == expected, "l2 of \(dimension), \(count) rows")
                }
            }
        }
    }

    @Test func codesAreWithinHalfAStep() {
        var rng = SeededRNG(seed: 13)
        for dimension in [1, 7, 64, 384] {
            for scale: Float in [1e-12, 1e-3, 1, 1e4, 1e15] {
                let vector = rng.floats(dimension, in: -scale...scale)
                let coded = CodedRows([vector])
                let step = coded.terms[0]
                let codes = coded.row(0)
                #expect(codes.allSatisfy { -127...127 ~= $0 } && codes.contains { abs($0) == 127 })
                for (code, x) in zip(codes, vector) { #expect(abs(Float(code) * step - x) <= step * 0.501) }
                #expect(codes[dimension...].allSatisfy { $0 == 0 })
                let norm = codes.reduce(0.0) { $0 + Double($1 * $1) } * Double(step) * Double(step)
                #expect(abs(Double(coded.terms[1]) - norm) <= norm * 1e-6)
            }
        }
    }

    @Test func vectorsWithoutAScaleBecomeZeroCodes() {
        for vector: [Float] in [[0, 0, 0], [.leastNonzeroMagnitude, 0, 0], [.infinity, 1, 2], [-0.0, 0, 0]] {
            let coded = CodedRows([vector])
            #expect(coded.row(0).allSatisfy { $0 == 0 })
            #expect(coded.terms[0] == 0 && coded.terms[1] == 0)
        }
    }
}
