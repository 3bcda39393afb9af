import Filter
import Glibc
import JournalFormat
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Whatever leaves work for the background wakes it: nothing waits for a later entry that may never come.
@Suite(.ownThreads) struct WakingTests {
    private static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 64
        settings.graphFrom = 16
        settings.mergeFanIn = 2
        settings.deletedRatio = 0.9
        settings.unlinkedPoints = 0
        settings.indexThreads = 1
        return settings
    }

    private static func points(_ workload: inout Workload, _ ids: Range<Int>) -> [Point] {
        ids.map { id in
            Point(id: "p\(id)", vectors: ["": (0..<8).map { _ in workload.float() }], payload: nil)
        }
    }

    /// Entries without points are journal, too: a restart reads all since the last checkpoint.
    @Test func entriesWithoutPointsMakeACheckpointDue() throws {
        var workload = Workload(seed: 51, extra: false)
        for _ in 0..<40 { workload.append(.barrier) }
        var settings = Self.settings
        settings.checkpointJournalBytes = workload.entries.reduce(0) { $0 + $1.bytes.count }
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        for entry in workload.entries.dropLast() { try engine.apply([entry]) }
        // So that the background has seen that there is nothing to do, and sleeps.
        usleep(50_000)
        #expect(engine.statistics.checkpoints == 0)
        try engine.apply([workload.entries.last!])
        engine.settle()
        #expect(engine.statistics.checkpoints == 1)
        #expect(engine.statistics.checkpointed == 40)
        try engine.close()
    }

    /// Far from being worn, a segment is of another size than before, and there is one of that size.
    @Test(arguments: [false, true]) func aDeletionThatMakesSegmentsEqualMergesThem(byFilter: Bool) throws {
        var workload = Workload(seed: 52, dimension: 8, metric: .l2, extra: false)
        workload.upsert(Self.points(&workload, 0..<64))
        workload.append(.delete((0..<24).map { "p\($0)" }))
        workload.upsert(Self.points(&workload, 64..<128))
        let last = (64..<88).map { "p\($0)" }
        workload.append(byFilter ? .deleteByFilter(Filter(must: [.hasID(last)])) : .delete(last))
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: FaultyFileStore())
        for entry in workload.entries.dropLast() {
            try engine.apply([entry])
            engine.settle()
        }
        #expect(engine.statistics.merges == 0)
        #expect(engine.statistics.sealedSegments == 2)
        try engine.apply([workload.entries.last!])
        engine.settle()
        #expect(engine.statistics.merges == 1)
        #expect(engine.statistics.sealedSegments == 1)
        #expect(engine.statistics.points == 80)
        try engine.close()
    }

    /// The applying thread may link a segment's last rows when the background has looked in vain and gone to sleep.
    @Test func whatIsLinkedByTheApplyingThreadIsSealed() throws {
        var settings = Self.settings
        settings.mergeFanIn = 64
        var workload = Workload(seed: 53, dimension: 8, metric: .l2, extra: false)
        for segment in 0..<60 { workload.upsert(Self.points(&workload, segment * 64..<segment * 64 + 64)) }
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        for (i, entry) in workload.entries.enumerated() {
            try engine.apply([entry])
            engine.settle()
            #expect(engine.statistics.sealedSegments == i + 1)
        }
        try engine.close()
    }
}
