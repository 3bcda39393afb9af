package import Filter
import HNSW
import PayloadIndex
package import Primitives
import Synchronization

extension ShardEngine {
    /// Points by id (UTF-8), in the order asked for.
    /// - Throws: RESOURCE_EXHAUSTED when they take more than the room for the answer. An id that stands twice counts twice.
    package func get(
        ids: [UnsafeRawBufferPointer], withVectors: Bool, withPayload: Bool, room: AnswerRoom = AnswerRoom()
    ) throws(VecraftError) -> ShardGetResult {
        try self.checkOpen()
        let hashes = ids.map { StableHash.of($0) }
        return try self.lock.reading { () throws(VecraftError) in
            let views = self.table.views
            var places: [Location] = []
            places.reserveCapacity(ids.count)
            var missing: [Int] = []
            for (i, id) in ids.enumerated() {
                if let entry = self.ids.find(hashes[i], { views.matches($0, id) }) {
                    places.append(views.resolve(Location(rawValue: entry.pointee.location)))
                } else {
                    missing.append(i)
                }
            }
            return ShardGetResult(
                points: try self.batch(
                    places, withVectors ? self.shape.columns.indices : nil, withPayload: withPayload, room),
                missing: missing, applied: self.applied)
        }
    }

    package func get(ids: [String], withVectors: Bool, withPayload: Bool) throws(VecraftError) -> ShardGetResult {
        var bytes: [UInt8] = []
        var ends = [0]
        for id in ids {
            bytes += id.utf8
            ends.append(bytes.count)
        }
        return try bytes.withBytes { (raw) throws(VecraftError) in
            let slices = (0..<ids.count).map { UnsafeRawBufferPointer(rebasing: raw[ends[$0]..<ends[$0 + 1]]) }
            return try self.get(ids: slices, withVectors: withVectors, withPayload: withPayload)
        }
    }

    /// Exact number of points that match; nil: all.
    package func count(_ filter: Filter?, deadline: UInt64? = nil) throws(VecraftError) -> ShardCountResult {
        try self.checkOpen()
        let deadline = Deadline(deadline)
        guard let filter, !filter.isEmpty else {
            return self.lock.reading {
                ShardCountResult(count: UInt64(self.ids.count), applied: self.applied, unindexed: [])
            }
        }
        let compiled = CompiledFilter(filter, fields: self.shape.fields)
        let context = self.contexts.take()
        defer { self.contexts.give(context) }
        return try self.lock.reading { () throws(VecraftError) in
            var count = 0
            for segment in self.segments where segment.liveCount > 0 {
                try deadline.check()
                try self.evaluate(compiled, segment, context, deadline)
                context.matching.withUnsafeWords { words in
                    for w in words.indices { count &+= (words[w] & ~segment.deleted.words[w]).nonzeroBitCount }
                }
            }
            return ShardCountResult(count: UInt64(count), applied: self.applied, unindexed: compiled.unindexed)
        }
    }

    package var statistics: ShardStatistics {
        let durable = self.durable.withLock { $0 }
        return self.lock.reading {
            var statistics = ShardStatistics()
            statistics.applied = self.applied
            statistics.appliedHLC = self.appliedHLC
            statistics.checkpointed = durable.applied
            statistics.points = self.ids.count
            statistics.diskBytes = durable.bytes
            statistics.memoryBytes = UInt64(self.ids.memoryBytes)
            for segment in self.segments { self.add(segment, to: &statistics) }
            let (graphs, bytes) = self.filterGraphs.held
            statistics.filterGraphs = graphs
            statistics.filterGraphBytes = UInt64(bytes)
            statistics.memoryBytes += UInt64(bytes)
            statistics.filterGraphsBuilt = self.filterGraphs.built.load(ordering: .relaxed)
            statistics.filterGraphsEvicted = self.filterGraphs.evicted.load(ordering: .relaxed)
            statistics.checkpoints = self.counters.checkpoints.load(ordering: .relaxed)
            statistics.checkpointFailures = self.counters.checkpointFailures.load(ordering: .relaxed)
            statistics.seals = self.counters.seals.load(ordering: .relaxed)
            statistics.recodings = self.counters.recodings.load(ordering: .relaxed)
            statistics.adoptedVectors = self.counters.adopted.load(ordering: .relaxed)
            statistics.merges = self.counters.merges.load(ordering: .relaxed)
            statistics.backgroundFailures = self.counters.backgroundFailures.load(ordering: .relaxed)
            statistics.quarantinedFiles = self.counters.quarantined.load(ordering: .relaxed)
            statistics.rebuiltFiles = self.counters.rebuilt.load(ordering: .relaxed)
            return statistics
        }
    }

    private func add(_ segment: Segment, to statistics: inout ShardStatistics) {
        statistics.segments += 1
        if segment.state == .sealed { statistics.sealedSegments += 1 }
        if self.staleColumn(segment) != nil { statistics.recodingSegments += 1 }
        statistics.deletedRows += segment.deletedCount
        let derived = SegmentDerived(segment, graphFrom: self.settings.graphFrom)
        for column in segment.shape.columns.indices {
            let vectors = segment.presentCount[column]
            statistics.totalVectors += vectors
            // Rows without the vector count as linked when their turn comes; with none lacking it this is exact.
            statistics.indexedVectors += derived.wantsGraph(column) ? min(segment.linkedRows(column), vectors) : vectors
        }
        let data = UInt64(segment.dataBytes)
        if segment.storage.memory == nil { statistics.mappedBytes += data } else { statistics.memoryBytes += data }
        statistics.memoryBytes += UInt64(
            segment.payloads.memoryBytes + segment.storage.capacity / 8 * (1 + segment.present.count))
        for graph in segment.graphs { statistics.memoryBytes += UInt64(graph?.memoryBytes ?? 0) }
    }
}
