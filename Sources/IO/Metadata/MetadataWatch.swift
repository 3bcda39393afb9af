package import Primitives

/// A watch's changes. Each iterator starts over from the revision the watch was made with.
///
/// Pulls: a slow reader costs nothing but its own delay, since changes wait in the store, not in a queue.
package struct MetadataWatch: AsyncSequence, Sendable {
    /// Gives the next few changes after a revision, waiting until there is one, and the revision to go on from.
    package typealias Pull =
        @Sendable (_ after: Revision) async throws(VecraftError) -> (events: [MetadataEvent], through: Revision)

    private let after: Revision
    private let makePull: @Sendable () -> Pull

    package init(after: Revision, pull: @escaping Pull) {
        self.init(after: after, makePull: { pull })
    }

    /// - Parameter makePull: Called for each iterator, whose pulls come one after another.
    package init(after: Revision, makePull: @escaping @Sendable () -> Pull) {
        self.after = after
        self.makePull = makePull
    }

    package func makeAsyncIterator() -> Iterator { Iterator(after: self.after, pull: self.makePull()) }

    package struct Iterator: AsyncIteratorProtocol {
        private var after: Revision
        private var waiting: ArraySlice<MetadataEvent> = []
        private let pull: Pull

        fileprivate init(after: Revision, pull: @escaping Pull) {
            self.after = after
            self.pull = pull
        }

        /// Whatever came at once, at least one change; nil only when the task is cancelled. Ends with all
        /// changes of a revision; a store whose transactions have several revisions may end within one.
        package mutating func nextBatch(
            isolation: isolated (any Actor)? = #isolation
        ) async throws(VecraftError) -> [MetadataEvent]? {
            guard let first = try await self.next(isolation: isolation) else { return nil }
            defer { self.waiting = [] }
            return [first] + self.waiting
        }

        /// Nil only when the task is cancelled.
        package mutating func next(
            isolation: isolated (any Actor)? = #isolation
        ) async throws(VecraftError) -> MetadataEvent? {
            while self.waiting.isEmpty {
                if Task.isCancelled { return nil }
                let pulled: (events: [MetadataEvent], through: Revision)
                do throws(VecraftError) {
                    pulled = try await self.pull(self.after)
                } catch {
                    if error.code == .cancelled, Task.isCancelled { return nil }
                    throw error
                }
                self.waiting = pulled.events[...]
                self.after = pulled.through
            }
            return self.waiting.popFirst()
        }
    }
}
