import Primitives
import Testing

@testable import JournalStore

private func push<T>(_ element: T, bytes: Int, tier: Tier, on queue: inout TierQueue<T>) {
    let isTaken = queue.push(element, bytes: bytes, tier: tier)
    #expect(isTaken)
}

@Suite struct TierQueueTests {
    private func take(_ queue: inout TierQueue<String>, maxBytes: Int = 100, maxCount: Int = 100) -> [String] {
        var batch: [String] = []
        queue.take(maxBytes: maxBytes, maxCount: maxCount, into: &batch)
        return batch
    }

    @Test func theMostUrgentGoesFirst() {
        var queue = TierQueue<String>(limitBytes: 1000)
        for (name, tier) in [("d1", Tier.background), ("c1", .batch), ("a1", .critical), ("b1", .interactive), ("a2", .critical)] {
            push(name, bytes: 10, tier: tier, on: &queue)
        }
        #expect(self.take(&queue) == ["a1", "a2", "b1", "c1", "d1"])
        #expect(queue.count == 0 && queue.bytes == 0)
    }

    @Test func batchesAreBoundedInBytesAndCount() {
        var queue = TierQueue<String>(limitBytes: 10_000)
        for i in 0..<10 { push("\(i)", bytes: 30, tier: .batch, on: &queue) }
        #expect(self.take(&queue) == ["0", "1", "2"])
        #expect(self.take(&queue, maxCount: 2) == ["3", "4"])
        #expect(queue.bytes == 150)
        push("large", bytes: 500, tier: .batch, on: &queue)
        #expect(self.take(&queue, maxBytes: 1000, maxCount: 5) == ["5", "6", "7", "8", "9"])
        #expect(self.take(&queue) == ["large"], "what is larger than a batch goes alone")
    }

    /// However much urgent work there is, what waits below goes on, in proportion.
    @Test func noTierStarves() {
        var queue = TierQueue<String>(limitBytes: 1 << 40)
        for i in 0..<50 { push("d\(i)", bytes: 10, tier: .background, on: &queue) }
        push("huge", bytes: 400, tier: .batch, on: &queue)
        var background = 0
        var batchesUntilHuge: Int?
        for round in 0..<160 {
            for _ in 0..<20 { push("a", bytes: 10, tier: .critical, on: &queue) }
            let batch = self.take(&queue)
            background += batch.count { $0.hasPrefix("d") }
            if batch.contains("huge") {
                batchesUntilHuge = round + 1
                #expect(batch.count == 1)
            }
            // Urgent work keeps the larger share.
            if !batch.contains("huge") { #expect(batch.count { $0 == "a" } >= 8) }
            #expect(batch == batch.sorted { ($0.first! == "a" ? 0 : 1) < ($1.first! == "a" ? 0 : 1) }, "urgent first within a batch")
        }
        #expect(background == 50)
        #expect(batchesUntilHuge.map { $0 <= 17 } == true, "a whole batch is earned in sixteen")
    }

    @Test func lowerTiersLeaveRoomForUrgentOnes() {
        var queue = TierQueue<String>(limitBytes: 1600)
        var pushed = 0
        while queue.push("d", bytes: 100, tier: .background) { pushed += 1 }
        #expect(pushed == 8)
        while queue.push("c", bytes: 100, tier: .batch) { pushed += 1 }
        #expect(pushed == 12)
        while queue.push("b", bytes: 100, tier: .interactive) { pushed += 1 }
        #expect(pushed == 14)
        while queue.push("a", bytes: 100, tier: .critical) { pushed += 1 }
        #expect(pushed == 16)
    }

    @Test func anEmptyQueueTakesAnything() {
        var queue = TierQueue<String>(limitBytes: 100)
        push("large", bytes: 5000, tier: .background, on: &queue)
        let refused = !queue.push("next", bytes: 1, tier: .critical)
        #expect(refused)
        #expect(self.take(&queue) == ["large"])
    }

    @Test(arguments: 0..<20) func keepsOrderWithinATierAndLosesNothing(seed: Int) {
        var rng = SeededRNG(seed: UInt64(seed))
        var queue = TierQueue<(Tier, Int)>(limitBytes: 1 << 30)
        var pushed: [Tier: Int] = [:]
        var taken: [Tier: Int] = [:]
        var batch: [(Tier, Int)] = []
        for _ in 0..<3_000 {
            if Int.random(in: 0..<5, using: &rng) > 0 {
                let tier = Tier.allCases.randomElement(using: &rng)!
                push((tier, pushed[tier, default: 0]), bytes: Int.random(in: 1..<300, using: &rng), tier: tier, on: &queue)
                pushed[tier, default: 0] += 1
            } else {
                batch.removeAll()
                queue.take(maxBytes: 1000, maxCount: 7, into: &batch)
                for (tier, number) in batch {
                    #expect(number == taken[tier, default: 0], "seed \(seed)")
                    taken[tier, default: 0] += 1
                }
            }
        }
        for (tier, number) in queue.drain() {
            #expect(number == taken[tier, default: 0], "seed \(seed)")
            taken[tier, default: 0] += 1
        }
        #expect(taken == pushed, "seed \(seed)")
    }
}
