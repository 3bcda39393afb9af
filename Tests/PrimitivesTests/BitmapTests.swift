import Primitives
import Testing

@Suite struct BitmapTests {
    /// Against a set of integers, over sizes around word boundaries.
    @Test(arguments: [0, 1, 63, 64, 65, 127, 128, 1000]) func behavesAsASet(size: Int) {
        var rng = SeededRNG(seed: UInt64(size))
        for _ in 0..<50 {
            var bitmap = Bitmap(size: size)
            var model = Set<Int>()
            let otherSize = [size, size / 2, size + 70].randomElement(using: &rng)!
            var other = Bitmap(size: otherSize)
            var otherModel = Set<Int>()
            for _ in 0..<(size / 2) {
                let index = Int.random(in: 0..<size, using: &rng)
                bitmap.set(index)
                model.insert(index)
                let gone = Int.random(in: 0..<size, using: &rng)
                bitmap.clear(gone)
                model.remove(gone)
            }
            for _ in 0..<otherSize / 2 {
                let index = Int.random(in: 0..<otherSize, using: &rng)
                other.set(UInt32(index))
                otherModel.insert(index)
            }
            func check(_ bitmap: Bitmap, _ model: Set<Int>) {
                var members: [Int] = []
                bitmap.forEach { members.append($0) }
                #expect(members == model.sorted())
                #expect(bitmap.count() == model.count)
                #expect(bitmap.isEmpty == model.isEmpty)
                #expect((0..<size).allSatisfy { bitmap[$0] == model.contains($0) })
                #expect(bitmap.next(from: size / 3) == model.filter { $0 >= size / 3 }.min())
                let tail = bitmap.withUnsafeWords { $0.last ?? 0 }
                #expect(size & 63 == 0 || tail >> UInt64(size & 63) == 0)
            }
            check(bitmap, model)
            var union = bitmap
            union.formUnion(other)
            check(union, model.union(otherModel.filter { $0 < size }))
            var intersection = bitmap
            intersection.formIntersection(other)
            check(intersection, model.intersection(otherModel))
            var difference = bitmap
            difference.subtract(other)
            check(difference, model.subtracting(otherModel))
            var complement = bitmap
            complement.formComplement()
            check(complement, Set(0..<size).subtracting(model))
            var thinned = bitmap
            thinned.filter { $0 % 3 == 0 }
            check(thinned, model.filter { $0 % 3 == 0 })
            var copy = Bitmap(size: 5, filled: true)
            copy.assign(bitmap)
            check(copy, model)
            #expect(Bitmap(size: size, words: bitmap.withUnsafeWords(Array.init)) == bitmap)
        }
    }

    @Test func resetsGrowsAndFills() {
        var bitmap = Bitmap(size: 100, filled: true)
        #expect(bitmap.count() == 100)
        bitmap.reset(size: 70)
        #expect(bitmap.isEmpty && bitmap.size == 70)
        bitmap.fill()
        bitmap.grow(to: 130)
        #expect(bitmap.count() == 70 && bitmap.size == 130 && !bitmap[129])
        bitmap.grow(to: 3)
        #expect(bitmap.size == 130)
        bitmap.reset(size: 200)
        #expect(bitmap.isEmpty)
        [3, 199, 64].map(UInt32.init).withUnsafeBufferPointer { bitmap.set($0) }
        #expect(bitmap.count() == 3 && bitmap[199])
        #expect(Bitmap().isEmpty && Bitmap().next(from: 0) == nil)
    }
}
