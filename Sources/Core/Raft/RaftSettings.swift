package import Primitives

/// Times and limits of one group. Alike on all its replicas where the comment says so.
package struct RaftSettings: Sendable {
    /// How often a leader makes itself heard. A fifth of the shortest election timeout: four may be lost in a row.
    package var heartbeat: Duration = .milliseconds(30)
    /// Shortest election timeout, and for how long whoever heard a leader votes for no other: alike on all replicas, the lease
    /// rests on it. 100 times a round trip within a data centre (Raft paper, 5.6), and detection well below design 12's 600 ms.
    package var electionTimeoutMin: Duration = .milliseconds(150)
    /// Longest. As wide a range as the shortest is long: five replicas rarely split a vote twice (Raft paper, 9.3).
    package var electionTimeoutMax: Duration = .milliseconds(300)
    /// How far any clock's rate may be off, as a part of one. A hundred times what NTP corrects (500 ppm). The lease is shorter by it.
    package var clockRateError = 0.05
    /// Reads without a round of messages while the lease lasts. Off: each strong read waits for a round (ReadIndex).
    package var readsUnderLease = true
    /// The replica's own timers take at most this from one event to the next, so a process that stood still first reads its mail.
    package var maxTimerStep: Duration = .milliseconds(50)

    /// One append message. Large enough that a disk's sync is paid for, small enough that a heartbeat behind it is not late.
    package var maxBatchBytes = 1 << 20
    /// A probe's entries: lost, or refused, it is sent again soon.
    package var maxProbeBytes = 64 << 10
    /// Sent to one peer and not durable there. 8 MiB: 100 MB/s at 80 ms of round trip and sync; what a slow peer holds of memory.
    package var maxInFlightBytes = 8 << 20
    package var maxInFlightMessages = 256
    /// Proposed and not committed. Beyond it proposals are refused: a minority must not fill its memory.
    package var maxUncommittedBytes = 64 << 20
    /// Batches proposed and not committed, and writes that the disk has not answered.
    package var maxUncommittedBatches = 4096
    /// Strong reads that wait for a round.
    package var maxPendingReads = 65_536
    /// A peer that got nothing new for so long, though sent, is asked where it stands. Longer than a usual sync and round trip.
    package var retransmit: Duration = .milliseconds(150)
    /// A learner within so many entries of the end may be made a voter: it then commits what is in flight within a sync or two.
    package var maxPromotionLag: UInt64 = 4096
    /// A leader whose disk has not answered for so long hands over to a voter whose disk does.
    package var diskStall: Duration = .milliseconds(500)
    /// A log transfer without progress for so long is given up.
    package var logTransferStall: Duration = .seconds(10)
    /// Log transfers that a leader feeds at once: each reads whole segments.
    package var maxLogTransfers = 1

    package init() {}

    package static let maxVoters = 9
    package static let maxMembers = 32

    /// - Throws: `.invalidArgument`, naming the field.
    package func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ what: String) throws(VecraftError) {
            guard holds else { throw .invalid(field, what) }
        }
        try check(self.heartbeat >= .milliseconds(1), "raft.heartbeat", "1 ms or more")
        try check(
            self.electionTimeoutMin >= self.heartbeat * 3, "raft.election_timeout_min", "at least three heartbeats")
        try check(
            self.electionTimeoutMax >= self.electionTimeoutMin * 1.2, "raft.election_timeout_max",
            "at least 1.2 times raft.election_timeout_min, so that timeouts differ")
        try check((0...0.2).contains(self.clockRateError), "raft.clock_rate_error", "0 to 0.2")
        try check(
            self.maxTimerStep >= .milliseconds(1) && self.maxTimerStep <= self.electionTimeoutMin,
            "raft.max_timer_step",
            "1 ms to raft.election_timeout_min")
        try check((4 << 10...64 << 20).contains(self.maxBatchBytes), "raft.max_batch_bytes", "4 KiB to 64 MiB")
        try check(
            (0...self.maxBatchBytes).contains(self.maxProbeBytes), "raft.max_probe_bytes", "0 to raft.max_batch_bytes")
        try check(
            (self.maxBatchBytes...1 << 30).contains(self.maxInFlightBytes), "raft.max_in_flight_bytes",
            "raft.max_batch_bytes to 1 GiB")
        try check((1...65_536).contains(self.maxInFlightMessages), "raft.max_in_flight_messages", "1 to 65,536")
        try check(
            self.maxUncommittedBytes >= self.maxBatchBytes, "raft.max_uncommitted_bytes",
            "at least raft.max_batch_bytes")
        try check((1...1 << 20).contains(self.maxUncommittedBatches), "raft.max_uncommitted_batches", "1 to 1,048,576")
        try check((1...1 << 24).contains(self.maxPendingReads), "raft.max_pending_reads", "1 to 16,777,216")
        try check(self.retransmit >= self.heartbeat, "raft.retransmit", "at least raft.heartbeat")
        try check(self.maxLogTransfers >= 1, "raft.max_log_transfers", "1 or more")
    }
}

/// The settings' times in nanoseconds.
struct Timing: Sendable {
    let heartbeat: Nanoseconds
    let electionMin: Nanoseconds
    let electionMax: Nanoseconds
    let maxStep: Nanoseconds
    let retransmit: Nanoseconds
    let diskStall: Nanoseconds
    let logTransferStall: Nanoseconds
    /// What a leader may count on after it sent what a majority answered: a follower's clock may run fast, its own slow.
    let lease: Nanoseconds

    init(_ settings: RaftSettings) {
        self.heartbeat = settings.heartbeat.nanoseconds
        self.electionMin = settings.electionTimeoutMin.nanoseconds
        self.electionMax = settings.electionTimeoutMax.nanoseconds
        self.maxStep = settings.maxTimerStep.nanoseconds
        self.retransmit = settings.retransmit.nanoseconds
        self.diskStall = settings.diskStall.nanoseconds
        self.logTransferStall = settings.logTransferStall.nanoseconds
        let error = settings.clockRateError
        self.lease = Nanoseconds(Double(self.electionMin) * (1 - error) / (1 + error))
    }
}
