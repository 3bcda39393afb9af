import FileStore
import HNSW
import Primitives
import Synchronization

/// Sealed graphs whose collection asks for other codes than when they were sealed.
extension ShardEngine {
    /// The first vector of a sealed segment whose graph shall be walked on other codes. Under the lock.
    func staleColumn(_ segment: Segment) -> Int? {
        guard segment.state == .sealed else { return nil }
        return segment.graphs.indices.first { column in
            segment.graphs[column].map { Self.isStale($0, self.quantisation(column)) } ?? false
        }
    }

    private static func isStale(_ graph: HNSWGraph, _ wanted: Quantisation) -> Bool {
        switch wanted {
        case .none: graph.kind != .none
        case .int8: graph.kind != .int8
        case .int4: graph.kind != .int4
        // What was chosen by measuring stays chosen. Graphs that do not say are of a time when all were asked once.
        case .auto: (graph.asked ?? .auto) != .auto
        }
    }

    /// Writes one such graph again and puts it in place; searches before that moment walk on the old one. In the hands of
    /// whoever entered the maintenance.
    ///
    /// The links are taken over, so it costs coding and writing, and with ``Quantisation/auto`` the trial of its recall.
    /// - Returns: False if there is none.
    func recodeNext() throws(VecraftError) -> Bool {
        let next: (segment: Segment, column: Int, graph: HNSWGraph)? = self.lock.reading {
            for segment in self.segments where !segment.isMerging {
                if let column = self.staleColumn(segment) { return (segment, column, segment.graphs[column]!) }
            }
            return nil
        }
        guard let (segment, column, graph) = next else { return false }
        let began = monotonicNanoseconds()
        let wanted = self.quantisation(column)
        do throws(FileFault) {
            let file = try self.segmentFiles.create(.graph, column: column, number: self.numbers.file()) {
                (sink) throws(FileFault) in
                try self.serialise(graph, wanted, segment, sink)
            }
            try self.exchange(file, segment, column)
        } catch {
            throw error.vecraftError
        }
        self.observer?.shard(
            self.id,
            .recoded(rows: segment.rowCount, to: wanted, took: .nanoseconds(monotonicNanoseconds() - began)))
        if !self.isStopping { try self.checkpointIfChanged() }
        return true
    }

    /// Removes the file if it cannot be mapped.
    private func exchange(_ file: ShardFile, _ segment: Segment, _ column: Int) throws(FileFault) {
        do throws(FileFault) {
            let mapping = try self.segmentFiles.map(file)
            let made: HNSWGraph
            do throws(DecodingFault) {
                made = try HNSWGraph(
                    mapped: mapping.content(file), rows: segment.rows(column), rowCount: segment.rowCount,
                    owner: mapping)
            } catch {
                preconditionFailure("\(file.name) was written a moment ago and cannot be read: \(error)")
            }
            self.structure.withLock { store in
                self.lock.writing {
                    segment.graphs[column] = made
                    self.layout &+= 1
                    self.counters.recodings.wrappingAdd(1, ordering: .relaxed)
                }
                if let old = segment.stored.file(.graph, column) { store.obsolete.append(old.name) }
                segment.stored.files.removeAll { $0.kind == .graph && Int($0.column) == column }
                segment.stored.files.append(file)
            }
            // They have the codes that were asked for then.
            self.filterGraphs.forget(segments: [segment.number])
        } catch {
            try? self.files.remove(self.segmentFiles.path(file.name))
            throw error
        }
    }
}
