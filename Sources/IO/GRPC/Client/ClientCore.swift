import NIOCore
import NIOSSL
import Primitives
import Synchronization

/// The client behind ``GRPCClient``: one event loop, one connection at a time that takes calls.
///
/// `@unchecked Sendable`: the mailbox and the constants may be used from anywhere, everything else on the loop only.
final class ClientCore: @unchecked Sendable {
    enum Letter: Sendable {
        case start(ClientCall)
        case cancel(ClientCall)
    }

    let settings: GRPCClientSettings
    let eventLoop: any EventLoop
    let authority: String
    let host: String
    let port: Int
    let tls: NIOSSLContext?
    let serverName: String?
    private let mailbox = Mutex<[Letter]>([])

    // Loop.
    let flusher: Flusher
    enum Link {
        case idle
        case connecting
        case ready(ClientConnection)
        case waiting(until: NIODeadline, why: String)
        case closed
    }
    var link = Link.idle
    var backoff: Backoff
    /// Calls that wait for the connection.
    var pending: [ClientCall] = []
    private var callCount = 0
    /// All connections alive: the one that takes calls and those that finish theirs.
    var connections: [ObjectIdentifier: ClientConnection] = [:]
    var connectWaiters: [CheckedContinuation<VecraftError?, Never>] = []
    var closeWaiters: [CheckedContinuation<Void, Never>] = []
    var housekeeping: RepeatedTask?
    private lazy var deadlines = DeadlineTimer(eventLoop: self.eventLoop) { [unowned self] in self.expire($0) }

    init(
        host: String, port: Int, tls: GRPCTLS?, settings: GRPCClientSettings, group: any EventLoopGroup
    ) throws(VecraftError) {
        self.settings = settings
        self.eventLoop = group.next()
        self.flusher = Flusher(eventLoop: self.eventLoop)
        self.host = host
        self.port = port
        self.authority = host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
        self.tls = try tls.map { (tls) throws(VecraftError) in try tls.clientContext() }
        let name = tls?.serverName ?? host
        // A name for SNI and verification; an address has none, and is verified as an address.
        self.serverName = (try? SocketAddress(ipAddress: name, port: 0)) == nil ? name : nil
        self.backoff = Backoff(from: settings.minBackoff, upTo: settings.maxBackoff)
    }

    // MARK: Any thread

    func unary(
        _ path: String, _ message: ByteBuffer, _ metadata: GRPCMetadata, _ timeout: Duration?
    ) async throws(VecraftError) -> GRPCReply {
        // The call exists before the continuation, so that cancellation finds it.
        let box = CompletionBox()
        let call = try self.makeUnary(path, message, metadata, timeout) { box.complete($0) }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                box.wait(continuation)
                self.post(.start(call))
            }
        } onCancel: {
            call.cancel()
        }
        return try result.get()
    }

    func unary(
        _ path: String, _ message: ByteBuffer, _ metadata: GRPCMetadata, _ timeout: Duration?,
        _ completion: @escaping ClientCall.Completion
    ) -> GRPCCancellation {
        do throws(VecraftError) {
            let call = try self.makeUnary(path, message, metadata, timeout, completion)
            self.post(.start(call))
            return GRPCCancellation(call: call)
        } catch {
            // Too large to send: told on the loop, like every other outcome.
            let call = ClientCall(
                core: self, path: path, metadata: [:], timeout: nil, request: nil, sendsGzip: false, completion: nil)
            self.eventLoop.execute { [error] in completion(.failure(error)) }
            return GRPCCancellation(call: call)
        }
    }

    private func makeUnary(
        _ path: String, _ message: ByteBuffer, _ metadata: GRPCMetadata, _ timeout: Duration?,
        _ completion: @escaping ClientCall.Completion
    ) throws(VecraftError) -> ClientCall {
        if let error = metadata.oversize("metadata", more: path.utf8.count) { throw error }
        let gzip = message.readableBytes >= self.settings.compressRequestsFrom ?? .max
        var framed = message
        try MessageFraming.seal(&framed, gzip: gzip, limit: self.settings.maxMessageBytes)
        return ClientCall(
            core: self, path: path, metadata: metadata, timeout: timeout, request: framed, sendsGzip: gzip,
            completion: completion)
    }

    func stream(
        _ path: String, _ metadata: GRPCMetadata, _ timeout: Duration?, driver: (any GRPCStreamDriver)? = nil
    ) throws(VecraftError) -> GRPCClientCall {
        if let error = metadata.oversize("metadata", more: path.utf8.count) { throw error }
        let call = ClientCall(
            core: self, path: path, metadata: metadata, timeout: timeout, request: nil,
            sendsGzip: self.settings.compressRequestsFrom != nil, completion: nil)
        let inbox = MessageInbox(call: call, limit: self.settings.maxMessageBytes)
        let outbox = MessageOutbox(
            call: call,
            limits: .init(
                unsent: self.settings.unsentBytes, batch: self.settings.batchBytes,
                message: self.settings.maxMessageBytes,
                gzipFrom: self.settings.compressRequestsFrom))
        // Nobody else has the call yet: the loop gets it with the letter below.
        call.inbox = inbox
        call.outbox = outbox
        if let driver {
            inbox.attach(driver)
            outbox.attach(driver)
        }
        self.post(.start(call))
        return GRPCClientCall(call: call, inbox: inbox, outbox: outbox)
    }

    func connect() async throws(VecraftError) {
        let failure = await withCheckedContinuation { continuation in
            self.eventLoop.execute { self.addConnectWaiter(continuation) }
        }
        if let failure { throw failure }
    }

    func close() async {
        await withCheckedContinuation { continuation in
            self.eventLoop.execute {
                self.closeNow()
                if self.connections.isEmpty { continuation.resume() } else { self.closeWaiters.append(continuation) }
            }
        }
    }

    /// Nobody holds the client any more.
    func abandon() { self.eventLoop.execute { self.closeNow() } }

    /// Letters posted close together share one wake-up of the loop and one flush.
    func post(_ letter: Letter) {
        let mustWake = self.mailbox.withLock { letters in
            letters.append(letter)
            return letters.count == 1
        }
        if mustWake { self.eventLoop.execute { self.openMailbox() } }
    }

    // MARK: Calls, on the loop

    private func openMailbox() {
        let letters = self.mailbox.withLock { letters in
            defer { letters = [] }
            return letters
        }
        self.flusher.batch {
            for letter in letters {
                switch letter {
                case .start(let call): self.start(call)
                case .cancel(let call): self.cancel(call)
                }
            }
        }
    }

    private func start(_ call: ClientCall) {
        // Cancelled before it began.
        guard !call.isOver else { return }
        self.callCount += 1
        call.isCounted = true
        guard self.callCount <= self.settings.maxCalls else {
            return call.finish(
                VecraftError(
                    .resourceExhausted, "\(self.settings.maxCalls) calls are under way", reason: "CLIENT_BUSY"),
                trailers: nil)
        }
        if let deadline = call.deadline {
            guard deadline > .now() else { return call.finish(ClientCore.neverSent, trailers: nil) }
            self.deadlines.add(deadline)
        }
        self.place(call)
    }

    /// A call the server did not look at.
    func restart(_ call: ClientCall) { self.place(call) }

    func place(_ call: ClientCall) {
        switch self.link {
        case .ready(let connection): connection.open(call)
        case .connecting: self.pending.append(call)
        case .idle:
            self.pending.append(call)
            self.beginConnecting()
        case .waiting(let until, let why):
            let now = NIODeadline.now()
            if until <= now {
                self.pending.append(call)
                self.beginConnecting()
            } else {
                let wait = Duration.nanoseconds((until - now).nanoseconds)
                call.finish(
                    VecraftError(.unavailable, why, reason: "CONNECTION_LOST", retryAfter: wait), trailers: nil)
            }
        case .closed: call.finish(ClientCore.closed, trailers: nil)
        }
    }

    private func cancel(_ call: ClientCall) {
        call.fail(VecraftError(.cancelled, "the caller cancelled the call"))
    }

    /// Every call that was started ends here, once.
    func ended(_ call: ClientCall) {
        guard call.isCounted else { return }
        self.callCount -= 1
        for connection in self.connections.values { connection.forget(call) }
        if !self.pending.isEmpty { self.pending.removeAll { $0 === call } }
    }

    private func expire(_ now: NIODeadline) -> NIODeadline {
        var next = NIODeadline.distantFuture
        func look(at calls: [ClientCall], _ error: VecraftError) {
            for call in calls {
                guard let deadline = call.deadline else { continue }
                if deadline <= now { call.fail(error) } else { next = min(next, deadline) }
            }
        }
        look(at: self.connections.values.flatMap(\.openCalls), ClientCore.deadlineExceeded)
        look(at: self.pending, ClientCore.neverSent)
        return next
    }

    private static let deadlineExceeded = VecraftError(.deadlineExceeded, "the deadline passed")
    private static let neverSent = VecraftError(
        .deadlineExceeded, "the deadline passed before there was a connection", reason: VecraftError.notSent)
    static let closed = VecraftError(.cancelled, "the client is closed")
}

/// Hands the completion of a unary call to the task that waits for it. Either may come first: a call made by a task that is
/// cancelled already can be over before its task waits.
private final class CompletionBox: Sendable {
    private enum State {
        case empty
        case waiting(CheckedContinuation<Result<GRPCReply, VecraftError>, Never>)
        case complete(Result<GRPCReply, VecraftError>)
    }
    private let state = Mutex(State.empty)

    func wait(_ continuation: CheckedContinuation<Result<GRPCReply, VecraftError>, Never>) {
        let result = self.state.withLock { state -> Result<GRPCReply, VecraftError>? in
            if case .complete(let result) = state { return result }
            state = .waiting(continuation)
            return nil
        }
        if let result { continuation.resume(returning: result) }
    }

    func complete(_ result: Result<GRPCReply, VecraftError>) {
        let waiting = self.state.withLock { state -> CheckedContinuation<Result<GRPCReply, VecraftError>, Never>? in
            defer { state = .complete(result) }
            if case .waiting(let continuation) = state { return continuation }
            return nil
        }
        waiting?.resume(returning: result)
    }
}
