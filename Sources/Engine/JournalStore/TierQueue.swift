package import Primitives

/// How much of the queue's bytes a tier may fill, so that bulk that waits cannot shut out what is urgent.
package enum QueueShare {
    /// Sixteenths.
    package static func of(_ tier: Tier) -> Int {
        switch tier {
        case .critical: 16
        case .interactive: 14
        case .batch: 12
        case .background: 8
        }
    }
}

/// What waits to be written, by tier; a batch takes the most urgent first and starves none.
///
/// In each batch every lower tier that waits earns a sixteenth of it; when that pays for its oldest element, the element goes
/// along whatever is waiting above (deficit round robin: Shreedhar and Varghese, 1995). The rest of the batch is strictly by tier.
/// Invariant: within a tier the order of arrival is kept.
struct TierQueue<Element> {
    private struct Waiting {
        var elements: [(element: Element, bytes: Int)?] = []
        var head = 0
        var credit = 0

        var count: Int { self.elements.count - self.head }
        func bytes(at index: Int) -> Int { self.elements[self.head + index]!.bytes }

        mutating func pop() -> (element: Element, bytes: Int) {
            let first = self.elements[self.head]!
            self.elements[self.head] = nil
            self.head += 1
            if self.head == self.elements.count {
                self.elements.removeAll(keepingCapacity: self.elements.capacity <= 65_536)
                self.head = 0
            } else if self.head > 4096, self.head > self.elements.count / 2 {
                self.elements.removeFirst(self.head)
                self.head = 0
            }
            return first
        }
    }

    private var tiers: [Waiting] = Array(repeating: Waiting(), count: Tier.allCases.count)
    private let limitBytes: Int
    private(set) var bytes = 0
    private(set) var count = 0

    init(limitBytes: Int) { self.limitBytes = limitBytes }

    /// - Returns: False if the tier's share is full. An empty queue takes any element.
    mutating func push(_ element: Element, bytes: Int, tier: Tier) -> Bool {
        guard self.count == 0 || self.bytes + bytes <= self.limitBytes / 16 * QueueShare.of(tier) else { return false }
        self.tiers[Int(tier.rawValue)].elements.append((element, bytes))
        self.bytes += bytes
        self.count += 1
        return true
    }

    /// Moves the next batch to the end of `batch`, most urgent first: at most `maxBytes`, or one larger element alone.
    mutating func take(maxBytes: Int, maxCount: Int, into batch: inout [Element]) {
        var plan = Plan(maxBytes: maxBytes, maxCount: maxCount)
        let urgent = self.tiers.firstIndex { $0.count > 0 } ?? self.tiers.count
        for tier in self.tiers.indices where tier > urgent && self.tiers[tier].count > 0 {
            self.tiers[tier].credit += max(maxBytes / 16, 1)
            plan.addEarned(from: &self.tiers[tier], tier: tier, atMost: max(maxCount / 16, 1))
        }
        for tier in self.tiers.indices { plan.addAll(from: self.tiers[tier], tier: tier) }
        for tier in self.tiers.indices {
            for _ in 0..<plan.counts[tier] {
                let (element, bytes) = self.tiers[tier].pop()
                batch.append(element)
                self.bytes -= bytes
                self.count -= 1
            }
            if self.tiers[tier].count == 0 { self.tiers[tier].credit = 0 }
        }
    }

    /// All that waits, most urgent first.
    mutating func drain() -> [Element] {
        var all: [Element] = []
        while self.count > 0 { self.take(maxBytes: .max, maxCount: .max, into: &all) }
        return all
    }

    private struct Plan {
        let maxBytes: Int
        let maxCount: Int
        var counts = Array(repeating: 0, count: Tier.allCases.count)
        var bytes = 0
        var count = 0

        func hasRoom(for element: Int) -> Bool {
            self.count == 0 || (self.count < self.maxCount && self.bytes + element <= self.maxBytes)
        }

        mutating func add(_ element: Int, tier: Int) {
            self.counts[tier] += 1
            self.count += 1
            self.bytes += element
        }

        mutating func addEarned(from waiting: inout Waiting, tier: Int, atMost: Int) {
            while self.counts[tier] < min(waiting.count, atMost) {
                let element = waiting.bytes(at: self.counts[tier])
                // What is larger than a batch has earned its turn with a whole one.
                guard waiting.credit >= min(element, self.maxBytes), self.hasRoom(for: element) else { break }
                waiting.credit = max(0, waiting.credit - element)
                self.add(element, tier: tier)
            }
        }

        mutating func addAll(from waiting: Waiting, tier: Int) {
            while self.counts[tier] < waiting.count {
                let element = waiting.bytes(at: self.counts[tier])
                guard self.hasRoom(for: element) else { break }
                self.add(element, tier: tier)
            }
        }
    }
}
