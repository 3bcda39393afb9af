import Primitives
import Testing
import VectorKernels

@Suite struct CodeKernelTests {
    static let dimensions = [1, 5, 63, 64, 65, 100, 127, 128, 129, 200, 384, 500, 768, 784, 1000, 1536, 2100]

    /// Rows of ordinary and extreme components: the largest sums there are must not saturate on the way.
    private func vectors(_ dimension: Int, _ rng: inout SeededRNG) -> [[Float]] {
        (0..<11).map { _ in rng.floats(dimension, in: -3...3) }
            + [[Float](repeating: 3, count: dimension), [Float](repeating: -3, count: dimension)]
            + [(0..<dimension).map { $0 % 2 == 0 ? 5 : -5 }, [Float](repeating: 0, count: dimension)]
    }

    /// Every variant gives the bits that the portable one gives, for every way a batch can end and every kind of query.
    @Test(arguments: Variant.all, [8, 4])
    func batchesAgreeToTheBit(_ variant: Variant, bits: Int) {
        var rng = SeededRNG(seed: 12)
        for dimension in Self.dimensions {
            let vectors = self.vectors(dimension, &rng)
            let coded = CodedRows(vectors, bits: bits, centre: rng.floats(dimension))
            var rows = coded.kernelRows
            for count in 0...vectors.count {
                let ids = (0..<count).map { _ in UInt32.random(in: 0..<UInt32(vectors.count), using: &rng) }
                for q in [0, 11, 12, 13, 14] {
                    let asked = CodedQuery(vectors[q], bits: bits, misaligned: count % 3)
                    var queries = [asked.query]
                    if bits == 8 { queries.append(coded.query(q)) }
                    for var query in queries {
                        var keys = [UInt32](repeating: 7, count: count + 1)
                        var expected = keys
                        let (some, plain) = (variant.kernels, Variant.portable.kernels)
                        (bits == 8 ? some.code8_rows : some.code4_rows)!(&rows, &query, ids, count, &keys)
                        (bits == 8 ? plain.code8_rows : plain.code4_rows)!(&rows, &query, ids, count, &expected)
                        #expect(keys == expected, "\(bits) bits, \(dimension), \(count) rows, query \(q)")
                    }
                }
            }
        }
    }

    /// A distance is that of the vectors that the codes stand for.
    @Test(arguments: Variant.all, [8, 4])
    func distancesAreThoseOfTheCodes(_ variant: Variant, bits: Int) {
        var rng = SeededRNG(seed: 14)
        for dimension in Self.dimensions {
            let vectors = self.vectors(dimension, &rng)
            let coded = CodedRows(vectors, bits: bits, centre: nil)
            var rows = coded.kernelRows
            let asked = CodedQuery(vectors[1], bits: bits, misaligned: 1)
            var query = asked.query
            let ids = vectors.indices.map { UInt32($0) }
            var keys = [UInt32](repeating: 0, count: ids.count)
            (bits == 8 ? variant.kernels.code8_rows : variant.kernels.code4_rows)!(&rows, &query, ids, ids.count, &keys)
            for row in vectors.indices {
                let product = zip(asked.decoded, coded.decoded(row)).reduce(0.0) { $0 + $1.0 * $1.1 }
                let expected = Double(query.bias + rows.terms[2 * row + 1]) - product
                #expect(
                    abs(Double(vk_distance(keys[row])) - expected) <= 1e-4 * (1 + abs(expected)),
                    "row \(row) of \(dimension)")
            }
        }
    }

    @Test(arguments: Variant.all)
    func encodingAgreesToTheBit(_ variant: Variant) {
        var rng = SeededRNG(seed: 15)
        for dimension in Array(1...40) + Self.dimensions {
            for scale: Float in [1e-12, 1e-3, 1, 1e4, 1e15] {
                let vector = rng.floats(dimension + 1, in: -scale...scale)
                let centre = Bool.random(using: &rng) ? rng.floats(dimension, in: -scale...scale) : nil
                let stride = (dimension + 63) / 64 * 64
                var codes = [UInt8](repeating: 9, count: stride + 1)
                var expected = codes
                vector.withUnsafeBufferPointer { vector in
                    let unaligned = vector.baseAddress! + 1
                    let n = UInt32(dimension)
                    for flip: UInt8 in [0, 0x80] {
                        let a = variant.kernels.encode8(unaligned, centre, n, &codes, UInt32(stride), flip)
                        let b = Variant.portable.kernels.encode8(unaligned, centre, n, &expected, UInt32(stride), flip)
                        #expect(codes == expected && a.bits == b.bits, "8 bits, \(dimension)")
                    }
                    let a = variant.kernels.encode4(unaligned, centre, n, &codes, UInt32(stride))
                    let b = Variant.portable.kernels.encode4(unaligned, centre, n, &expected, UInt32(stride))
                    #expect(codes == expected && a.bits == b.bits, "4 bits, \(dimension)")
                }
            }
        }
    }

    @Test func codesAreWithinHalfAStep() {
        var rng = SeededRNG(seed: 13)
        for dimension in [1, 7, 64, 384] {
            for scale: Float in [1e-12, 1e-3, 1, 1e4, 1e15] {
                let vector = rng.floats(dimension, in: -scale...scale)
                let coded = CodedRows([vector], bits: 8, centre: nil)
                let step = Double(coded.terms[0])
                for (decoded, x) in zip(coded.decoded(0), vector) { #expect(abs(decoded - Double(x)) <= step * 0.501) }
                let most = vector.map { abs($0) }.max()!
                #expect(abs(step * 127 - Double(most)) <= 1e-5 * Double(most))
            }
        }
    }

    /// One component far out costs the others little: it is clipped.
    @Test func fourBitsWithstandAnOutlier() {
        var rng = SeededRNG(seed: 16)
        var vector = rng.floats(384)
        vector[7] = 12
        let decoded = CodedRows([vector], bits: 4, centre: nil).decoded(0)
        let lost = zip(decoded, vector).reduce(0.0) { $0 + ($1.0 - Double($1.1)) * ($1.0 - Double($1.1)) }
        let length = vector.reduce(0.0) { $0 + Double($1) * Double($1) }
        #expect(lost < 0.3 * length, "\(lost) of \(length)")
        let plain = CodedRows([rng.floats(384)], bits: 4, centre: nil)
        #expect(abs(plain.terms[0] - 2 / 15) < 0.02, "a step of \(plain.terms[0]) for components in -1...1")
    }

    @Test func vectorsWithoutAScaleBecomeNothing() {
        for vector: [Float] in [[0, 0, 0], [.leastNonzeroMagnitude, 0, 0], [.infinity, 1, 2], [-0.0, 0, 0]] {
            for bits in [8, 4] {
                let coded = CodedRows([vector], bits: bits, centre: nil)
                #expect(coded.terms[0] == 0 && coded.terms[1] == 0)
                #expect(coded.decoded(0).allSatisfy { $0 == 0 })
            }
        }
    }

    /// Against double precision, and a row's distance does not depend on its place in a batch.
    @Test(arguments: Variant.all)
    func halvesAreMeasuredAsFloats(_ variant: Variant) {
        var rng = SeededRNG(seed: 17)
        for dimension in [1, 16, 31, 32, 33, 100, 384, 1000] {
            let stride = (dimension + 31) / 32 * 32
            let count = 9
            let halves = UnsafeMutableRawPointer.allocate(byteCount: count * stride * 2, alignment: 64)
                .bindMemory(to: UInt16.self, capacity: count * stride)
            defer { UnsafeMutableRawPointer(halves).deallocate() }
            halves.initialize(repeating: 0, count: count * stride)
            for row in 0..<count {
                for i in 0..<dimension { halves[row * stride + i] = Float16.random(in: -2...2, using: &rng).bitPattern }
            }
            var rows = vk_rows()
            rows.halves = UnsafePointer(halves)
            rows.half_stride = UInt32(stride)
            let floats = rng.floats(dimension) + [Float](repeating: 0, count: stride - dimension)
            floats.withUnsafeBufferPointer { floats in
                var query = vk_query()
                query.floats = floats.baseAddress
                query.scale = -2
                query.bias = 3
                for n in 0...count {
                    let ids = (0..<n).map { _ in UInt32.random(in: 0..<UInt32(count), using: &rng) }
                    for isL2 in [false, true] {
                        var keys = [UInt32](repeating: 7, count: n + 1)
                        (isL2 ? variant.kernels.half_l2_rows : variant.kernels.half_dot_rows)!(
                            &rows, &query, ids, n, &keys)
                        #expect(keys[n] == 7)
                        for (i, id) in ids.enumerated() {
                            let expected = (0..<dimension).reduce(0.0) { sum, j in
                                let x = Double(Float(Float16(bitPattern: halves[Int(id) * stride + j])))
                                let q = Double(floats[j])
                                return sum + (isL2 ? (q - x) * (q - x) : q * x)
                            }
                            #expect(
                                abs(Double(vk_distance(keys[i])) - (3 - 2 * expected)) <= 1e-4 * (1 + abs(expected)))
                        }
                    }
                }
            }
        }
    }

    @Test func theLargestComponentIsFound() {
        var rng = SeededRNG(seed: 18)
        for count in Array(1...20) + [100] {
            let a = rng.floats(count)
            let b = rng.floats(count)
            #expect(vk_largest(a, b, count) == zip(a, b).map { abs($0 - $1) }.max())
        }
    }
}

extension vk_coded {
    var bits: [UInt32] {
        [
            self.step.bitPattern, self.squares.bitPattern, self.cross.bitPattern, self.along.bitPattern,
            UInt32(bitPattern: self.sum),
        ]
    }
}
