import Metadata
import Primitives
import Wire

/// Puts a watch's messages together, over any number of streams, so that each change comes once. No I/O.
///
/// Invariant: every change up to ``through`` was delivered, and none behind it; only whole revisions are delivered.
struct WatchAssembly {
    enum Action: Equatable {
        /// The stream is set up.
        case created
        case wait
        case deliver([MetadataEvent])
        case compacted(oldest: Revision)
        case cancelled(String)
    }

    private(set) var through: Revision
    /// Changes of one revision of which more may come: those of a lease's keys, and nothing else, have one revision.
    private var unfinished: [MetadataEvent] = []

    init(after: Revision) { self.through = after }

    /// From here etcd is asked: from one revision before the first that is wanted. If that is kept, so is all that follows.
    /// (etcd up to 3.4.35 and 3.5.17 forgets a deletion at the very revision that it compacts to, and says nothing; issue 18089.)
    var startRevision: Int64 { Int64(clamping: max(self.through, 1)) }

    /// A new stream begins at ``startRevision``.
    mutating func reopen() { self.unfinished = [] }

    mutating func received(_ response: EtcdV3.WatchResponse, _ keys: EtcdKeys) throws(VecraftError) -> Action {
        if response.canceled {
            return response.compactRevision > 0
                ? .compacted(oldest: Revision(clamping: response.compactRevision))
                : .cancelled(response.cancelReason)
        }
        if response.created { return .created }
        for event in response.events {
            let event = try keys.event(event)
            if event.revision > self.through { self.unfinished.append(event) }
        }
        guard let last = self.unfinished.last?.revision else {
            // Nothing up to here. (The number says nothing beside events: there may be more of them on their way.)
            if response.events.isEmpty, !response.fragment {
                self.through = max(self.through, Revision(clamping: response.header?.revision ?? 0))
            }
            return .wait
        }
        let whole = response.fragment ? self.unfinished.filter { $0.revision < last } : self.unfinished
        self.unfinished.removeFirst(whole.count)
        self.through = response.fragment ? last - 1 : last
        return whole.isEmpty ? .wait : .deliver(whole)
    }
}
