internal import CPlatform
internal import Foundation
package import JournalStore
package import Primitives
internal import Synchronization

/// A thread that follows one partition: reads what is committed, hands it over, waits for more.
///
/// It decides nothing: what to do with a batch, and from where to start, is the owner's.
package final class JournalFollower: Sendable {
    package enum Step: Sendable {
        case goOn
        /// The batch could not be taken. It is read again after this long.
        case retry(after: Duration)
    }

    /// A tenth of an ordinary thread's share when all processors are busy.
    private static let nice: Int32 = 10
    private static let turnMicroseconds: UInt32 = 100

    private struct State {
        var stopping = false
        var running = false
    }
    private let journal: any JournalClient
    private let partition: PartitionID
    private let maxBatchBytes: Int
    private let state = Mutex(State())
    private let wake = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)
    private let subscription: Mutex<Subscription?> = Mutex(nil)

    /// - Parameter maxBatchBytes: What one batch may take of memory; a larger entry comes alone.
    package init(_ journal: any JournalClient, partition: PartitionID, maxBatchBytes: Int = 4 << 20) {
        self.journal = journal
        self.partition = partition
        self.maxBatchBytes = maxBatchBytes
    }

    /// Starts the thread.
    /// - Parameters:
    ///   - next: The first offset wanted.
    ///   - yields: The thread computes for long, and gives way to those that answer requests.
    ///   - handle: Gets each batch, or the error that reading one ended with.
    ///   - idle: Called when everything committed has been handed over, and every 50 ms while nothing comes.
    package func start(
        from next: JournalOffset, name: String, yields: Bool = false,
        handle: @escaping @Sendable (Result<EntryBatch, VecraftError>) -> Step,
        idle: @escaping @Sendable () -> Void
    ) throws(VecraftError) {
        let subscription = try self.journal.onCommit(self.partition) { [wake] _ in wake.signal() }
        self.subscription.withLock { $0 = subscription }
        self.state.withLock { $0.running = true }
        let thread = Thread { [self] in
            vc_thread_name(name)
            // Where a system refuses, the thread competes evenly.
            if yields { _ = vc_thread_background(Self.nice, Self.turnMicroseconds) }
            self.run(from: next, handle, idle)
            self.ended.signal()
        }
        thread.stackSize = 4 << 20
        thread.start()
    }

    /// Ends the thread after the batch in hand, and waits for it.
    package func stop() {
        let wasRunning = self.state.withLock { state in
            state.stopping = true
            defer { state.running = false }
            return state.running
        }
        guard wasRunning else { return }
        self.wake.signal()
        self.ended.wait()
        self.subscription.withLock { $0 = nil }
    }

    package var isStopping: Bool { self.state.withLock { $0.stopping } }

    /// Sleeps on the follower's thread, but no longer than until ``stop()``.
    package func pause(_ duration: Duration) {
        let end = ContinuousClock.now + duration
        while !self.isStopping {
            let left = end - .now
            if left <= .zero { return }
            _ = self.wake.wait(timeout: .now() + .nanoseconds(Self.nanoseconds(min(left, .milliseconds(200)))))
        }
    }

    private func run(
        from start: JournalOffset, _ handle: (Result<EntryBatch, VecraftError>) -> Step, _ idle: () -> Void
    ) {
        var next = max(start, 1)
        while !self.isStopping {
            let batch: EntryBatch
            do throws(VecraftError) {
                batch = try self.journal.read(self.partition, from: next, maxBytes: self.maxBatchBytes)
            } catch {
                if case .retry(let delay) = handle(.failure(error)) { self.pause(delay) }
                continue
            }
            if batch.isEmpty {
                idle()
                _ = self.wake.wait(timeout: .now() + .milliseconds(50))
                // Signals may have piled up while a long batch was handled; one look serves them all.
                while self.wake.wait(timeout: .now()) == .success {}
                continue
            }
            switch handle(.success(batch)) {
            case .goOn: next = batch.nextOffset
            case .retry(let delay): self.pause(delay)
            }
        }
    }

    private static func nanoseconds(_ duration: Duration) -> Int {
        Int(duration.components.seconds) * 1_000_000_000 + Int(duration.components.attoseconds / 1_000_000_000)
    }
}
