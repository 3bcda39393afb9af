import NIOCore
import NIOHTTP2
import NIOSSL
import Primitives

/// The server's end of one connection.
final class ServerConnection: HTTP2Server {
    let loop: ServerLoop
    private let core: ServerCore
    private(set) var allocator = ByteBufferAllocator()
    private(set) var peer = GRPCPeer(address: "", isTLS: false, certificate: nil)
    /// The last call that was taken.
    private var lastCallID = HTTP2StreamID.rootStream
    /// Reply bytes the client has not taken.
    var unreadBytes = 0
    private var bytesIn = 0
    private var bytesOut = 0

    private enum Phase { case opening, serving, draining, lastCalls, closing }
    private var phase = Phase.opening
    private let opened = NIODeadline.now()
    private var idleSince = NIODeadline.now()
    private var silentSince = NIODeadline.now()
    private var pingSentAt: NIODeadline?
    private lazy var deadlines = DeadlineTimer(eventLoop: self.eventLoop) { [unowned self] in self.expire($0) }

    private static let keepalivePing: UInt64 = 0x7665_6372_6166_7401
    private static let drainPing: UInt64 = 0x7665_6372_6166_7402
    private static let closePing: UInt64 = 0x7665_6372_6166_7404

    init(loop: ServerLoop) {
        self.loop = loop
        self.core = loop.core
        super.init(flusher: loop.flusher, limits: loop.core.limits)
    }

    /// Every stream of ours is a call.
    private static func call(_ stream: HTTP2Stream) -> ServerCall { unsafeDowncast(stream, to: ServerCall.self) }

    // MARK: Life

    override func connectionActive() {
        if let channel = self.context?.channel { self.allocator = channel.allocator }
        self.loop.add(self)
        self.core.observer?.connectionOpened()
        if self.core.isDraining { self.close() }
    }

    override func receivedSettings() {
        guard self.phase == .opening else { return }
        self.phase = .serving
        guard let context = self.context else { return }
        let tls = try? context.pipeline.syncOperations.handler(type: NIOSSLServerHandler.self)
        self.peer = GRPCPeer(
            address: ServerConnection.text(context.channel.remoteAddress), isTLS: tls != nil,
            certificate: tls?.peerCertificate.flatMap { try? $0.toDERBytes() })
        if self.core.isDraining { self.drain() }
    }

    private static func text(_ address: SocketAddress?) -> String {
        guard let address, let ip = address.ipAddress, let port = address.port else { return "unknown" }
        return ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)"
    }

    override func connectionInactive(_ streams: [HTTP2Stream]) {
        self.phase = .closing
        for stream in streams { ServerConnection.call(stream).closed() }
        self.loop.remove(self)
        self.core.observer?.connectionClosed(bytesIn: self.bytesIn, bytesOut: self.bytesOut)
    }

    // MARK: Frames

    override func received(_ block: RequestBlock, endStream: Bool, on id: HTTP2StreamID) throws(HTTP2Fault) {
        guard self.phase != .lastCalls, self.phase != .closing else {
            // Beyond the last call announced; refused, a client knows that it may send it elsewhere.
            return self.refuse(.refusedStream, id)
        }
        self.lastCallID = id
        switch block.verdict {
        case .malformed:
            try self.countStreamError()
            self.refuse(.protocolError, id)
        case .refused(let answer): self.answer(id, .fields(answer), remoteEnded: endStream)
        case .call(let head): self.open(id, head, block, endStream: endStream)
        }
    }

    private func open(_ id: HTTP2StreamID, _ head: RequestHead, _ block: RequestBlock, endStream: Bool) {
        let now = NIODeadline.now()
        let method = block.method ?? self.core.methods[head.path]
        block.method = method
        let call = ServerCall(
            connection: self, id: id, method: method ?? self.core.unknownMethod, metadata: GRPCMetadata(block.fields), head: head,
            now: now)
        self.open(call, endStream: endStream)
        self.core.observer?.callStarted(method: call.method.index)
        do throws(VecraftError) {
            guard method != nil else { throw VecraftError(.unimplemented, "unknown method \(head.path)") }
            if let encoding = head.unknownEncoding {
                call.namesEncodings = true
                throw VecraftError(.unimplemented, "grpc-encoding \(encoding) is not supported; identity and gzip are")
            }
            try self.loop.checkBudget()
            try self.checkUnread()
            if let deadline = call.deadline {
                if deadline <= now { throw call.deadlineExceeded }
                self.deadlines.add(deadline)
            }
        } catch {
            return call.abort(error)
        }
        switch call.method.kind {
        case .unary: break
        case .serverStreaming: call.makeInbox()
        case .clientStreaming(let function), .bidirectional(let function):
            call.makeInbox()
            call.start(function)
        }
        if endStream { call.receivedEnd() }
    }

    private func checkUnread() throws(VecraftError) {
        guard self.unreadBytes <= self.core.settings.unreadReplyBytesPerConnection else {
            throw VecraftError(
                .resourceExhausted, "\(self.unreadBytes) reply bytes of this connection are unread",
                reason: "REPLIES_UNREAD", retryAfter: .seconds(1))
        }
    }

    override func receivedEnd(of stream: HTTP2Stream) { ServerConnection.call(stream).receivedEnd() }

    override func received(data: ByteBuffer, windowBytes: Int, isLast: Bool, on stream: HTTP2Stream) {
        self.bytesIn += data.readableBytes
        ServerConnection.call(stream).received(data, windowBytes: windowBytes, isLast: isLast)
    }

    override func closed(_ stream: HTTP2Stream) {
        ServerConnection.call(stream).closed()
        if self.streams.isEmpty { self.becameIdle() }
    }

    private func becameIdle() {
        switch self.phase {
        case .lastCalls: self.closeWhenRead()
        // Only the second of an hour matters here, and keepHouse sets it: no clock is read for it per call.
        case .opening, .serving, .draining, .closing: break
        }
    }

    func answered(_ call: ServerCall, code: VecraftError.Code, bytesOut: Int) {
        self.bytesOut += bytesOut
        guard let observer = self.core.observer else { return }
        let nanoseconds = (NIODeadline.now() - call.started).nanoseconds
        observer.callFinished(
            method: call.method.index, code: code, seconds: Double(nanoseconds) / 1e9, bytesIn: call.bytesIn,
            bytesOut: bytesOut)
    }

    // MARK: Deadlines

    func watch(_ deadline: NIODeadline) { self.deadlines.add(deadline) }

    private func expire(_ now: NIODeadline) -> NIODeadline {
        var next = NIODeadline.distantFuture
        // Copied: a call that expires leaves.
        for stream in Array(self.streams.values) {
            let call = ServerConnection.call(stream)
            guard let deadline = call.deadline else { continue }
            if deadline <= now { call.expire() } else { next = min(next, deadline) }
        }
        return next
    }

    // MARK: Keepalive and idleness

    /// Every second.
    func keepHouse(now: NIODeadline) {
        let settings = self.core.settings
        if self.hasRead {
            self.hasRead = false
            self.silentSince = now
            self.pingSentAt = nil
        }
        if !self.streams.isEmpty { self.idleSince = now }
        switch self.phase {
        case .opening:
            if now - self.opened > TimeAmount(settings.handshakeTimeout) { self.close() }
        case .serving, .draining, .lastCalls:
            if let sent = self.pingSentAt {
                if now - sent > TimeAmount(settings.keepaliveTimeout) { self.close() }
            } else if now - self.silentSince > TimeAmount(settings.keepaliveInterval) {
                self.pingSentAt = now
                self.writePing(ServerConnection.keepalivePing, ack: false)
            }
            if self.phase == .serving, let idle = settings.maxConnectionIdle, now - self.idleSince > TimeAmount(idle) {
                self.drain()
            }
        case .closing: break
        }
    }

    // MARK: The end

    /// GOAWAY twice (RFC 9113, 6.8): first "no more, soon", then, when the client has surely read that, the last call we took.
    func drain() {
        switch self.phase {
        case .opening: self.close()
        case .serving:
            self.phase = .draining
            self.writeGoAway(last: .maxID, code: .noError)
            self.writePing(ServerConnection.drainPing, ack: false)
            // A client that answers no PING is not waited for.
            self.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(500)) { self.announceLastCall() }
        case .draining, .lastCalls, .closing: break
        }
    }

    override func receivedPingAck(_ data: UInt64) {
        if data == ServerConnection.drainPing { self.announceLastCall() }
        if data == ServerConnection.closePing { self.close() }
    }

    private func announceLastCall() {
        guard self.phase == .draining else { return }
        self.phase = .lastCalls
        self.writeGoAway(last: self.lastCallID, code: .noError)
        if self.streams.isEmpty { self.closeWhenRead() }
    }

    /// The grace is over.
    func endCalls() {
        for stream in Array(self.streams.values) {
            ServerConnection.call(stream).abort(VecraftError(.unavailable, "the server is shutting down", reason: "SHUTTING_DOWN"))
        }
        self.closeWhenRead()
    }

    /// Closes once the client has read what was written: a socket closed earlier, with something of the client's unread,
    /// resets the connection, and a reset overtakes what is still under way.
    private func closeWhenRead() {
        guard self.phase != .closing else { return }
        self.phase = .closing
        self.writePing(ServerConnection.closePing, ack: false)
        // A client that does not read is not waited for.
        self.eventLoop.assumeIsolated().scheduleTask(in: .seconds(1)) { self.close() }
    }
}

extension ServerLoop {
    /// - Throws: RESOURCE_EXHAUSTED while this loop holds more than its share of unfinished messages.
    func checkBudget() throws(VecraftError) {
        guard self.bufferedBytes <= self.core.settings.bufferedBytesPerLoop else {
            throw VecraftError(
                .resourceExhausted, "\(self.bufferedBytes) bytes of unfinished messages are held",
                reason: "SERVER_BUFFERS_FULL", retryAfter: .seconds(1))
        }
    }
}
