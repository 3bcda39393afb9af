internal import Raft

/// One attempt of a client at what it wants.
struct ClientRequest {
    enum Wish {
        case append([UInt64])
        case read
    }
    let client: Int
    let attempt: Int
    let wish: Wish
}

struct ClientAnswer {
    enum Outcome {
        /// Committed, or seen, through here.
        case done(LogIndex)
        case refused(hint: ReplicaID?)
    }
    let client: Int
    let attempt: Int
    let outcome: Outcome
}

/// A client with one wish at a time, which it repeats, with the same keys, until it is told that it is done.
struct SimulatedClient {
    let number: Int
    var wish: ClientRequest.Wish?
    /// What had been seen by anyone when the wish began.
    var floor: LogIndex = 0
    /// Counts all attempts; a refusal of an earlier one is ignored, its success is not.
    var attempt = 0
    /// The first for this wish.
    var firstAttempt = 0
    var made: UInt64 = 0
    var target: Int?

    mutating func keys(_ count: Int) -> [UInt64] {
        defer { self.made += UInt64(count) }
        return (0..<count).map { UInt64(self.number) << 32 | (self.made + UInt64($0)) }
    }
}
