import Primitives
import Testing
import VectorKernels

@Suite struct OrderTests {
    @Test func keysAreInTheOrderOfDistances() {
        var rng = SeededRNG(seed: 31)
        var distances: [Float] = [
            -.infinity, -.greatestFiniteMagnitude, -1, -.leastNonzeroMagnitude, 0, .leastNonzeroMagnitude, 1,
            .greatestFiniteMagnitude, .infinity,
        ]
        distances += rng.floats(1000, in: -10...10)
        distances.sort()
        let keys = distances.map { vk_key($0) }
        #expect(keys == keys.sorted())
        #expect(zip(distances, keys).allSatisfy { vk_distance($1) == $0 })
        #expect(vk_key(.nan) == vk_key(-.nan) && vk_key(.nan) > vk_key(.infinity) && vk_key(.nan) < .max)
        #expect(vk_distance(vk_key(.nan)).isNaN)
    }

    /// The pool against an array that is sorted and cut after each insertion.
    @Test(arguments: Variant.all)
    func poolKeepsTheSmallest(_ variant: Variant) {
        var rng = SeededRNG(seed: 32)
        let slack = Int(VK_POOL_SLACK)
        for capacity in [1, 2, 3, 4, 5, 7, 8, 9, 16, 33, 100] {
            let memory = UnsafeMutablePointer<UInt64>.allocate(capacity: capacity + 2 * slack)
            defer { memory.deallocate() }
            memory.initialize(repeating: 0, count: capacity + 2 * slack)
            let pool = memory + slack
            var model: [UInt64] = []
            for i in 0..<4 * capacity {
                // Both halves of the unsigned range, and duplicates.
                let entry = UInt64.random(in: 0...60, using: &rng) << 58 | UInt64(i % 3)
                if model.count == capacity, entry >= model.last! { continue }
                let at = variant.kernels.pool_insert(pool, model.count, capacity, entry)
                let place = model.firstIndex { $0 > entry } ?? model.count
                model.insert(entry, at: place)
                if model.count > capacity { model.removeLast() }
                #expect(at == place)
                #expect(model == (0..<model.count).map { pool[$0] })
                #expect((1...slack).allSatisfy { pool[-$0] == 0 })
            }
        }
    }

    @Test(arguments: Variant.all)
    func restrictionsAreCounted(_ variant: Variant) {
        var rng = SeededRNG(seed: 33)
        for words in [0, 1, 3, 8, 17, 64, 100] {
            let allowed = (0..<words).map { _ in UInt64.random(in: 0...UInt64.max, using: &rng) }
            let deleted = (0..<words).map { _ in UInt64.random(in: 0...UInt64.max, using: &rng) }
            for (a, d) in [(allowed, deleted), (allowed, nil), (nil, deleted), (nil, nil)] as [([UInt64]?, [UInt64]?)] {
                var to = [UInt64](repeating: 7, count: words + 1)
                let expected = (0..<words).map { (a?[$0] ?? ~0) & ~(d?[$0] ?? 0) }
                #expect(
                    variant.kernels.restrict_rows(&to, a, d, words) == expected.reduce(0) { $0 + $1.nonzeroBitCount })
                #expect(to == expected + [7])
            }
        }
    }

    /// Against sorting, for pools that fit in registers and others, with copies of keys and of entries' rows.
    @Test(arguments: Variant.all) func offersKeepTheSmallest(_ variant: Variant) {
        var rng = SeededRNG(seed: 36)
        for capacity in [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200] {
            for keyRange: UInt32 in [3, 40, 100_000] {
                let slack = Int(VK_POOL_SLACK)
                var pool = [UInt64](repeating: 0, count: capacity + 2 * slack)
                var expected: [UInt64] = []
                var size = 0
                var next: UInt32 = 0
                while next < 600 {
                    let count = Int.random(in: 0...40, using: &rng)
                    let ids = (0..<count).map { _ -> UInt32 in
                        next += 1
                        return next
                    }.shuffled(using: &rng)
                    let keys = ids.map { _ in UInt32.random(in: 0..<keyRange, using: &rng) &* 40_000 }
                    let start = Int.random(in: 0...size, using: &rng)
                    var lowest = start
                    var expectedLowest = start
                    for (key, id) in zip(keys, ids) {
                        let entry = UInt64(key) << 32 | UInt64(id) << 1
                        let at = expected.firstIndex { $0 > entry } ?? expected.count
                        if at == capacity { continue }
                        expected.insert(entry, at: at)
                        if expected.count > capacity { expected.removeLast() }
                        expectedLowest = min(expectedLowest, at)
                    }
                    size = pool.withUnsafeMutableBufferPointer {
                        variant.kernels.pool_offer($0.baseAddress! + slack, size, capacity, keys, ids, count, &lowest)
                    }
                    #expect(size == expected.count && lowest == expectedLowest, "\(capacity)")
                    #expect(Array(pool[slack..<slack + size]) == expected, "\(capacity)")
                    #expect(pool[..<slack].allSatisfy { $0 == 0 })
                }
            }
        }
    }

    @Test func gatheringSkipsVisitedRowsAndStopsAtTheEnd() {
        var visited = [UInt8](repeating: 6, count: 100)
        var ids = [UInt32](repeating: 0, count: 8)
        let links: [UInt32] = [3, 70, 3, 64, UInt32.max, 5]
        visited[64] = 7
        #expect(vk_gather(links, links.count, &visited, 7, &ids) == 2)
        #expect(ids[..<2] == [3, 70])
        #expect(visited.indices.filter { visited[$0] == 7 } == [3, 64, 70])
        #expect(vk_gather(links, 2, &visited, 7, &ids) == 0)
        #expect(vk_gather(links, 0, &visited, 7, &ids) == 0)
        #expect(vk_gather(links, 2, &visited, 8, &ids) == 2)
    }

    /// Against the obvious: every size of batch, ends within a word, rows without a node.
    @Test func nodesOfABitmapComeInOrder() {
        var rng = SeededRNG(seed: 33)
        for end in [0, 1, 63, 64, 65, 130, 1000] {
            for share in [0, 0.02, 0.1, 0.6, 1] {
                let rows = (0..<end).filter { _ in Double.random(in: 0..<1, using: &rng) < share }
                var bitmap = [UInt64](repeating: 0, count: (end + 63) / 64 + 1)
                for row in rows { bitmap[row / 64] |= 1 << UInt64(row % 64) }
                bitmap[end / 64] |= ~0 << UInt64(end % 64)  // beyond the end
                let nodeOf = (0..<end).map { $0 % 7 == 3 ? UInt32.max : UInt32($0 * 5 % 1009) }
                for limit in [1, 7, 64, 256] {
                    var ids = [UInt32](repeating: 0, count: limit + 64)
                    for mapped in [false, true] {
                        var next = 0
                        var found: [UInt32] = []
                        while next < end {
                            let count = vk_next_nodes(bitmap, mapped ? nodeOf : nil, &next, end, limit, &ids)
                            #expect(count <= limit + 63)
                            found += ids[..<count]
                        }
                        #expect(
                            found == (mapped ? rows.map { nodeOf[$0] }.filter { $0 != .max } : rows.map { UInt32($0) }))
                    }
                }
                var ids = [UInt32](repeating: 0, count: end + 128)
                var next = 0
                #expect(vk_next_nodes(nil, nil, &next, end, end + 1, &ids) == end)
                for variant in Variant.all {
                    for limit in [1, 7, 64, 256] {
                        var ids = [UInt32](repeating: 0, count: limit + 64)
                        for all in [false, true] {
                            var next = 0
                            var found: [UInt32] = []
                            while next < end {
                                let count = variant.kernels.next_rows(all ? nil : bitmap, &next, end, limit, &ids)
                                #expect(count <= limit + 63 && next % 64 == 0)
                                found += ids[..<count]
                            }
                            #expect(found == (all ? Array(0..<end) : rows).map { UInt32($0) }, "\(variant)")
                        }
                    }
                }
            }
        }
    }

    /// Against sets: direct neighbours that are eligible, then those behind the ones that are not; nothing twice.
    @Test func gatheringWithinStaysInside() {
        var rng = SeededRNG(seed: 34)
        let count = 300
        let width = 8
        for share in [0.05, 0.3, 0.9] {
            let links = (0..<count * width).map { i in
                i % width >= 6 && i % 5 == 0 ? VK_NO_ROW : UInt32.random(in: 0..<UInt32(count), using: &rng)
            }
            let rowOf = (0..<UInt32(count)).map { UInt32(count) - 1 - $0 }
            let isEligible = (0..<count).map { _ in Double.random(in: 0..<1, using: &rng) < share }
            var bitmap = [UInt64](repeating: 0, count: 5)
            for row in 0..<count where isEligible[row] { bitmap[row / 64] |= 1 << UInt64(row % 64) }
            func list(_ node: UInt32) -> ArraySlice<UInt32> {
                links[Int(node) * width..<(Int(node) + 1) * width].prefix { $0 != VK_NO_ROW }
            }
            for mapped in [false, true] {
                let fits = { (node: UInt32) in isEligible[Int(mapped ? rowOf[Int(node)] : node)] }
                var visited = [UInt8](repeating: 0, count: count)
                var known: Set<UInt32> = []
                for _ in 0..<40 {
                    let node = UInt32.random(in: 0..<UInt32(count), using: &rng)
                    var ids = [UInt32](repeating: 0, count: 1000)
                    var ways = [UInt32](repeating: 0, count: width)
                    var waysCount = 0
                    let near = vk_gather_eligible(
                        links.withUnsafeBufferPointer { $0.baseAddress! + Int(node) * width }, width, bitmap,
                        mapped ? rowOf : nil, &visited, 9, &ways, &waysCount, &ids)
                    let got = vk_gather_behind(
                        links, width, ways, waysCount, bitmap, mapped ? rowOf : nil, &visited, 9, 100, near, &ids)
                    let direct = list(node).reduce(into: [UInt32]()) {
                        if !$0.contains($1), !known.contains($1) { $0.append($1) }
                    }
                    let behind = direct.filter { !fits($0) }.flatMap { list($0) }.filter { fits($0) }
                    let expected = (direct.filter(fits) + behind)
                        .reduce(into: [UInt32]()) { if !$0.contains($1), !known.contains($1) { $0.append($1) } }
                    #expect(Array(ids[..<got]) == expected)
                    known.formUnion(direct)
                    known.formUnion(expected)
                }
            }
        }
    }

    @Test func locksLeaveOtherBitsAlone() {
        var byte: UInt8 = 0b110
        vk_lock(&byte)
        #expect(byte == 0b111)
        vk_or_byte(&byte, 0b1000)
        vk_unlock(&byte)
        #expect(byte == 0b1110)
    }

    @Test func memoryIsZeroedAlignedAndOfAnySize() throws {
        for bytes in [0, 1, 4096, 5 << 20, (4 << 20) + 1] {
            let address = try #require(vk_allocate(bytes))
            #expect(Int(bitPattern: address) % 64 == 0)
            if bytes > 0 {
                #expect(address.load(fromByteOffset: bytes - 1, as: UInt8.self) == 0)
                address.storeBytes(of: 1, toByteOffset: bytes - 1, as: UInt8.self)
            }
            vk_deallocate(address, bytes)
        }
        #expect(vk_allocate(Int.max) == nil)
    }
}
