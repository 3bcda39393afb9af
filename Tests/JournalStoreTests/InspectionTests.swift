import FileStore
import Primitives
import TestSupport
import Testing

@testable import JournalStore

/// Verifying from outside changes nothing, and says what a start would say.
@Suite struct InspectionTests {
    private func files(_ disk: FaultyFileStore) throws -> [String: [UInt8]] {
        var all: [String: [UInt8]] = [:]
        for name in try disk.list(directory) { all[name] = disk.contents(directory + "/" + name) }
        return all
    }

    /// Looks twice at the same files, which must stay as they are.
    private func look(_ disk: FaultyFileStore) throws -> JournalInspection.Finding {
        let before = try self.files(disk)
        let finding = JournalInspection.verify(.data(0), of: "/journal", files: disk)
        #expect(try self.files(disk) == before)
        return finding
    }

    @Test func aWholeLogIsWhole() async throws {
        for crash in [nil, FaultyFileStore.Crash.process] {
            let log = try await SampleLog(count: 600, crash: crash)
            let finding = try self.look(log.files)
            #expect(finding.tails == [] && finding.report.faults == [])
            #expect(finding.report.entries == 600 && finding.report.lastOffset == 600)
            #expect(try JournalInspection.partitions(of: "/journal", files: log.files) == [.data(0)])
        }
        let error = errorOf { () throws(VecraftError) in
            try JournalInspection.partitions(of: "/nowhere", files: FaultyFileStore())
        }
        #expect(error?.code == .notFound)
    }

    @Test func aLogInUseIsReadBesideIt() async throws {
        let files = FaultyFileStore()
        let partition = try open(files)
        for i in 1...300 { _ = try await partition.append(entry(numbered(UInt64(i), bytes: 300))) }
        let finding = JournalInspection.verify(.data(0), of: "/journal", files: files)
        #expect(finding.report == partition.verify() && finding.report.entries == 300)
        _ = try await partition.append(entry([1]))
        partition.close()
    }

    @Test func aTornTailIsToldAndLeft() async throws {
        let log = try await SampleLog(count: 6, bytes: 24)
        let frames = log.frames(1)
        try log.files.remove(log.mark)
        log.files.edit(log.segment(1)) { $0.removeLast($0.count - frames[5] - 20) }
        let finding = try self.look(log.files)
        #expect(finding.report.isOK && finding.report.entries == 5)
        #expect(finding.tails.count == 1 && finding.tails[0].hasPrefix("\(log.segment(1)), byte \(frames[5])"), "\(finding.tails)")
        // The start cuts what was told.
        let partition = try open(log.files)
        #expect(partition.recoveredCuts.count == 1 && partition.committed == 5)
        partition.close()
    }

    @Test func damageThatStopsAStartIsAFault() async throws {
        let log = try await SampleLog(count: 6, bytes: 24)
        let frames = log.frames(1)
        log.files.flip(log.segment(1), byte: frames[2] + 170)
        let finding = try self.look(log.files)
        #expect(finding.report.faults.count == 1)
        let error = errorOf { () throws(VecraftError) in try open(log.files) }
        #expect(finding.report.faults.first == error?.message && error?.code == .dataLoss)
    }

    @Test func damageInASealedSegmentIsAFault() async throws {
        let log = try await SampleLog(count: 600)
        log.files.flip(log.segment(1), byte: log.frames(1)[20] + 200)
        let finding = try self.look(log.files)
        #expect(finding.report.faults.count == 1 && finding.report.entries == 599, "\(finding.report.faults)")
    }
}
