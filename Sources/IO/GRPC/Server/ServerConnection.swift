import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOSSL
import Primitives

/// The server's end of one connection.
final class ServerConnection: HTTP2Connection {
    let loop: ServerLoop
    private let core: ServerCore
    private(set) var allocator = ByteBufferAllocator()
    private(set) var peer = GRPCPeer(address: "", isTLS: false, certificate: nil)
    private var calls: [HTTP2StreamID: ServerCall] = [:]
    private var lastStreamID = HTTP2StreamID.rootStream
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
    /// Calls refused before they became one, whose client has not ended them yet.
    private var refused: Set<HTTP2StreamID> = []

    private static let keepalivePing = HTTP2PingData(withInteger: 0x7665_6372_6166_7401)
    private static let drainPing = HTTP2PingData(withInteger: 0x7665_6372_6166_7402)
    private static let closePing = HTTP2PingData(withInteger: 0x7665_6372_6166_7404)

    init(loop: ServerLoop) {
        self.loop = loop
        self.core = loop.core
        super.init(flusher: loop.flusher, windowBytes: loop.core.settings.connectionWindowBytes)
    }

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

    override func connectionInactive() {
        self.phase = .closing
        let open = self.calls
        self.calls = [:]
        for call in open.values { call.closed() }
        self.loop.remove(self)
        self.core.observer?.connectionClosed(bytesIn: self.bytesIn, bytesOut: self.bytesOut)
    }

    // MARK: Frames

    override func received(headers: HTTP2Frame.FramePayload.Headers, on id: HTTP2StreamID) {
        if let call = self.calls[id] {
            // Trailers of a client: gRPC has none, but they end the request.
            if headers.endStream { call.receivedEnd() }
            return
        }
        // What follows on a refused stream is its end at most, however it looks.
        if self.refused.contains(id) { return }
        guard self.phase != .lastCalls, self.phase != .closing else {
            // Beyond the last call announced; refused, a client knows that it may send it elsewhere.
            return self.write(.rstStream(.refusedStream), on: id)
        }
        self.lastStreamID = max(self.lastStreamID, id)
        switch RequestHead.read(headers.headers) {
        case .malformed: self.write(.rstStream(.protocolError), on: id)
        case .refused(let block): self.refuse(id, block, remoteEnded: headers.endStream)
        case .call(let head): self.open(id, head, headers)
        }
    }

    private func open(_ id: HTTP2StreamID, _ head: RequestHead, _ headers: HTTP2Frame.FramePayload.Headers) {
        let now = NIODeadline.now()
        let method = self.core.methods[head.path]
        let call = ServerCall(
            connection: self, id: id, method: method ?? self.core.unknownMethod,
            metadata: GRPCMetadata(headers.headers),
            head: head, now: now)
        call.isRemoteEnded = headers.endStream
        self.calls[id] = call
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
        if headers.endStream { call.receivedEnd() }
    }

    private func checkUnread() throws(VecraftError) {
        guard self.unreadBytes <= self.core.settings.unreadReplyBytesPerConnection else {
            throw VecraftError(
                .resourceExhausted, "\(self.unreadBytes) reply bytes of this connection are unread",
                reason: "REPLIES_UNREAD", retryAfter: .seconds(1))
        }
    }

    private func refuse(_ id: HTTP2StreamID, _ block: HPACKHeaders, remoteEnded: Bool) {
        guard !remoteEnded else { return self.writeHeaders(block, endStream: true, on: id) }
        self.refused.insert(id)
        let sent = self.eventLoop.makePromise(of: Void.self)
        sent.futureResult.assumeIsolated().whenSuccess {
            if self.refused.contains(id) { self.write(.rstStream(.noError), on: id) }
        }
        self.writeHeaders(block, endStream: true, on: id, promise: sent)
    }

    override func received(data: ByteBuffer, windowBytes: Int, isLast: Bool, on id: HTTP2StreamID) {
        self.bytesIn += data.readableBytes
        self.calls[id]?.received(data, windowBytes: windowBytes, isLast: isLast)
    }

    override func streamClosed(_ id: HTTP2StreamID, reason: HTTP2ErrorCode?) {
        guard let call = self.calls.removeValue(forKey: id) else {
            self.refused.remove(id)
            return
        }
        call.closed()
        if self.calls.isEmpty { self.becameIdle() }
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

    private func expire(_ now: NIODeadline) -> NIODeadline {
        var next = NIODeadline.distantFuture
        for call in self.calls.values {
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
        if !self.calls.isEmpty { self.idleSince = now }
        switch self.phase {
        case .opening:
            if now - self.opened > TimeAmount(settings.handshakeTimeout) { self.close() }
        case .serving, .draining, .lastCalls:
            if let sent = self.pingSentAt {
                if now - sent > TimeAmount(settings.keepaliveTimeout) { self.close() }
            } else if now - self.silentSince > TimeAmount(settings.keepaliveInterval) {
                self.pingSentAt = now
                self.write(.ping(ServerConnection.keepalivePing, ack: false), on: .rootStream)
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
            self.writeGoAway(last: .maxID)
            self.write(.ping(ServerConnection.drainPing, ack: false), on: .rootStream)
            // A client that answers no PING is not waited for.
            self.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(500)) { self.announceLastCall() }
        case .draining, .lastCalls, .closing: break
        }
    }

    override func receivedPingAck(_ data: HTTP2PingData) {
        if data == ServerConnection.drainPing { self.announceLastCall() }
        if data == ServerConnection.closePing { self.close() }
    }

    private func announceLastCall() {
        guard self.phase == .draining else { return }
        self.phase = .lastCalls
        self.writeGoAway(last: self.lastStreamID)
        if self.calls.isEmpty { self.closeWhenRead() }
    }

    /// Written past NIOHTTP2Handler. Once that has seen a GOAWAY go out it begins no stream any more and takes the data of a
    /// request that crossed the GOAWAY for a connection error, and the calls still running are lost with the connection.
    private func writeGoAway(last: HTTP2StreamID) {
        guard self.isActive,
            let context = try? self.context?.pipeline.syncOperations.context(handlerType: NIOHTTP2Handler.self)
        else { return }
        var frame = ByteBuffer()
        // RFC 9113, 4.1 and 6.8: 8 bytes of type 7, no flags, stream 0; the last stream and NO_ERROR.
        frame.writeInteger(UInt32(8 << 8 | 7))
        frame.writeInteger(UInt8(0))
        frame.writeInteger(UInt32(0))
        frame.writeInteger(UInt32(Int(last)))
        frame.writeInteger(UInt32(0))
        context.writeAndFlush(NIOAny(frame), promise: nil)
    }

    /// The grace is over.
    func endCalls() {
        for call in Array(self.calls.values) {
            call.abort(VecraftError(.unavailable, "the server is shutting down", reason: "SHUTTING_DOWN"))
        }
        self.closeWhenRead()
    }

    /// Closes once the client has read what was written: a socket closed earlier, with something of the client's unread,
    /// resets the connection, and a reset overtakes what is still under way.
    private func closeWhenRead() {
        guard self.phase != .closing else { return }
        self.phase = .closing
        self.write(.ping(ServerConnection.closePing, ack: false), on: .rootStream)
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
