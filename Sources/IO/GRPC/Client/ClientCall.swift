import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives
import Synchronization

/// One call on the client, from its start to its status.
final class ClientCall: WireCall, @unchecked Sendable {
    typealias Completion = @Sendable (Result<GRPCReply, VecraftError>) -> Void

    let core: ClientCore
    let path: String
    let metadata: GRPCMetadata
    let deadline: NIODeadline?
    /// The framed request of a unary call, kept until the server has begun to answer; nil for a streaming call.
    private let request: ByteBuffer?
    let sendsGzip: Bool

    // Loop.
    private var completion: Completion?
    private(set) var isOver = false
    /// Counted among the client's calls.
    var isCounted = false
    private var hasHead = false
    private var initial = GRPCMetadata()
    private var reply: FramedMessage?
    private var isLocalEnded = false
    /// Sent again by itself once already.
    private var wasRetried = false

    // Any thread.
    private let received = Mutex<(initial: GRPCMetadata?, trailers: GRPCMetadata?)>((nil, nil))

    init(
        core: ClientCore, path: String, metadata: GRPCMetadata, timeout: Duration?, request: ByteBuffer?, sendsGzip: Bool,
        completion: Completion?
    ) {
        self.core = core
        self.path = path
        self.metadata = metadata
        self.deadline = timeout.map { .now() + TimeAmount($0) }
        self.request = request
        self.sendsGzip = sendsGzip
        self.completion = completion
        super.init(
            eventLoop: core.eventLoop, allocator: ByteBufferAllocator(), id: .rootStream,
            maxMessageBytes: core.settings.maxMessageBytes, windowBytes: core.settings.streamWindowBytes)
    }

    var receivedMetadata: (initial: GRPCMetadata?, trailers: GRPCMetadata?) { self.received.withLock { $0 } }

    /// Any thread.
    func cancel() { if !self.isSettled { self.core.post(.cancel(self)) } }

    // MARK: Loop

    /// The connection is there: the request goes out.
    func open(on connection: ClientConnection, id: HTTP2StreamID) {
        self.id = id
        self.wire = connection
        var block = connection.headerPrefix
        block.add(name: ":path", value: self.path)
        connection.fields.forEach { block.add(name: $0.name, value: $0.value) }
        if self.sendsGzip { block.add(name: "grpc-encoding", value: "gzip") }
        if let deadline = self.deadline {
            block.add(name: "grpc-timeout", value: WireText.timeout(deadline - .now()), indexing: .nonIndexable)
        }
        self.metadata.append(to: &block)
        connection.writeHeaders(block, on: id)
        if let request = self.request {
            self.isLocalEnded = true
            connection.writeData(request, endStream: true, on: self, promise: nil)
        } else {
            self.pumpSoon()
        }
    }

    override func writeEnd() {
        guard let wire = self.wire, !self.isLocalEnded else { return }
        self.isLocalEnded = true
        wire.writeData(ByteBuffer(), endStream: true, on: self, promise: nil)
    }

    func received(headers: HPACKHeaders, endStream: Bool) {
        guard !self.isOver else { return }
        let fields = GRPCMetadata(headers)
        if !self.hasHead {
            let status = fields[":status"] ?? ""
            // Informational: the real one follows.
            if status.utf8.first == UInt8(ascii: "1"), !endStream { return }
            guard status == "200" else { return self.fail(StatusText.error(httpStatus: status)) }
            guard fields["content-type"]?.hasPrefix("application/grpc") == true else {
                return self.fail(VecraftError(.unknown, "the server's answer is not gRPC"))
            }
            self.hasHead = true
            self.assembler.allowsCompressed = fields["grpc-encoding"] == "gzip"
            self.initial = fields
            self.received.withLock { $0.initial = fields }
        }
        guard endStream else { return }
        self.isRemoteEnded = true
        self.received.withLock { $0.trailers = fields }
        self.finish(StatusText.error(trailers: fields, details: self.core.settings.statusDetails), trailers: fields)
    }

    func received(_ data: ByteBuffer, windowBytes: Int, isLast: Bool) {
        if isLast { self.isRemoteEnded = true }
        guard !self.isOver else { return }
        do throws(VecraftError) {
            guard self.hasHead else { throw VecraftError(.internalError, "data before the server's header block") }
            if self.inbox != nil {
                try self.deliver(data, windowBytes: windowBytes)
            } else {
                self.assembler.append(data)
                self.credit(windowBytes)
                if let message = try self.assembler.next() {
                    guard self.reply == nil else { throw VecraftError(.internalError, "more than one reply message") }
                    self.reply = message
                }
            }
            if isLast { throw VecraftError(.internalError, "the server ended the call without a status") }
        } catch {
            self.fail(error)
        }
    }

    /// The stream ended without a status.
    func streamClosed(reason: HTTP2ErrorCode?) {
        self.wire = nil
        guard !self.isOver else { return }
        if reason == .refusedStream, self.retry() { return }
        self.finish(StatusText.error(reset: reason), trailers: nil)
    }

    /// The server did not look at this call, and says so: a unary request goes out once more.
    func retry() -> Bool {
        guard self.request != nil, !self.wasRetried, !self.hasHead, !self.isOver else { return false }
        self.wasRetried = true
        self.wire = nil
        self.core.restart(self)
        return true
    }

    /// Ends the call from our side; the server hears a reset.
    func fail(_ error: VecraftError) {
        guard !self.isOver else { return }
        let wire = self.wire
        // Before the reset is written: NIOHTTP2Handler reports the end of the stream from within the write.
        self.finish(error, trailers: nil, dropQueued: true)
        wire?.writeReset(.cancel, on: self)
    }

    /// - Parameter error: nil when the status was OK.
    func finish(_ error: VecraftError?, trailers: GRPCMetadata?, dropQueued: Bool = false) {
        guard !self.isOver else { return }
        self.isOver = true
        // The server needs no more of us: the stream would stay half open.
        if let wire = self.wire, !dropQueued, !self.isLocalEnded { wire.writeReset(.cancel, on: self) }
        self.wire = nil
        self.core.ended(self)
        self.outbox?.fail(error ?? VecraftError(.cancelled, "the server ended the call"))
        self.inbox?.end(error.map { .failed($0) } ?? .complete, dropQueued: dropQueued)
        self.inbox = nil
        self.outbox = nil
        self.settle(cancelled: error != nil)
        if let completion = self.completion.take() { completion(self.result(error, trailers ?? [:])) }
    }

    private func result(_ error: VecraftError?, _ trailers: GRPCMetadata) -> Result<GRPCReply, VecraftError> {
        if let error { return .failure(error) }
        guard let reply = self.reply else {
            return .failure(VecraftError(.internalError, "the call ended without a reply message"))
        }
        do throws(VecraftError) {
            let message = try reply.unpacked(limit: self.core.settings.maxMessageBytes)
            return .success(GRPCReply(message: message, initialMetadata: self.initial, trailers: trailers))
        } catch {
            return .failure(error)
        }
    }
}
