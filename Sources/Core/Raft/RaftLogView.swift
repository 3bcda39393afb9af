/// What the state machine asks of the log's store, which holds the entries: the segment store, or a model of it.
///
/// Only asked for batches that a peer has to catch up with, once a batch; in the steady state the bytes are known from the proposal.
/// Terms are not asked for: the machine keeps them (``TermRuns``), so that no answer depends on how far the disk has come.
package protocol RaftLogView: AnyObject, Sendable {
    /// How many of the entries `first...last`, all of them in the log, fit into `maxBytes`; at least one.
    ///
    /// - Returns: The last that fits, and the bytes of `first` up to it.
    func extent(from first: LogIndex, through last: LogIndex, maxBytes: Int) -> (last: LogIndex, bytes: Int)
}
