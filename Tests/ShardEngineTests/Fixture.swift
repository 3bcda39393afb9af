import FileStore
import Filter
import Foundation
import JournalFormat
import Primitives
import Synchronization
import Testing

@testable import ShardEngine

/// A folder of its own, gone when the object goes.
final class Scratch: Sendable {
    let path: String
    init() {
        self.path = NSTemporaryDirectory() + "vecraft-shard-\(UUID().uuidString)"
        try? FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }
    deinit { try? FileManager.default.removeItem(atPath: self.path) }
    func folder(_ name: String) -> String { self.path + "/" + name }
}

extension ShardSettings {
    /// Everything happens soon: segments of a few rows, graphs from a few, merges of two or three.
    static func tiny(_ rng: inout SeededRNG) -> ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = Int.random(in: 20...90, using: &rng)
        settings.graphFrom = Int.random(in: 8...40, using: &rng)
        settings.mergeFanIn = Int.random(in: 2...4, using: &rng)
        settings.publishRows = Int.random(in: 1...40, using: &rng)
        settings.checkpointJournalBytes = Int.random(in: 2_000...60_000, using: &rng)
        settings.unlinkedPoints = Int.random(in: 0...30, using: &rng)
        settings.indexThreads = Int.random(in: 1...2, using: &rng)
        settings.filterGraphAfter = Double(Int.random(in: 0...1, using: &rng))
        settings.filterGraphShare = [0, 0.3, 4].randomElement(using: &rng)!
        return settings
    }

    /// One segment, no graph: the plain way.
    static var plain: ShardSettings {
        var settings = ShardSettings()
        settings.graphFrom = 1_000_000
        settings.indexThreads = 1
        return settings
    }
}

extension ShardEngine {
    static func open(
        _ directory: String, _ workload: Workload, _ settings: ShardSettings = .plain,
        files: any FileStore = PosixFileStore(), observer: (any ShardObserver)? = nil, workers: ShardWorkers? = nil
    ) throws -> ShardEngine {
        try ShardEngine(
            directory: directory, schema: workload.schema, shard: 0, settings: settings, files: files,
            observer: observer, workers: workers)
    }

    /// Applies entries of the journal after what is applied, up to `offset`, some at a time.
    func replay(_ workload: Workload, through offset: Int? = nil, rng: inout SeededRNG) throws {
        let end = offset ?? workload.entries.count
        while Int(self.applied) < end {
            let from = Int(self.applied)
            let next = min(end, from + Int.random(in: 1...12, using: &rng))
            // Now and then some that were applied already: they must do nothing.
            let again = max(0, from - Int.random(in: 0...3, using: &rng))
            try self.apply(Array(workload.entries[again..<next]))
        }
    }

    func replay(_ workload: Workload) throws {
        var rng = SeededRNG(seed: 1)
        try self.replay(workload, rng: &rng)
    }

    /// Consecutive entries.
    func apply(_ entries: [EncodedEntry]) throws {
        func views(_ i: Int, _ made: [EntryView]) throws {
            guard i < entries.count else {
                return try self.apply(made, through: max(self.applied, made.last?.offset ?? 0))
            }
            try entries[i].withView { view in try views(i + 1, made + [view]) }
        }
        try views(0, [])
    }

    func search(
        _ query: [Float], using: String = "", limit: Int, filter: Filter? = nil, ef: Int = 0, exact: Bool = false,
        withVectors: Bool = false
    ) throws -> ShardSearchResult {
        try query.withUnsafeBufferPointer {
            try self.search(
                ShardSearch(
                    query: $0, using: using, limit: limit, filter: filter, ef: ef, exact: exact,
                    withVectors: withVectors))
        }
    }

    /// All pages of a scroll, as ids.
    func scrollAll(_ filter: Filter?, page: Int) throws -> [String] {
        var ids: [String] = []
        var after: [UInt8]?
        repeat {
            let result = try self.scroll(after: after, filter: filter, limit: page)
            ids += result.points.ids
            after = result.next
        } while after != nil
        return ids
    }

    /// Waits until the background has nothing left to do.
    func settle() {
        // Long: its threads yield to all others, and a busy machine may leave them nothing for minutes.
        let end = ContinuousClock.now + .seconds(600)
        while ContinuousClock.now < end {
            if self.pending.isEmpty { return }
            usleep(100)
        }
        Issue.record("the background did not come to rest: \(self.pending.joined(separator: ", "))")
    }

    /// What is left for the background, in words.
    private var pending: [String] {
        var pending: [String] = self.lock.reading {
            self.segments.flatMap { segment in
                var pending: [String] = []
                if segment.state == .closed { pending.append("is closed") }
                if segment.isMerging { pending.append("is merging") }
                if self.staleColumn(segment) != nil { pending.append("has other codes than asked for") }
                if segment.state != .sealed, self.unlinkedColumn(segment) != nil { pending.append("has no graph") }
                if segment.waitingRows > 0 { pending.append("has \(segment.waitingRows) rows to link") }
                return pending.map { "segment \(segment.number) of \(segment.rowCount) rows \($0)" }
            }
        }
        if self.isCheckpointDue { pending.append("a checkpoint is due") }
        if let inputs = self.chooseMerge() { pending.append("\(inputs.map(\.number)) are to be merged") }
        return pending
    }
}

extension ShardEngine {
    /// Waits until every graph that searches asked for is made.
    func settleFilterGraphs() {
        let end = ContinuousClock.now + .seconds(600)
        while ContinuousClock.now < end {
            if self.filterGraphs.isIdle { return }
            usleep(100)
        }
        Issue.record("filter graphs were not made")
    }
}

extension PointBatch {
    var ids: [String] { (0..<self.count).map { self.id($0) } }
}

/// Remembers what it was told.
final class Events: ShardObserver {
    private let events = Mutex<[ShardEvent]>([])
    func shard(_ id: ShardID, _ event: ShardEvent) { self.events.withLock { $0.append(event) } }
    var all: [ShardEvent] { self.events.withLock { $0 } }
}
