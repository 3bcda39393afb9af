import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOSSL
import Primitives

/// The client's end of one connection.
final class ClientConnection: HTTP2Connection {
    private unowned let core: ClientCore
    private var calls: [HTTP2StreamID: ClientCall] = [:]
    private var nextStreamID = 1
    private(set) var isReady = false
    /// The one channel of an attempt that counts.
    var isAdopted = false
    /// No new call may start here.
    private(set) var isRetiring = false
    private var failure: (any Error)?
    private var silentSince = NIODeadline.now()
    private var pingSentAt: NIODeadline?
    /// The fields every request begins with, and those that follow the path.
    let headerPrefix: HPACKHeaders
    let fields: HPACKHeaders

    private static let keepalivePing = HTTP2PingData(withInteger: 0x7665_6372_6166_7403)

    init(core: ClientCore, isTLS: Bool) {
        self.core = core
        self.headerPrefix = [
            ":method": "POST", ":scheme": isTLS ? "https" : "http", ":authority": core.authority,
        ]
        self.fields = [
            "te": "trailers", "content-type": "application/grpc", "grpc-accept-encoding": HeaderBlocks.acceptEncoding,
            "user-agent": "grpc-vecraft \(core.settings.userAgent)",
        ]
        super.init(flusher: core.flusher, windowBytes: core.settings.connectionWindowBytes)
    }

    var isIdle: Bool { self.calls.isEmpty }

    func open(_ call: ClientCall) {
        let id = HTTP2StreamID(self.nextStreamID)
        self.nextStreamID += 2
        // Stream numbers are used up after a thousand million calls; the next one is made on a new connection.
        if self.nextStreamID >= Int(Int32.max) - 2 { self.retire() }
        self.calls[id] = call
        call.open(on: self, id: id)
    }

    func forget(_ call: ClientCall) {
        // Another connection's call may have the same number.
        guard self.calls[call.id] === call else { return }
        self.calls[call.id] = nil
        if self.isRetiring, self.calls.isEmpty { self.close() }
    }

    func retire() {
        guard !self.isRetiring else { return }
        self.isRetiring = true
        // Others are not the core's, and may outlive it.
        if self.isAdopted { self.core.connectionRetired(self) }
        if self.calls.isEmpty { self.close() }
    }

    var openCalls: [ClientCall] { Array(self.calls.values) }

    // MARK: Frames

    override func receivedSettings() {
        guard !self.isReady else { return }
        guard self.isServerProven else {
            self.failure = VecraftError(
                .unavailable, "the server's certificate is not for \(self.core.serverName ?? "it")")
            return self.close()
        }
        self.isReady = true
        if self.isAdopted { self.core.connectionReady(self) }
    }

    /// NIOSSL is content when either the name or the address stands in the certificate; asked for a name, we want the name.
    private var isServerProven: Bool {
        guard let name = self.core.serverName,
            let tls = try? self.context?.pipeline.syncOperations.handler(type: NIOSSLClientHandler.self)
        else { return true }
        return tls.peerCertificate.map { ServerName.stands(name, in: $0) } ?? false
    }

    override func received(headers: HTTP2Frame.FramePayload.Headers, on id: HTTP2StreamID) {
        self.calls[id]?.received(headers: headers.headers, endStream: headers.endStream)
    }

    override func received(data: ByteBuffer, windowBytes: Int, isLast: Bool, on id: HTTP2StreamID) {
        self.calls[id]?.received(data, windowBytes: windowBytes, isLast: isLast)
    }

    override func streamClosed(_ id: HTTP2StreamID, reason: HTTP2ErrorCode?) {
        guard let call = self.calls.removeValue(forKey: id) else { return }
        call.streamClosed(reason: reason)
        if self.isRetiring, self.calls.isEmpty { self.close() }
    }

    override func receivedGoAway(lastStreamID: HTTP2StreamID, code: HTTP2ErrorCode) {
        self.retire()
        for (id, call) in self.calls where id > lastStreamID {
            self.calls[id] = nil
            if !call.retry() {
                call.wire = nil
                call.finish(VecraftError(.unavailable, "the server is going away"), trailers: nil)
            }
        }
        if self.calls.isEmpty { self.close() }
    }

    override func connectionFailed(_ error: any Error) { self.failure = self.failure ?? error }

    override func connectionInactive() {
        let reason = self.failure.map { "connection lost: \($0)" } ?? "connection lost"
        let open = self.calls
        self.calls = [:]
        if self.isAdopted { self.core.connectionLost(self, reason) }
        for call in open.values {
            call.wire = nil
            call.finish(VecraftError(.unavailable, reason, reason: "CONNECTION_LOST"), trailers: nil)
        }
    }

    /// Every second.
    func keepHouse(now: NIODeadline) {
        if self.hasRead || self.calls.isEmpty {
            self.hasRead = false
            self.silentSince = now
            self.pingSentAt = nil
        } else if let sent = self.pingSentAt {
            if now - sent > TimeAmount(self.core.settings.keepaliveTimeout) {
                self.failure = VecraftError(.unavailable, "no answer to a keepalive PING")
                self.close()
            }
        } else if now - self.silentSince > TimeAmount(self.core.settings.keepaliveInterval) {
            self.pingSentAt = now
            self.write(.ping(ClientConnection.keepalivePing, ack: false), on: .rootStream)
        }
    }
}
