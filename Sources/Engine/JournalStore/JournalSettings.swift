package import Primitives

/// Limits and sizes of one journal partition.
package struct JournalSettings: Sendable {
    /// A segment's file; an entry that is larger gets a file of its own.
    package var segmentBytes = 64 << 20
    /// One `fdatasync` makes at most this much durable; a larger entry goes alone.
    package var maxBatchBytes = 8 << 20
    package var maxBatchEntries = 4096
    /// What may wait for the disk. Beyond it appends are refused: `.resourceExhausted`, reason `JOURNAL_QUEUE_FULL`. Lower
    /// tiers are refused earlier (``QueueShare``), so that bulk cannot shut out what is urgent.
    package var queueBytes = 64 << 20
    /// How long an idempotency key is remembered.
    package var idempotencyWindow: Duration = .seconds(3600)
    /// The oldest keys are forgotten beyond this many, whatever their age.
    package var idempotencyEntries = 1_000_000
    /// Free disk kept back for compaction and metadata. Beyond it appends are refused: `.resourceExhausted`, reason `DISK_FULL`.
    package var reserveBytes = 64 << 20
    /// A lineage index is kept beside each sealed segment.
    package var indexesLineage = true

    package init() {}

    /// - Throws: `.invalidArgument`, naming the field.
    package func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ what: String) throws(VecraftError) {
            guard holds else { throw .invalid(field, what) }
        }
        // 32-bit positions in 8-byte units would allow 32 GiB; recovery scans one segment whole, so 1 GiB is the useful end.
        try check((64 << 10...1 << 30).contains(self.segmentBytes), "journal.segment_bytes", "64 KiB to 1 GiB")
        try check((4 << 10...256 << 20).contains(self.maxBatchBytes), "journal.max_batch_bytes", "4 KiB to 256 MiB")
        try check((1...65_536).contains(self.maxBatchEntries), "journal.max_batch_entries", "1 to 65,536")
        try check((64 << 10...16 << 30).contains(self.queueBytes), "journal.queue_bytes", "64 KiB to 16 GiB")
        try check(self.idempotencyWindow >= .zero, "journal.idempotency_window", "not negative")
        try check((0...100_000_000).contains(self.idempotencyEntries), "journal.idempotency_entries", "0 to 100,000,000")
        try check(self.reserveBytes >= 0, "journal.reserve_bytes", "not negative")
    }
}
