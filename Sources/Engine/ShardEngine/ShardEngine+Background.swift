import CPlatform
import HNSW
import Primitives
import Synchronization

/// Who does the maintenance of a shard, and where its merge stands.
///
/// `@unchecked Sendable`: `merge` changes only in the hands of whoever has entered; `output` is under its own mutex.
final class Maintenance: @unchecked Sendable {
    private enum Door {
        static let free: UInt8 = 0
        static let taken: UInt8 = 1
        /// Somebody found it taken: what they knew of, whoever is in may have looked at before.
        static let knocked: UInt8 = 2
    }
    private let door = Atomic<UInt8>(Door.free)
    /// Monotonic nanoseconds before which nothing that failed is tried again.
    let retryAt = Atomic<UInt64>(0)
    var merge: MergeBuild?
    /// The merge's segment, for the threads that link its rows.
    private let output = Mutex<Segment?>(nil)

    /// One thread at a time; false if another is in, who then hears of it in ``leave()``.
    func enter() -> Bool {
        while true {
            let found = self.door.compareExchange(
                expected: Door.free, desired: Door.taken, ordering: .acquiringAndReleasing)
            if found.exchanged { return true }
            if found.original == Door.knocked { return false }
            if self.door.compareExchange(
                expected: Door.taken, desired: Door.knocked, ordering: .acquiringAndReleasing
            ).exchanged {
                return false
            }
        }
    }

    /// - Returns: True if somebody wanted to enter meanwhile: look again.
    func leave() -> Bool { self.door.exchange(Door.free, ordering: .acquiringAndReleasing) == Door.knocked }

    var linking: Segment? {
        get { self.output.withLock { $0 } }
        set { self.output.withLock { $0 = newValue } }
    }
}

extension ShardEngine: BackgroundWork {
    /// A failed piece of background work is tried again after this.
    private static let retryNanoseconds: UInt64 = 1_000_000_000
    /// Rows one thread links before it looks around; fewer of long vectors.
    private static let linkRows = 32

    func step(_ scratch: SearchScratch) -> StepOutcome {
        guard !self.isStopping else { return .idle }
        var rest = StepOutcome.idle
        if self.maintenance.enter() {
            rest = self.maintain()
            let isWanted = self.maintenance.leave()
            if case .worked = rest { return .worked }
            if isWanted { return .again }
        }
        return self.link(scratch) || self.linkMerge(scratch) || self.buildFilterGraph(scratch) ? .worked : rest
    }

    private func maintain() -> StepOutcome {
        let now = monotonicNanoseconds()
        // Before what may fail: on a full disk above all, what a snapshot holds is wanted back.
        let expiry = self.snapshots.expire(at: now) ?? .max
        let retryAt = self.maintenance.retryAt.load(ordering: .relaxed)
        if retryAt > now { return .later(min(retryAt, expiry)) }
        do throws(VecraftError) {
            if self.isCheckpointDue {
                try self.checkpointIfChanged()
                return .worked
            }
            if try self.sealNext() { return .worked }
            if try self.advanceMerge() { return .worked }
            if try self.recodeNext() { return .worked }
            if self.beginLinking() { return .worked }
            return expiry == .max ? .idle : .later(expiry)
        } catch {
            // What was begun is given up: no failure.
            if self.isAbandoned.load(ordering: .relaxed) { return .idle }
            self.counters.backgroundFailures.wrappingAdd(1, ordering: .relaxed)
            self.observer?.shard(self.id, .backgroundFailed(error))
            let later = monotonicNanoseconds() + Self.retryNanoseconds
            self.maintenance.retryAt.store(later, ordering: .relaxed)
            return .later(min(later, expiry))
        }
    }

    // MARK: Linking

    private struct LinkJob {
        var segment: Segment
        var linker: Linker
        var rows: Range<Int>
        /// Bit by position in `rows`: deleted, or without the vector.
        var skipped: UInt64
    }

    /// Links some rows of a segment that is searched already; of one that is being merged too, for until that is done every
    /// search would scan them. False if there are none.
    private func link(_ scratch: SearchScratch) -> Bool { self.linkSome(scratch) > 0 }

    /// - Returns: How many rows.
    private func linkSome(_ scratch: SearchScratch) -> Int {
        let job: LinkJob? = self.lock.reading {
            for segment in self.segments where segment.state != .sealed {
                if let job = self.job(segment, ignoringDeleted: false) { return job }
            }
            return nil
        }
        guard let job else { return 0 }
        job.linker.graph.encode(below: job.segment.visibleRows.load(ordering: .acquiring))
        self.carryOut(job, scratch)
        return job.rows.count
    }

    /// After `rows` more were published: gives them codes, and links while more wait than may. On the applying thread, which
    /// so goes as fast as the graph grows, with the background's help; never more than twice what it published at a time, so
    /// that what a restart left to do does not stop it.
    /// - Returns: True if it began a graph or linked any.
    func linkBehind(published rows: Int) -> Bool {
        var hasBegun = false
        while self.beginLinking() { hasBegun = true }
        let graphs = self.lock.reading {
            self.segments.filter { $0.state != .sealed }.flatMap { segment in
                segment.linkers.compactMap { linker in linker.map { ($0.graph, segment.rowCount) } }
            }
        }
        for (graph, count) in graphs { graph.encode(below: count) }
        var left = 2 * rows
        while left > 0, self.waitingRows > self.settings.unlinkedPoints {
            let linked = self.linkSome(self.linkScratch)
            // All that wait are in other threads' hands.
            if linked == 0 { break }
            left -= linked
        }
        return hasBegun || left < 2 * rows
    }

    /// Rows that every search scans because they are not linked yet.
    private var waitingRows: Int { self.lock.reading { self.segments.reduce(0) { $0 + $1.waitingRows } } }

    private func linkMerge(_ scratch: SearchScratch) -> Bool {
        guard let segment = self.maintenance.linking, let job = self.job(segment, ignoringDeleted: true) else {
            return false
        }
        self.carryOut(job, scratch)
        return true
    }

    private func job(_ segment: Segment, ignoringDeleted: Bool) -> LinkJob? {
        for case let linker? in segment.linkers {
            let dimension = segment.shape.columns[linker.column].dimension
            let most = max(1, min(Self.linkRows, 16_384 / dimension))
            guard let rows = linker.take(below: segment.rowCount, most: most) else { continue }
            var skipped: UInt64 = 0
            for (i, row) in rows.enumerated()
            where !segment.present[linker.column][row] || !ignoringDeleted && segment.deleted[row] {
                skipped |= 1 << UInt64(i)
            }
            return LinkJob(segment: segment, linker: linker, rows: rows, skipped: skipped)
        }
        return nil
    }

    private func carryOut(_ job: LinkJob, _ scratch: SearchScratch) {
        let graph = job.linker.graph
        for (i, row) in job.rows.enumerated() {
            if job.skipped >> UInt64(i) & 1 == 1 {
                graph.skip(row: UInt32(row))
            } else {
                let level = HNSWGraph.level(hash: StableHash.of(job.segment.storage.id(row)), m: graph.m)
                graph.insert(row: UInt32(row), level: level, scratch: scratch)
                vc_thread_breathe()
            }
        }
    }

    /// Gives the next column that has enough rows an empty graph. False if none needs one.
    private func beginLinking() -> Bool {
        self.linkerDoor.withLock { _ in
            let next: (segment: Segment, column: Int)? = self.lock.reading {
                for segment in self.segments where segment.state != .sealed && !segment.isMerging {
                    if let column = self.unlinkedColumn(segment) { return (segment, column) }
                }
                return nil
            }
            guard let next else { return false }
            let linker = self.makeLinker(next.segment, next.column)
            linker.graph.encode(below: next.segment.visibleRows.load(ordering: .acquiring))
            self.lock.writing {
                next.segment.graphs[next.column] = linker.graph
                next.segment.linkers[next.column] = linker
            }
            return true
        }
    }

    func unlinkedColumn(_ segment: Segment) -> Int? {
        let derived = SegmentDerived(segment, graphFrom: self.settings.graphFrom)
        return segment.shape.columns.indices.first { segment.graphs[$0] == nil && derived.wantsGraph($0) }
    }

    func makeLinker(_ segment: Segment, _ column: Int) -> Linker {
        let shape = segment.shape.columns[column]
        // Spread over the rows that are there and have the vector: what codes are taken from.
        let count = segment.visibleRows.load(ordering: .acquiring)
        let step = max(1, count / HNSWGraph.sampleRows)
        let sample = stride(from: 0, to: count, by: step)
            .filter { segment.storage.rows[$0].present >> UInt16(column) & 1 == 1 }.map { UInt32($0) }
        return Linker(
            column: column,
            graph: HNSWGraph(
                dimension: shape.dimension, metric: shape.metric, m: shape.m, efConstruction: shape.efConstruction,
                capacity: segment.storage.capacity, rows: UnsafePointer(segment.storage.columns[column]),
                stride: shape.stride, quantisation: self.quantisation(column), sample: sample))
    }
}
