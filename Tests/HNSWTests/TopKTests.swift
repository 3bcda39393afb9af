import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct TopKTests {
    @Test func keepsTheNearestInAnyOrderOfOffers() {
        var rng = SeededRNG(seed: 81)
        for k in [1, 2, 3, 10, 100] {
            let top = TopK(k: 1)
            top.reset(k: k)
            var offered: [Neighbour] = []
            for i in 0..<300 {
                let neighbour = Neighbour(
                    distance: Float(Int.random(in: -5...40, using: &rng)), row: UInt32(i * 7 % 300),
                    segment: UInt32.random(in: 0...1, using: &rng))
                offered.append(neighbour)
                top.offer(neighbour)
                // Sorting in between changes nothing.
                if i % 50 == 0 { top.sort() }
            }
            let expected = offered.sorted { ($0.distance, $0.segment, $0.row) < ($1.distance, $1.segment, $1.row) }
            #expect(top.isFull && top.bound == expected[k - 1].distance)
            #expect(top.neighbours() == Array(expected[..<k]))
            top.sort()
            #expect(top[k - 1] == expected[k - 1])
        }
    }

    @Test func hasNoBoundWhileThereIsRoom() {
        let top = TopK(k: 2)
        #expect(top.bound == .infinity && top.count == 0 && top.neighbours() == [])
        top.offer(Neighbour(distance: 1, row: 1))
        #expect(top.bound == .infinity && !top.isFull)
        top.offer(Neighbour(distance: -1, row: 2))
        #expect(top.bound == 1)
        top.reset(k: 2)
        #expect(top.count == 0 && top.bound == .infinity)
    }

    @Test func scansGoOverRangesAndBitmaps() {
        let points = Points.random(count: 700, dimension: 6, metric: .l2, seed: 82)
        let top = TopK(k: 9)
        let scratch = SearchScratch()
        let odd = RowSet(count: 700) { $0 % 2 == 1 }
        let few = RowSet(count: 700) { $0 % 50 == 3 }
        for range in [0..<700, 0..<0, 5..<6, 60..<70, 63..<64, 64..<65, 100..<613] as [Range<UInt32>] {
            top.reset(k: 9)
            let stats = odd.words.withUnsafeBufferPointer { allowed in
                few.words.withUnsafeBufferPointer { deleted in
                    ExactSearch.scan(
                        points.rows, range: range, query: points.base, allowed: allowed.baseAddress,
                        deleted: deleted.baseAddress, scratch: scratch, into: top)
                }
            }
            let isWanted = { (row: Int) in range.contains(UInt32(row)) && row % 2 == 1 && row % 50 != 3 }
            #expect(top.neighbours() == points.nearest(points.base, k: 9, where: isWanted))
            #expect(stats.distances == (0..<700).filter(isWanted).count)
        }
    }
}
