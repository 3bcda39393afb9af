package import Primitives

/// What replay had reached at one moment, in all shards: entries through `offset`, and all whose HLC is below `milliseconds`.
package struct ReplayMark: Sendable, Equatable {
    package let offset: JournalOffset
    package let milliseconds: UInt64
}

/// How a replica stands to its journal partition at one moment.
package struct ReplicaState: Sendable, Equatable {
    package var applied: JournalOffset
    /// What ReadIndex answers: every write acknowledged so far is at or below.
    package var committed: JournalOffset
    /// Upper bound on the age of what the replica misses; 0 when it misses nothing.
    package var stalenessMilliseconds: UInt64
    /// Committed offset when this process started. Before it is applied the replica may lack writes that callers saw
    /// acknowledged in an earlier life, which the gateway no longer remembers.
    package var floor: JournalOffset

    package init(
        applied: JournalOffset, committed: JournalOffset, stalenessMilliseconds: UInt64, floor: JournalOffset
    ) {
        self.applied = applied
        self.committed = committed
        self.stalenessMilliseconds = stalenessMilliseconds
        self.floor = floor
    }
}
