import NIOCore
import NIOHTTP1
package import NIOPosix
package import NIOSSL
package import Primitives

/// One request and its answer, over a connection of its own: what the command line and tests need, and no more.
package struct HTTPClient: Sendable {
    package let host: String
    package let port: Int
    /// Nil speaks plain HTTP.
    package var tls: TLSConfiguration?
    /// Made from a configuration once, for many requests; goes before `tls`.
    package var context: NIOSSLContext?
    /// Of the whole exchange, connecting included.
    package var timeout = Duration.seconds(10)
    /// Longest answer taken. Bytes.
    package var maximumBytes = Limits.messageBytes

    private let eventLoops: MultiThreadedEventLoopGroup

    package init(
        host: String = "127.0.0.1", port: Int, tls: TLSConfiguration? = nil,
        eventLoops: MultiThreadedEventLoopGroup = .singleton
    ) {
        self.host = host
        self.port = port
        self.tls = tls
        self.eventLoops = eventLoops
    }

    package struct Reply: Sendable {
        package let status: Int
        package let headers: [(name: String, value: String)]
        package let body: [UInt8]

        /// The first value of a header, by name in any case.
        package func header(_ name: String) -> String? {
            self.headers.first { $0.name.lowercased() == name.lowercased() }?.value
        }
        package var text: String { String(decoding: self.body, as: UTF8.self) }
    }

    package func get(_ path: String, headers: [(String, String)] = []) async throws(VecraftError) -> Reply {
        try await self.send("GET", path, headers: headers)
    }

    /// Sends JSON.
    package func post(
        _ path: String, json: String, headers: [(String, String)] = []
    ) async throws(VecraftError) -> Reply {
        try await self.send(
            "POST", path, headers: [("content-type", "application/json")] + headers, body: Array(json.utf8))
    }

    /// - Throws: `.unavailable` if there is no connection or it breaks, `.deadlineExceeded` past the timeout,
    ///   `.resourceExhausted` if the answer is too long. An HTTP error status is an answer, not an error.
    package func send(
        _ method: String, _ path: String, headers: [(String, String)] = [], body: [UInt8] = []
    ) async throws(VecraftError) -> Reply {
        var head = HTTPRequestHead(version: .http1_1, method: HTTPMethod(rawValue: method), uri: path)
        let host = self.host.contains(":") ? "[\(self.host)]" : self.host
        head.headers.add(name: "host", value: "\(host):\(self.port)")
        head.headers.add(name: "connection", value: "close")
        if !body.isEmpty { head.headers.add(name: "content-length", value: String(body.count)) }
        for (name, value) in headers { head.headers.add(name: name, value: value) }
        let promise = self.eventLoops.next().makePromise(of: Reply.self)
        let request = head
        let limit = self.maximumBytes
        let tls = self.tls
        let timeout = TimeAmount.nanoseconds(
            self.timeout.components.seconds * 1_000_000_000 + self.timeout.components.attoseconds / 1_000_000_000)
        let deadline = promise.futureResult.eventLoop.scheduleTask(in: timeout) {
            promise.fail(VecraftError(.deadlineExceeded, "no answer from \(self.host):\(self.port) in time"))
        }
        do {
            let context = try self.context ?? tls.map { try NIOSSLContext(configuration: $0) }
            let connecting = ClientBootstrap(group: promise.futureResult.eventLoop)
                .connectTimeout(timeout)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        let pipeline = channel.pipeline.syncOperations
                        if let context {
                            // An address is not a name that SNI can carry (RFC 6066, section 3).
                            let name = (try? SocketAddress(ipAddress: self.host, port: 0)) == nil ? self.host : nil
                            try pipeline.addHandler(NIOSSLClientHandler(context: context, serverHostname: name))
                        }
                        try pipeline.addHTTPClientHandlers()
                        try pipeline.addHandler(Exchange(request, body, limit: limit, promise: promise))
                    }
                }
                .connect(host: self.host, port: self.port)
            connecting.whenFailure { error in
                promise.fail(VecraftError(.unavailable, "cannot connect to \(self.host):\(self.port): \(error)"))
            }
            promise.futureResult.whenComplete { _ in
                deadline.cancel()
                connecting.whenSuccess { $0.close(promise: nil) }
            }
            return try await promise.futureResult.get()
        } catch let error as VecraftError {
            throw error
        } catch {
            promise.fail(error)
            throw VecraftError(.unavailable, "no answer from \(self.host):\(self.port): \(error)")
        }
    }

    /// Sends the request when connected, gathers the answer, fulfils the promise once.
    private final class Exchange: ChannelInboundHandler {
        typealias InboundIn = HTTPClientResponsePart
        typealias OutboundOut = HTTPClientRequestPart

        private let head: HTTPRequestHead
        private let body: [UInt8]
        private let limit: Int
        private let promise: EventLoopPromise<Reply>
        private var status: HTTPResponseHead?
        private var gathered: [UInt8] = []

        init(_ head: HTTPRequestHead, _ body: [UInt8], limit: Int, promise: EventLoopPromise<Reply>) {
            self.head = head
            self.body = body
            self.limit = limit
            self.promise = promise
        }

        func channelActive(context: ChannelHandlerContext) {
            context.write(self.wrapOutboundOut(.head(self.head)), promise: nil)
            if !self.body.isEmpty {
                context.write(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(bytes: self.body)))), promise: nil)
            }
            context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
            context.fireChannelActive()
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head): self.status = head
            case .body(let bytes):
                guard self.gathered.count + bytes.readableBytes <= self.limit else {
                    self.promise.fail(VecraftError(.resourceExhausted, "the answer is longer than \(self.limit) bytes"))
                    context.close(promise: nil)
                    return
                }
                self.gathered.append(contentsOf: bytes.readableBytesView)
            case .end:
                guard let head = self.status else { return }
                self.promise.succeed(
                    Reply(
                        status: Int(head.status.code), headers: head.headers.map { ($0.name, $0.value) },
                        body: self.gathered))
                context.close(promise: nil)
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            self.promise.fail(VecraftError(.unavailable, "the connection closed before the answer"))
            context.fireChannelInactive()
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            self.promise.fail(VecraftError(.unavailable, "the connection failed: \(error)"))
            context.close(promise: nil)
        }
    }
}
