package import Primitives

/// What a shard replica holds, at one moment.
package struct ShardStatistics: Sendable, Equatable {
    package var applied: JournalOffset = 0
    /// HLC of the last entry applied to this shard.
    package var appliedHLC: HLCTimestamp = .zero
    /// Applied offset of the last durable checkpoint: the journal is needed after it only.
    package var checkpointed: JournalOffset = 0
    /// Live points.
    package var points = 0
    package var segments = 0
    package var sealedSegments = 0
    /// Rows of points deleted or replaced, not yet merged away.
    package var deletedRows = 0
    /// Vectors of live and deleted rows.
    package var totalVectors = 0
    /// Of those, reachable by a graph, or in a segment too small for one; the others are compared with every query.
    package var indexedVectors = 0
    /// Sealed segments whose graphs are not walked on the codes asked for yet.
    package var recodingSegments = 0
    package var diskBytes: UInt64 = 0
    /// Memory the engine holds itself; mapped files are not counted.
    package var memoryBytes: UInt64 = 0
    /// Mapped files: the kernel may drop and read them again.
    package var mappedBytes: UInt64 = 0
    package var checkpoints: UInt64 = 0
    package var checkpointFailures: UInt64 = 0
    package var seals: UInt64 = 0
    package var merges: UInt64 = 0
    /// Vectors whose links a merge took over instead of finding them anew.
    package var adoptedVectors: UInt64 = 0
    /// Graphs written again because other codes were asked for.
    package var recodings: UInt64 = 0
    /// Graphs of filters that are asked again and again, and their bytes, which ``memoryBytes`` has among others.
    package var filterGraphs = 0
    package var filterGraphBytes: UInt64 = 0
    /// Such graphs made, and those that went for lack of room.
    package var filterGraphsBuilt: UInt64 = 0
    package var filterGraphsEvicted: UInt64 = 0
    /// Background work that failed and will be tried again.
    package var backgroundFailures: UInt64 = 0
    /// Files put aside because they were damaged, since this engine was opened.
    package var quarantinedFiles: UInt64 = 0
    /// Graphs and payload indexes rebuilt because their file was damaged or missing.
    package var rebuiltFiles: UInt64 = 0

    package init() {}
}

/// What ``ShardEngine/init(directory:schema:shard:settings:files:observer:workers:)`` found.
package struct ShardOpening: Sendable, Equatable {
    /// Replay from the entry after this one.
    package var applied: JournalOffset = 0
    /// Set when a primary file was damaged: the shard is empty again and must be replayed from the journal's first
    /// entry. Says what was damaged. If the journal no longer reaches back to entry 1, this is data loss.
    package var restarted: String?
    /// Files put aside, as "name: why".
    package var quarantined: [String] = []
    /// Derived files that are being rebuilt, by name.
    package var rebuilding: [String] = []
    /// Files of an unfinished checkpoint or merge that were removed.
    package var orphansRemoved = 0
    /// Bytes whose checksums were compared.
    package var verifiedBytes: UInt64 = 0

    package init() {}
}

/// Told of what happens in the background, from the thread that did it. Must be quick, must not call the engine back.
package protocol ShardObserver: Sendable {
    func shard(_ id: ShardID, _ event: ShardEvent)
}

package enum ShardEvent: Sendable {
    case checkpointed(through: JournalOffset, bytes: UInt64, took: Duration)
    case checkpointFailed(VecraftError)
    case sealed(rows: Int, took: Duration)
    case recoded(rows: Int, to: Quantisation, took: Duration)
    case merged(segments: Int, rows: Int, took: Duration)
    case backgroundFailed(VecraftError)
    case quarantined(file: String, reason: String)
    case rebuilt(file: String)
    case restarted(reason: String)
}
