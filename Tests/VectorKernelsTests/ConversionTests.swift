import Primitives
import Testing
import VectorKernels

@Suite struct ConversionTests {
    /// All 65,536 halves, against the language's own.
    @Test(arguments: Variant.all)
    func everyHalfWidensExactly(_ variant: Variant) {
        let halves = (0...UInt16.max).map { $0 }
        var floats = [Float](repeating: 0, count: halves.count)
        variant.kernels.from_f16(halves, &floats, halves.count)
        for (half, float) in zip(halves, floats) {
            let expected = Float(Float16(bitPattern: half))
            if float.bitPattern != expected.bitPattern && !(float.isNaN && expected.isNaN) {
                Issue.record("half \(half) widened to \(float), not \(expected)")
            }
        }
        var back = [UInt16](repeating: 0, count: halves.count)
        variant.kernels.to_f16(floats, &back, floats.count)
        for (half, again) in zip(halves, back) where again != half && !Float16(bitPattern: half).isNaN {
            Issue.record("half \(half) came back as \(again)")
        }
    }

    @Test(arguments: Variant.all)
    func narrowingRoundsToNearestEven(_ variant: Variant) {
        var rng = SeededRNG(seed: 21)
        var floats: [Float] = [
            65_503, 65_519.99, 65_520, 1e9, -1e9, 0x1p-24, 0x1p-25, 0x1.8p-25, 0x1p-26, 1 + 0x1p-11, 1 + 0x3p-11,
        ]
        for _ in 0..<20_000 { floats.append(Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &rng))) }
        for _ in 0..<20_000 { floats.append(Float.random(in: -2...2, using: &rng)) }
        var halves = [UInt16](repeating: 0, count: floats.count)
        variant.kernels.to_f16(floats, &halves, floats.count)
        for (float, half) in zip(floats, halves) {
            let expected = Float16(float)
            if half != expected.bitPattern && !(expected.isNaN && Float16(bitPattern: half).isNaN) {
                Issue.record("\(float) narrowed to \(Float16(bitPattern: half)), not \(expected)")
            }
        }
    }

    @Test func normalisingGivesUnitLength() {
        var rng = SeededRNG(seed: 22)
        for scale: Float in [1e-38, 1e-20, 1, 1e18, 1e37] {
            var vector = rng.floats(100, in: -scale...scale)
            let length = vk_normalise(&vector, vector.count)
            #expect(length > 0)
            let squares = vector.reduce(0.0) { $0 + Double($1) * Double($1) }
            #expect(abs(squares - 1) < 1e-6)
        }
        var zero = [Float](repeating: 0, count: 3)
        #expect(vk_normalise(&zero, 3) == 0 && zero == [0, 0, 0])
    }
}
