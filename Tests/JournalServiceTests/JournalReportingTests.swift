import JournalService
import Observability
import Primitives
import Synchronization
import Testing

@Suite struct JournalReportingTests {
    private func commit(_ reporting: JournalReporting) {
        reporting.committed(partition: .data(0), entries: 1, bytes: 100, write: .zero, sync: .zero, waited: .zero)
    }

    @Test func aFullDiskIsKnownUntilThereIsRoom() {
        let hasRoom = Mutex(false)
        let reporting = JournalReporting(JournalMetrics(MetricsRegistry())) { hasRoom.withLock { $0 } }
        #expect(!reporting.isDiskFull)
        reporting.refused(partition: .data(0), reason: "JOURNAL_QUEUE_FULL")
        #expect(!reporting.isDiskFull)
        reporting.refused(partition: .data(0), reason: "DISK_FULL")
        #expect(reporting.isDiskFull)
        // A delete goes through on a full disk; that ends nothing.
        self.commit(reporting)
        #expect(reporting.isDiskFull)
        hasRoom.withLock { $0 = true }
        #expect(!reporting.isDiskFull)
        hasRoom.withLock { $0 = false }
        #expect(!reporting.isDiskFull, "nothing was refused since")
        reporting.refused(partition: .sys, reason: "DISK_FULL")
        #expect(reporting.isDiskFull)
    }
}
