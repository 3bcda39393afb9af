internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Observability
package import Primitives
package import Wire

/// Change data capture: entries of all partitions in one order, each once, from a place that can be gone back to.
///
/// An entry is handed out once nothing earlier can come any more. What is handed out is bounded by the one who takes it; the
/// journal itself is the buffer.
package final class LineageWatch: @unchecked Sendable {  // one task's, which hands it to a thread and back
    /// Entries that one step hands out at most, and their bytes.
    private static let maxEntries = 256
    private static let maxBytes = 1 << 20
    /// Nanoseconds.
    private static let longestStep: UInt64 = 20_000_000

    private let service: LineageService
    private let selection: EntrySelection
    private let partitions: [PartitionID]
    private let points: LineageService.Points
    private var order: EntryOrder
    private var mark: JournalMark
    private var waking: AsyncStream<Void>.Iterator
    /// Of commits, and of time.
    private let subscriptions: [Subscription]
    private let waker: AsyncStream<Void>.Continuation

    init(_ service: LineageService, _ request: VecraftV1.WatchRequest) throws(VecraftError) {
        let (selection, partitions) = try service.selection(
            tenant: request.tenant, collection: request.collection, id: request.collectionID, request.operations, "")
        var starts: [(PartitionID, JournalOffset)] = []
        if request.resumeToken.isEmpty, request.fromHLC == 0 {
            for partition in partitions {
                starts.append((partition, try service.journal.position(partition).committed + 1))
            }
        } else {
            starts = try service.starts(
                request.resumeToken, "resume_token", selection, from: request.fromHLC, partitions)
        }
        self.mark = try JournalMark(oldestOf: service.journal)
        self.service = service
        self.selection = selection
        self.partitions = partitions
        self.points = request.whole ? .whole : .listed
        self.order = EntryOrder(service.journal, starts: starts)
        let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        self.waking = stream.makeAsyncIterator()
        self.waker = continuation
        var subscriptions: [Subscription] = []
        for partition in partitions {
            subscriptions.append(try service.journal.onCommit(partition) { _ in continuation.yield() })
        }
        self.subscriptions = subscriptions
        service.metrics.watchers.add(1)
    }

    deinit {
        self.waker.finish()
        self.service.metrics.watchers.add(-1)
    }

    private var token: String {
        LineageToken(selection: self.selection.hash, mark: self.mark, position: self.order.position).text
    }

    /// What can be handed out now, perhaps nothing.
    ///
    /// - Returns: Entries, each with the token to go on behind it; and a sign of life where there is none.
    package func step() throws(VecraftError) -> [VecraftV1.WatchResponse] {
        let closed = try EntryOrder.closed(self.service.journal, self.partitions)
        self.service.metrics.looks.increment()
        // The journal was empty when the stream began.
        if self.mark.offset == 0 { self.mark = try JournalMark(oldestOf: self.service.journal) }
        let start = SystemTime.monotonicNanoseconds
        // Up to where everything was looked at.
        var reached = closed
        var out: [VecraftV1.WatchResponse] = []
        var bytes = 0
        var looked = 0
        let (service, selection, points) = (self.service, self.selection, self.points)
        while out.count < Self.maxEntries, bytes < Self.maxBytes, looked < 65_536 {
            if looked & 15 == 15, SystemTime.monotonicNanoseconds &- start > Self.longestStep { break }
            let next = try self.order.next(below: closed) {
                (entry) throws(VecraftError) -> (HLCTimestamp, VecraftV1.LineageEntry?) in
                (entry.hlc, selection.wants(entry) ? try service.describe(entry, points: points) : nil)
            }
            guard let (hlc, found) = next else {
                reached = closed
                break
            }
            looked += 1
            reached = hlc
            guard var entry = found else { continue }
            // Of an entry that no message could hold the points are counted only.
            if entry.roughBytes > service.maxReplyBytes / 2 { entry.points = [] }
            bytes += entry.roughBytes
            out.append(VecraftV1.WatchResponse(entry: entry, resumeToken: self.token, closedHLC: entry.hlc))
        }
        service.metrics.watchedEntries.increment(by: UInt64(out.count))
        if out.isEmpty { out.append(VecraftV1.WatchResponse(resumeToken: self.token, closedHLC: reached.rawValue)) }
        return out
    }

    /// Whether entries are committed that were not looked at: they wait for their order to be closed.
    package var isBehind: Bool {
        self.order.position.contains { partition, next in
            ((try? self.service.journal.position(partition).committed) ?? 0) >= next
        }
    }

    /// Waits for a commit, at most that long.
    package func wait(atMost duration: Duration) async {
        let waker = self.waker
        let timer = Task {
            // A timer that was cancelled wakes nobody: the next wait would end at once.
            do { try await Task.sleep(for: duration) } catch { return }
            waker.yield()
        }
        _ = await self.waking.next()
        timer.cancel()
    }
}

extension LineageService {
    package func watch(_ request: VecraftV1.WatchRequest) throws(VecraftError) -> LineageWatch {
        try LineageWatch(self, request)
    }
}
