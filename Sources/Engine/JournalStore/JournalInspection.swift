package import FileStore
internal import JournalFormat
package import Primitives
internal import Raft

/// Verifies a journal's folder from outside: nothing is written, cut or locked, and no node need run.
///
/// What a start would refuse is a fault here; the torn tail that a start would cut is told, and is none. A node may run
/// meanwhile: what it changes under the reader's eyes is read again.
package enum JournalInspection {
    package struct Finding: Sendable {
        package var report: PartitionReport
        /// Torn tails, one line each: appends that nobody was told of.
        package var tails: [String] = []
    }

    /// A fault found while a node appends may be a moment's; the same one twice running is none.
    private static let attempts = 5

    /// The partitions that have a folder in the journal's directory, in order.
    /// - Throws: `.notFound` if there is no journal.
    package static func partitions(of directory: String, files: any FileStore) throws(VecraftError) -> [PartitionID] {
        let names: [String]
        do throws(FileFault) { names = try files.list(directory) } catch {
            throw VecraftError(.notFound, "there is no journal to read in \(directory): \(error)")
        }
        return names.compactMap { name in PartitionID(name).flatMap { $0.description == name ? $0 : nil } }.sorted()
    }

    package static func verify(_ partition: PartitionID, of directory: String, files: any FileStore) -> Finding {
        let folder = Paths.join(directory, partition.description)
        var finding = Self.look(partition, folder, files)
        for _ in 1..<Self.attempts where !finding.report.isOK {
            let again = Self.look(partition, folder, files)
            if again.report.faults == finding.report.faults { return again }
            finding = again
        }
        return finding
    }

    private static func look(_ partition: PartitionID, _ folder: String, _ files: any FileStore) -> Finding {
        let readOnly = ReadOnlyFiles(base: files)
        do throws(VecraftError) {
            // A replica of a group says where its log lies, and where it begins.
            let replica = try ReplicaStateFile.load(directory: folder, files: readOnly)
            let folder = ReplicaStore.folder(folder, replica?.generation ?? 0)
            let start = replica?.start.position.index ?? 0
            let recovery = try Recovery(partition: partition, directory: folder, files: readOnly, start: start)
            recovery.mark.close()
            let tails = recovery.cuts.map { "\($0.path), byte \($0.position): a torn tail of \($0.bytes) bytes, which a start cuts" }
            guard !recovery.segments.isEmpty else { return Finding(report: PartitionReport(partition: partition)) }
            let log = PartitionLog(
                partition: partition, directory: folder, files: readOnly, segments: recovery.segments, term: 0, start: start)
            return Finding(report: JournalPartition.verify(log) { _ in }, tails: tails)
        } catch {
            var report = PartitionReport(partition: partition)
            report.faults = [error.message]
            return Finding(report: report)
        }
    }
}
