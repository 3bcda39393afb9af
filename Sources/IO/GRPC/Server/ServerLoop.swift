import NIOCore
import NIOPosix
import Primitives
import Synchronization

/// What the connections of one event loop share.
///
/// `@unchecked Sendable`: the mailbox and the constants may be used from anywhere, everything else on the loop only.
final class ServerLoop: @unchecked Sendable {
    let eventLoop: any EventLoop
    let core: ServerCore
    let executor: LoopExecutor
    private let mailbox = Mutex<[Letter]>([])

    private struct Letter {
        var call: ServerCall
        var answer: ServerCall.Answer
    }

    // Loop.
    let flusher: Flusher
    private(set) lazy var loopLocal: AnyObject? = self.core.settings.loopLocal?()
    /// Request and reply bytes held for calls not yet read or sent.
    var bufferedBytes = 0
    private var connections: [ObjectIdentifier: ServerConnection] = [:]
    private var housekeeping: RepeatedTask?

    init(eventLoop: any EventLoop, core: ServerCore) {
        self.eventLoop = eventLoop
        self.core = core
        self.executor = LoopExecutor(eventLoop)
        self.flusher = Flusher(eventLoop: eventLoop)
    }

    // MARK: Answers from other threads

    /// Any thread. Answers that come close together share one wake-up of the loop and one flush.
    func post(_ answer: ServerCall.Answer, for call: ServerCall) {
        let mustWake = self.mailbox.withLock { letters in
            letters.append(Letter(call: call, answer: answer))
            return letters.count == 1
        }
        guard mustWake else { return }
        if let gathering = Gathering.current.currentValue { gathering.add(self) } else { self.wake() }
    }

    fileprivate func wake() { self.eventLoop.execute { self.openMailbox() } }

    private func openMailbox() {
        let letters = self.mailbox.withLock { letters in
            defer { letters = [] }
            return letters
        }
        self.flusher.batch {
            for letter in letters { letter.call.finish(letter.answer) }
        }
    }

    // MARK: Connections

    func add(_ connection: ServerConnection) {
        self.connections[ObjectIdentifier(connection)] = connection
        guard self.housekeeping == nil else { return }
        self.housekeeping = self.eventLoop.scheduleRepeatedTask(
            initialDelay: .seconds(1), delay: .seconds(1)
        ) { _ in
            let now = NIODeadline.now()
            for connection in self.connections.values { connection.keepHouse(now: now) }
        }
    }

    func remove(_ connection: ServerConnection) {
        self.connections[ObjectIdentifier(connection)] = nil
        guard self.connections.isEmpty else { return }
        self.housekeeping?.cancel()
        self.housekeeping = nil
    }

    func drain() { for connection in self.connections.values { connection.drain() } }

    func endCalls() { for connection in self.connections.values { connection.endCalls() } }
}

extension GRPCServer {
    /// Answers that `body` gives on this thread, to calls of any server, reach their event loops together: each loop is woken once,
    /// when `body` is done. For those who answer many calls at a time. `body` must not block.
    package static func gatherAnswers(_ body: () -> Void) {
        guard Gathering.current.currentValue == nil else { return body() }
        let gathering = Gathering()
        Gathering.current.currentValue = gathering
        body()
        Gathering.current.currentValue = nil
        gathering.wakeAll()
    }
}

/// The loops that have letters from one thread and were not woken yet.
private final class Gathering: @unchecked Sendable {  // each thread has its own
    static let current = ThreadSpecificVariable<Gathering>()
    private var loops: [ServerLoop] = []

    func add(_ loop: ServerLoop) { self.loops.append(loop) }
    func wakeAll() { for loop in self.loops { loop.wake() } }
}

/// Runs Swift tasks on an event loop.
final class LoopExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.eventLoop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
