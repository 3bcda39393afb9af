import Metadata
import Primitives
import Wire

/// What was seen of one etcd, so that one that lost data, or another one, is not taken for it. No I/O.
///
/// Invariant: once lost, always lost. The numbers of an etcd made anew would some day pass those seen here, and a watcher
/// would go on as if nothing had been.
struct EtcdHistory: Sendable {
    private(set) var clusterID: UInt64?
    private(set) var revision: Revision = 0
    private(set) var lost: VecraftError?

    /// - Parameters:
    ///   - header: Of an answer that needed the majority.
    ///   - floor: The revision seen before the call was made.
    mutating func saw(_ header: EtcdV3.ResponseHeader, floor: Revision) throws(VecraftError) {
        if let lost { throw lost }
        let revision = Revision(clamping: header.revision)
        if let known = self.clusterID, known != header.clusterID {
            self.lost = VecraftError(
                .dataLoss, "this is another etcd: its cluster id is \(header.clusterID), and was \(known)",
                reason: "METADATA_WENT_BACK")
        } else if revision < floor {
            self.lost = VecraftError(
                .dataLoss, "etcd has lost changes: it is at revision \(revision), and was at \(floor)",
                reason: "METADATA_WENT_BACK")
        }
        if let lost { throw lost }
        self.clusterID = header.clusterID
        self.revision = max(self.revision, revision)
    }

    /// A watch told of a change.
    mutating func saw(_ revision: Revision) { self.revision = max(self.revision, revision) }
}
