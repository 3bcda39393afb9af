import NIOCore
import Primitives
import Synchronization

/// The async function of a streaming call.
extension ServerCall {
    func start(_ function: @escaping GRPCFunction) {
        let settings = self.settings
        let outbox = MessageOutbox(
            call: self,
            limits: .init(
                unsent: settings.unsentBytes, batch: settings.batchBytes, message: settings.maxMessageBytes,
                gzipFrom: self.repliesGzip ? settings.compressRepliesFrom : nil))
        self.outbox = outbox
        guard let inbox = self.inbox else { preconditionFailure("no inbox for \(self.method.path)") }
        let call = GRPCStreamCall(call: self, inbox: inbox, outbox: outbox)
        let core = self.connection.loop.core
        core.tasks.enter()
        let run: @Sendable () async -> Void = {
            var failure: VecraftError?
            do throws(VecraftError) { try await function(call) } catch { failure = error }
            self.onLoop { [failure] in self.functionEnded(failure) }
            core.tasks.leave()
        }
        // The call owns the task: a reset, the deadline and the end of the connection cancel it, and drain waits for it.
        switch settings.streamExecutor {
        case .eventLoop: self.task = Task.immediate(executorPreference: self.connection.loop.executor) { await run() }
        case .shared: self.task = Task(executorPreference: globalConcurrentExecutor) { await run() }
        }
    }

    func makeInbox() { self.inbox = MessageInbox(call: self, limit: self.settings.maxMessageBytes) }

    fileprivate func functionEnded(_ failure: VecraftError?) {
        self.task = nil
        guard !self.isAnswered else { return }
        self.failure = failure
        self.inbox?.end(.failed(VecraftError(.cancelled, "the call is over")), dropQueued: true)
        self.outbox?.finish()
    }

    func sendInitialMetadata(_ metadata: GRPCMetadata) {
        self.shared.withLock { metadata.append(to: &$0.initial.fields) }
        self.onLoop { self.writeBeginning() }
    }

    func addShared(initial: (String, String)) { self.shared.withLock { $0.initial.add(initial.0, initial.1) } }
    func addShared(trailer: (String, String)) { self.shared.withLock { $0.trailers.add(trailer.0, trailer.1) } }
}
