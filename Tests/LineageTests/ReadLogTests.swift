import FileStore
import Lineage
import Observability
import Primitives
import TestSupport
import Testing
import Wire

@Suite struct ReadLogTests {
    /// A full disk costs notes, and each is counted.
    @Test func everyNoteThatIsLostIsCounted() throws {
        let files = FaultyFileStore()
        let metrics = LineageMetrics(MetricsRegistry())
        let log = try ReadLog(directory: "/reads", files: files, limitBytes: 64 << 10, metrics: metrics)
        func note(_ id: String) { log.note(VecraftV1.AnsweredRead(requestID: id, status: "OK")) }
        note("before")
        #expect(log.find("before").count == 1 && metrics.readsDropped.count == 0)
        files.inject(.diskFull(leavesPart: true))
        for i in 0..<25 { note("lost-\(i)") }
        #expect(log.find("lost-3").isEmpty)
        #expect(metrics.readsDropped.count == 25)
        // There is room again: what comes then is kept, and found behind what was.
        note("after")
        #expect(log.find("after").count == 1 && log.find("before").count == 1)
        #expect(metrics.readsDropped.count == 25)
        log.close()
        note("too late")
        #expect(metrics.readsDropped.count == 26)
    }
}
