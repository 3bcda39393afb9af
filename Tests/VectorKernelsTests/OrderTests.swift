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

    @Test func gatheringSkipsVisitedRowsAndStopsAtTheEnd() {
        var visited: [UInt64] = [0, 0]
        var ids = [UInt32](repeating: 0, count: 8)
        let links: [UInt32] = [3, 70, 3, 64, UInt32.max, 5]
        visited[1] |= 1  // row 64
        #expect(vk_gather(links, links.count, &visited, &ids) == 2)
        #expect(ids[..<2] == [3, 70])
        #expect(visited == [1 << 3, 1 | 1 << 6])
        #expect(vk_gather(links, 2, &visited, &ids) == 0)
        #expect(vk_gather(links, 0, &visited, &ids) == 0)
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
