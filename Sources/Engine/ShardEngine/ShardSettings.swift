package import Primitives

/// How one shard replica uses memory, disk and threads. Checked by ``validate()`` before anything starts.
package struct ShardSettings: Sendable, Equatable {
    /// `segment_points`: rows after which the growing segment is closed and another begun.
    package var segmentPoints = 100_000
    /// `segment_bytes`: most bytes of one segment's vectors, and, apart from those, of its ids and payloads. A segment
    /// closes at whichever of the two limits comes first.
    package var segmentBytes = 1 << 30
    /// `graph_from`: a segment with fewer rows is searched exactly and gets no graph.
    package var graphFrom = 2_000
    /// `checkpoint_journal_bytes`: applied entry bytes after which a checkpoint is taken in the background; what a
    /// restart may have to replay.
    package var checkpointJournalBytes = 256 << 20
    /// `merge_fan_in`: sealed segments of about one size that are merged into one.
    package var mergeFanIn = 4
    /// `deleted_ratio`: share of deleted rows from which a sealed segment is rewritten.
    package var deletedRatio = 0.2
    /// `index_threads`: background threads that link, seal and merge, when the engine makes its own ``ShardWorkers``.
    package var indexThreads = 2
    /// `unlinked_points`: applied rows that may wait for their links, which every search scans; beyond, whoever applies
    /// links as well, and so goes no faster than the graph grows.
    package var unlinkedPoints = 1_024
    /// `filter_graph_share`: memory that graphs of filters may take, as a share of that of the sealed segments' graphs.
    /// 0: no filter gets a graph of its own.
    package var filterGraphShare = 0.5
    /// A filter gets one when searches with it lost so many times the time that making it takes. 0: at once, for tests.
    package var filterGraphAfter = 1.0
    /// Rows published under one write lock, so that a search never waits for a long batch. One entry is never split.
    package var publishRows = 1_024
    /// Searches that may keep scratch memory at hand; more work all the same, with memory of their own.
    package var pooledSearches = 64
    /// Snapshots open at a time; each holds a descriptor a file.
    package var snapshots = 2
    /// A snapshot that nobody reads for this long is released.
    package var snapshotPatience: Duration = .seconds(120)

    package init() {}

    /// - Throws: INVALID_ARGUMENT naming the setting.
    package func validate() throws(VecraftError) {
        guard (1...16_000_000).contains(self.segmentPoints) else {
            throw .invalid("segment_points", "\(self.segmentPoints) is not in 1...16000000")
        }
        guard (1 << 20...64 << 30).contains(self.segmentBytes) else {
            throw .invalid("segment_bytes", "\(self.segmentBytes) is not in 1 MiB...64 GiB")
        }
        guard self.graphFrom >= 1 else { throw .invalid("graph_from", "\(self.graphFrom) is below 1") }
        guard self.checkpointJournalBytes >= 1 else {
            throw .invalid("checkpoint_journal_bytes", "\(self.checkpointJournalBytes) is below 1")
        }
        guard (2...64).contains(self.mergeFanIn) else {
            throw .invalid("merge_fan_in", "\(self.mergeFanIn) is not in 2...64")
        }
        guard self.deletedRatio > 0, self.deletedRatio <= 1 else {
            throw .invalid("deleted_ratio", "\(self.deletedRatio) is not above 0 and at most 1")
        }
        guard (1...256).contains(self.indexThreads) else {
            throw .invalid("index_threads", "\(self.indexThreads) is not in 1...256")
        }
        guard self.unlinkedPoints >= 0 else { throw .invalid("unlinked_points", "\(self.unlinkedPoints) is negative") }
        guard (0...64).contains(self.filterGraphShare) else {
            throw .invalid("filter_graph_share", "\(self.filterGraphShare) is not in 0...64")
        }
        guard self.filterGraphAfter >= 0 else {
            throw .invalid("filter_graph_after", "\(self.filterGraphAfter) is not 0 or more")
        }
        guard self.publishRows >= 1 else { throw .invalid("publish_rows", "\(self.publishRows) is below 1") }
        guard (1...64).contains(self.snapshots) else {
            throw .invalid("snapshots", "\(self.snapshots) is not in 1...64")
        }
        guard self.snapshotPatience > .zero else { throw .invalid("snapshot_patience", "is not above 0") }
        guard self.pooledSearches >= 0 else { throw .invalid("pooled_searches", "\(self.pooledSearches) is negative") }
    }
}
