internal import Raft

/// What happens at a moment of simulated time.
enum SimulatedEvent {
    case deliver(RaftMessage, [SimulatedEntry])
    case tick(Int, life: Int)
    case synced(Int, life: Int)
    case start(Int)
    case resume(Int)
    case transferAdvanced(LogTransfer, from: Int, life: Int)
    case transferEnded(LogTransfer, LogImage, from: Int, life: Int, isDelivered: Bool)
    case request(ClientRequest, to: Int)
    case answer(ClientAnswer)
    case clientTimeout(Int, attempt: Int)
    case clientNext(Int)
    case chaos
    case administration
}

/// Events in order of time, and of their making when times are equal.
struct EventQueue {
    private struct Item {
        let at: UInt64
        let number: UInt64
        let event: SimulatedEvent
        func isBefore(_ other: Item) -> Bool { (self.at, self.number) < (other.at, other.number) }
    }
    private var heap: [Item] = []
    private var number: UInt64 = 0

    mutating func add(_ event: SimulatedEvent, at time: UInt64) {
        self.number += 1
        self.heap.append(Item(at: time, number: self.number, event: event))
        var child = self.heap.count - 1
        while child > 0, self.heap[child].isBefore(self.heap[(child - 1) / 2]) {
            self.heap.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    mutating func next() -> (at: UInt64, event: SimulatedEvent)? {
        guard let first = self.heap.first else { return nil }
        let last = self.heap.removeLast()
        if !self.heap.isEmpty {
            self.heap[0] = last
            self.sink()
        }
        return (first.at, first.event)
    }

    private mutating func sink() {
        var parent = 0
        while true {
            var least = parent
            for child in [2 * parent + 1, 2 * parent + 2] where child < self.heap.count {
                if self.heap[child].isBefore(self.heap[least]) { least = child }
            }
            if least == parent { return }
            self.heap.swapAt(parent, least)
            parent = least
        }
    }
}
