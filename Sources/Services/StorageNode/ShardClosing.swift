internal import Dispatch
internal import Foundation
internal import Logging
internal import Primitives
internal import ShardEngine
internal import Synchronization

/// Closes many shards at once, for as long as there is time.
///
/// A last checkpoint is mostly waiting for the disk, so several are on their way together. It only saves the next start some
/// replay: a shard whose turn comes too late is abandoned, and the journal has what it lacks.
final class ShardClosing: Sendable {
    /// Waits for the disk that may overlap; more gain nothing on one disk.
    private static let threads = 16

    private let replicas: [ShardReplica]
    private let deadline: DispatchTime
    private let next = Atomic<Int>(0)
    private let abandoned = Atomic<Int>(0)
    private let log = Logger(label: "vecraft.storage")

    /// - Parameter budget: Shards whose turn comes within it get a checkpoint, those furthest behind first.
    init(_ replicas: [ShardReplica], within budget: Duration) {
        let behind = replicas.map { ($0, $0.engine.statistics.checkpointed) }.sorted { $0.1 < $1.1 }
        self.replicas = behind.map(\.0)
        self.deadline = .now() + .nanoseconds(Int(budget.components.seconds) * 1_000_000_000)
            + .nanoseconds(Int(budget.components.attoseconds / 1_000_000_000))
    }

    /// - Returns: False if a checkpoint was still being written a second after the deadline: its shard is not closed, and only
    ///   the process's end is left.
    func run() -> Bool {
        let ended = DispatchGroup()
        for _ in 0..<min(Self.threads, self.replicas.count) {
            ended.enter()
            Thread {
                self.work()
                ended.leave()
            }.start()
        }
        let isDone = ended.wait(timeout: self.deadline + .seconds(1)) == .success
        let abandoned = isDone ? self.abandoned.load(ordering: .relaxed) : self.replicas.count
        if abandoned > 0 {
            self.log.warning(
                "no time for a last checkpoint of every shard; the next start replays more of the journal",
                metadata: ["shards": "\(self.replicas.count)", "left": isDone ? "\(abandoned)" : "not known"])
        }
        return isDone
    }

    private func work() {
        while true {
            let index = self.next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < self.replicas.count else { return }
            let replica = self.replicas[index]
            guard DispatchTime.now() < self.deadline else {
                replica.engine.abandon()
                self.abandoned.wrappingAdd(1, ordering: .relaxed)
                continue
            }
            do throws(VecraftError) {
                try replica.engine.close()
            } catch {
                // Nothing is lost: the journal has it, the next start replays more.
                self.log.error(
                    "last checkpoint failed", metadata: ["collection": "\(replica.schema.name)", "error": "\(error)"])
            }
        }
    }
}
