import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives
import Synchronization

/// One call on the server, from its headers to the close of its stream.
final class ServerCall: WireCall, @unchecked Sendable {
    /// How a unary call ends.
    enum Answer: Sendable {
        /// The buffer was opened by ``MessageFraming``.
        case message(ByteBuffer, trailers: GRPCMetadata?)
        case failure(VecraftError)
    }

    let connection: ServerConnection
    let method: ServedMethod
    let metadata: GRPCMetadata
    /// Changed by the loop alone, before any other thread knows of the call.
    private(set) var deadline: NIODeadline?
    /// It is the method's, not the client's.
    private var isLimited = false
    let started: NIODeadline
    /// Replies may be compressed.
    let repliesGzip: Bool

    // Loop.
    var initialMetadata = GRPCMetadata()
    var trailers = GRPCMetadata()
    /// The status is written, or will never be.
    private(set) var isAnswered = false
    private var isHeadSent = false
    /// What a streaming function threw: sent behind the messages it had sent before.
    var failure: VecraftError?
    /// The initial metadata was too large to send.
    private var metadataError: VecraftError?
    var task: Task<Void, Never>?
    private var message: ByteBuffer?
    private var isDeferred = false
    /// A whole message whose END_STREAM has not come.
    private var early: FramedMessage?
    /// The status names the encodings we know.
    var namesEncodings = false
    private(set) var bytesIn = 0
    /// Reply bytes given to the connection and not known to be sent.
    private(set) var unreadBytes = 0
    /// Request bytes counted in the loop's budget.
    private var heldBytes = 0

    // Any thread: metadata a streaming function adds while the loop may be writing.
    let shared = Mutex<(initial: GRPCMetadata, trailers: GRPCMetadata)>(([:], [:]))

    init(
        connection: ServerConnection, id: HTTP2StreamID, method: ServedMethod, metadata: GRPCMetadata,
        head: RequestHead,
        now: NIODeadline
    ) {
        let settings = connection.loop.core.settings
        self.connection = connection
        self.method = method
        self.metadata = metadata
        self.started = now
        self.deadline = head.timeout.map { now + $0 }
        self.repliesGzip = head.sendsGzip && head.acceptsGzip && settings.compressRepliesFrom != nil
        super.init(
            eventLoop: connection.eventLoop, allocator: connection.allocator, id: id,
            maxMessageBytes: settings.maxMessageBytes, windowBytes: settings.streamWindowBytes)
        self.wire = connection
        self.assembler.allowsCompressed = head.sendsGzip
    }

    var settings: GRPCServerSettings { self.connection.loop.core.settings }

    // MARK: Requests

    func received(_ data: ByteBuffer, windowBytes: Int, isLast: Bool) {
        self.bytesIn += data.readableBytes
        if isLast { self.isRemoteEnded = true }
        guard !self.isAnswered else { return self.credit(windowBytes) }
        do throws(VecraftError) {
            switch self.method.kind {
            case .unary(let handler):
                self.assembler.append(data)
                if isLast { try self.run(handler) } else { try self.waitForMore(windowBytes) }
            case .serverStreaming(let function):
                try self.deliver(data, windowBytes: windowBytes)
                try self.connection.loop.checkBudget()
                if self.outbox == nil { self.start(function) }
                if isLast { self.inbox?.end(.complete, dropQueued: false) }
            case .clientStreaming, .bidirectional:
                try self.deliver(data, windowBytes: windowBytes)
                try self.connection.loop.checkBudget()
                if isLast { self.inbox?.end(.complete, dropQueued: false) }
            }
        } catch {
            self.abort(error)
        }
    }

    /// Part of a unary message: it needs room in the window to arrive, and in the loop's budget to wait.
    private func waitForMore(_ windowBytes: Int) throws(VecraftError) {
        self.holds(moreBytes: windowBytes)
        try self.connection.loop.checkBudget()
        self.credit(windowBytes)
        // Also refuses a message that announces more than the limit before it is all here.
        guard let message = try self.assembler.next() else { return }
        guard self.early == nil else { throw ServerCall.moreThanOne }
        self.early = message
    }

    private static let moreThanOne = VecraftError(.internalError, "more than one request message in a unary call")

    override func holds(moreBytes: Int) {
        self.heldBytes += moreBytes
        self.connection.loop.bufferedBytes += moreBytes
    }

    /// The request ended without more data: by a header block, or an empty frame.
    func receivedEnd() { self.received(ByteBuffer(), windowBytes: 0, isLast: true) }

    private func run(_ handler: GRPCUnaryHandler) throws(VecraftError) {
        var whole = self.early.take()
        if whole == nil { whole = try self.assembler.next() }
        guard let framed = whole else {
            throw VecraftError(.internalError, "the call ended without a whole request message")
        }
        guard self.assembler.partialBytes == 0 else { throw ServerCall.moreThanOne }
        self.releaseHeldBytes()
        if let deadline = self.deadline, deadline <= .now() { throw self.deadlineExceeded }
        let message = try framed.unpacked(limit: self.settings.maxMessageBytes)
        self.message = message
        var reply = MessageFraming.openFrame(capacity: 512, allocator: self.allocator)
        let outcome = try message.withUnsafeReadableBytes { (bytes) throws(VecraftError) in
            try handler(GRPCCall(call: self), bytes, &reply)
        }
        self.message = nil
        switch outcome {
        case .reply: self.finish(.message(reply, trailers: nil))
        case .later where self.isDeferred: break
        case .later: throw VecraftError(.internalError, "the method neither answered nor kept the call")
        }
    }

    /// In the handler.
    func limit(until: NIODeadline) {
        if let deadline = self.deadline, deadline <= until { return }
        self.deadline = until
        self.isLimited = true
        self.connection.watch(until)
    }

    func makeDeferredReply(keepingMessage: Bool) -> GRPCDeferredReply {
        guard let message = self.message else {
            preconditionFailure("deferred() outside the handler of \(self.method.path)")
        }
        self.isDeferred = true
        return GRPCDeferredReply(call: self, message: keepingMessage ? message : ByteBuffer())
    }

    // MARK: Writing, for streaming functions

    override func writeBeginning() {
        guard !self.isHeadSent, !self.isAnswered else { return }
        self.isHeadSent = true
        var initial = self.shared.withLock { $0.initial }
        if let error = initial.oversize("initial metadata") {
            self.metadataError = error
            initial = [:]
        }
        self.connection.writeHeaders(HeaderBlocks.head(gzip: self.repliesGzip, initial: initial), endStream: false, on: self)
    }

    override func writeEnd() {
        guard !self.isAnswered else { return }
        self.trailers = self.shared.withLock { $0.trailers }
        if let failure = self.failure ?? self.metadataError ?? self.trailers.oversize("trailers") {
            self.writeFailure(failure)
        } else if case .clientStreaming = self.method.kind, self.outbox?.totalBytes == 0 {
            self.writeFailure(VecraftError(.internalError, "the method returned without a reply"))
        } else {
            self.writeBeginning()
            self.writeStatus(
                HeaderBlocks.ok(trailers: self.trailers), code: .ok, bytesOut: self.outbox?.totalBytes ?? 0)
        }
        self.settle(cancelled: false)
    }

    // MARK: Answers

    /// Any thread.
    func answer(_ answer: Answer) {
        if self.eventLoop.inEventLoop { self.finish(answer) } else { self.connection.loop.post(answer, for: self) }
    }

    /// Loop. Ends a unary call. The first answer counts.
    func finish(_ answer: Answer) {
        guard !self.isAnswered else { return }
        do throws(VecraftError) {
            switch answer {
            case .failure(let error): throw error
            case .message(var reply, let trailers):
                let gzip = self.repliesGzip && reply.readableBytes >= self.settings.compressRepliesFrom ?? .max
                try MessageFraming.seal(&reply, gzip: gzip, limit: self.settings.maxMessageBytes)
                if let trailers { trailers.append(to: &self.trailers.fields) }
                if let error = self.initialMetadata.oversize("initial metadata") { throw error }
                if let error = self.trailers.oversize("trailers") { throw error }
                self.write(reply)
            }
        } catch {
            self.writeFailure(error)
        }
        self.settle(cancelled: false)
    }

    private func write(_ reply: ByteBuffer) {
        self.isHeadSent = true
        self.connection.writeHeaders(
            HeaderBlocks.head(gzip: self.repliesGzip, initial: self.initialMetadata), endStream: false, on: self)
        // A write may find the connection dead, and then the call is over already.
        guard self.wire != nil else { return }
        self.unreadBytes = reply.readableBytes
        self.connection.unreadBytes += reply.readableBytes
        self.connection.loop.bufferedBytes += reply.readableBytes
        self.connection.writeData(reply, endStream: false, on: self, promise: nil)
        guard self.wire != nil else { return }
        self.writeStatus(HeaderBlocks.ok(trailers: self.trailers), code: .ok, bytesOut: reply.readableBytes)
    }

    private func writeFailure(_ error: VecraftError) {
        if self.trailers.oversize("trailers") != nil { self.trailers = [:] }
        var block = HeaderBlocks.failure(
            error, trailers: self.trailers, trailersOnly: !self.isHeadSent, details: self.settings.statusDetails)
        if self.namesEncodings { block.add(name: "grpc-accept-encoding", value: HeaderBlocks.acceptEncoding) }
        self.writeStatus(.fields(block), code: error.code, bytesOut: self.outbox?.totalBytes ?? 0)
    }

    private func writeStatus(_ block: HeaderBlock, code: VecraftError.Code, bytesOut: Int) {
        self.isAnswered = true
        self.releaseHeldBytes()
        self.connection.writeHeaders(block, endStream: true, on: self)
        self.connection.answered(self, code: code, bytesOut: bytesOut)
    }

    private func reset(_ code: HTTP2ErrorCode) { self.wire?.writeReset(code, on: self) }

    /// Ends a call the service is still working on, or has not begun: bad input, a passed deadline, shutdown.
    func abort(_ error: VecraftError) {
        guard !self.isAnswered else { return }
        // First: whatever the service does when it hears of this must find the call answered.
        self.isAnswered = true
        let isStuck = self.outbox?.hasBatchInFlight ?? false
        let bytesOut = self.outbox?.totalBytes ?? 0
        self.stopFunction(error)
        self.settle(cancelled: true)
        if isStuck {
            // The client does not read: a status would wait behind data for ever, and hold the stream.
            self.releaseHeldBytes()
            self.connection.answered(self, code: error.code, bytesOut: bytesOut)
            self.reset(.cancel)
        } else {
            if self.outbox != nil { self.trailers = self.shared.withLock { $0.trailers } }
            self.writeFailure(error)
        }
    }

    /// Loop. The deadline passed: the client hears so, or, when it has its status but never read it, loses the stream; not at a
    /// deadline that it does not know.
    func expire() {
        if !self.isAnswered { self.abort(self.deadlineExceeded) } else if !self.isLimited { self.reset(.cancel) }
    }

    var deadlineExceeded: VecraftError { VecraftError(.deadlineExceeded, "the deadline passed on the server") }

    /// Loop. The stream is gone: answered, reset by the client, or lost with the connection.
    func closed() {
        self.wire = nil
        self.connection.loop.bufferedBytes -= self.unreadBytes
        self.connection.unreadBytes -= self.unreadBytes
        self.releaseHeldBytes()
        if !self.isAnswered {
            self.isAnswered = true
            self.connection.answered(self, code: .cancelled, bytesOut: self.outbox?.totalBytes ?? 0)
            self.stopFunction(VecraftError(.cancelled, "the client cancelled the call"))
            self.settle(cancelled: true)
        }
        self.inbox = nil
        self.outbox = nil
    }

    private func stopFunction(_ error: VecraftError) {
        self.outbox?.fail(error)
        self.inbox?.end(.failed(error), dropQueued: true)
        self.task?.cancel()
    }

    private func releaseHeldBytes() {
        self.holds(moreBytes: -self.heldBytes)
    }
}
