import JournalFormat
import Primitives
import Testing

@testable import JournalStore

@Suite struct AppendQueueTests {
    private static let pending = PendingAppend(
        entry: EncodedEntry.raw(
            header: EntryHeader(
                partition: .data(0), tier: .batch, operation: .barrier, tenant: "default", requestID: "r",
                trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true)),
            body: UnsafeRawBufferPointer(start: nil, count: 0)),
        arrived: .zero, arrivedAt: 0, completion: { _ in })

    /// Whether the signal was raised since the last look. It is sticky: nothing has to wait for anything.
    private static func isRaised(_ signal: Signal) -> Bool { signal.wait(milliseconds: 1) }

    private static func push(_ count: Int, on queue: AppendQueue) {
        for _ in 0..<count { #expect(queue.push(Self.pending, tier: .batch) == nil) }
    }

    @Test func aWriterAtRestIsWokenByTheBytesItWaitsFor() {
        let signal = Signal()
        let queue = AppendQueue(limitBytes: 1 << 20, signal: signal)
        var batch: [PendingAppend] = []
        #expect(!queue.takeNow(maxBytes: 1 << 20, maxCount: 100, into: &batch))
        Self.push(1, on: queue)
        #expect(Self.isRaised(signal), "a writer with nothing to do")
        let bytes = queue.depth.bytes
        Self.push(1, on: queue)
        #expect(!Self.isRaised(signal), "it knows already")
        #expect(queue.rest(below: 4 * bytes))
        Self.push(1, on: queue)
        #expect(!Self.isRaised(signal), "less than it waits for")
        Self.push(1, on: queue)
        #expect(Self.isRaised(signal), "as much as it waits for")
        Self.push(1, on: queue)
        #expect(!Self.isRaised(signal), "it was told")
        #expect(!queue.rest(below: 4 * bytes), "there is as much")
        #expect(queue.drain().count == 5)
        Self.push(1, on: queue)
        #expect(Self.isRaised(signal), "it was emptied")
    }
}
