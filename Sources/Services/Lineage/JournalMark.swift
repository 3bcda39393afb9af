internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Primitives

/// What tells one cluster's journal from another's: an entry of `sys-0`, by its place and a hash of all its bytes.
///
/// Nodes have identities of their own, and only where there are several; but tokens are good at every node. `sys-0` is the same at all of
/// them, outlives restarts, and its first entry was stamped when the cluster, or the single node, had its first leader.
struct JournalMark: Equatable {
    /// 0: the journal had no entry yet, and nothing of it can be told.
    var offset: JournalOffset = 0
    var hash: UInt64 = 0

    /// The oldest that is kept.
    init(oldestOf journal: any JournalClient) throws(VecraftError) {
        while true {
            let position = try journal.position(.sys)
            guard position.first <= position.committed else { return }
            do throws(VecraftError) {
                guard let hash = try Self.hash(position.first, in: journal) else { return }
                self.offset = position.first
                self.hash = hash
                return
            } catch {
                // Trimmed meanwhile: then there is a later one.
                guard error.reason == "TRIMMED", try journal.position(.sys).first > position.first else { throw error }
            }
        }
    }

    init(offset: JournalOffset, hash: UInt64) {
        self.offset = offset
        self.hash = hash
    }

    /// - Throws: INVALID_ARGUMENT, reason ANOTHER_JOURNAL, naming the field, if the entry stands there and is another one; UNAVAILABLE if this
    ///   node does not have it yet. One that was trimmed here since says nothing.
    func check(_ journal: any JournalClient, field: String) throws(VecraftError) {
        guard self.offset > 0 else { return }
        let position = try journal.position(.sys)
        guard self.offset >= position.first else { return }
        guard self.offset <= position.committed else {
            throw VecraftError(
                .unavailable,
                "\(field): belongs to a journal that had sys-0 \(self.offset); this node's ends at \(position.committed): it is another's, or far behind",
                field: field, reason: "JOURNAL_BEHIND", retryAfter: .seconds(1))
        }
        let found: UInt64?
        do throws(VecraftError) { found = try Self.hash(self.offset, in: journal) } catch {
            guard error.reason == "TRIMMED" else { throw error }
            return
        }
        guard found == self.hash else {
            throw VecraftError(
                .invalidArgument,
                "\(field): belongs to the journal of another cluster, whose offsets say nothing here: begin at a moment (from_hlc)",
                field: field, reason: "ANOTHER_JOURNAL")
        }
    }

    private static func hash(
        _ offset: JournalOffset, in journal: any JournalClient
    ) throws(VecraftError) -> UInt64? {
        let batch = try journal.read(.sys, from: offset, maxBytes: 1)
        guard !batch.isEmpty else { return nil }
        return withExtendedLifetime(batch) { StableHash.of(batch.view(0).raw, seed: 6) }
    }
}
