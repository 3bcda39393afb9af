package import NIOCore
import Primitives

/// One unary call in the hands of its handler: borrowed, on the event loop, gone when the handler returns.
/// What must outlive the handler goes through ``deferred()``.
package struct GRPCCall: ~Copyable {
    let call: ServerCall

    /// The full path, "/package.Service/Method".
    package var method: String { self.call.method.path }
    package var metadata: GRPCMetadata { self.call.metadata }
    /// When the client stops waiting; nil when it named no limit.
    package var deadline: NIODeadline? { self.call.deadline }
    package var peer: GRPCPeer { self.call.connection.peer }
    package var eventLoop: any EventLoop { self.call.eventLoop }

    /// True once the client reset the call, its connection went, or its deadline passed.
    /// Stays false inside a synchronous handler: the loop that would notice is busy running it.
    package var isCancelled: Bool { self.call.isCancelled }

    /// The object `GRPCServerSettings.loopLocal` made for this event loop. Only this loop's handlers see it.
    package func loopLocal<Local: AnyObject>(_: Local.Type = Local.self) -> Local {
        guard let local = self.call.connection.loop.loopLocal, type(of: local) == Local.self else {
            preconditionFailure("loopLocal is \(String(describing: self.call.connection.loop.loopLocal)), not \(Local.self)")
        }
        return unsafeDowncast(local, to: Local.self)
    }

    /// Sent before the reply.
    package func addInitialMetadata(_ name: String, _ value: String) { self.call.initialMetadata.add(name, value) }
    /// Sent with the status.
    package func addTrailer(_ name: String, _ value: String) { self.call.trailers.add(name, value) }
    package func addTrailer(_ name: String, binary bytes: [UInt8]) { self.call.trailers.add(name, binary: bytes) }

    /// Takes the call out of the handler's hands: return `.later`, and answer through the object from any thread.
    ///
    /// - Parameter keepingMessage: Whether the request message must outlive the handler; one that need not frees the memory that
    ///   it was received in.
    /// - Parameter until: The call's deadline if the client named none or a later one.
    package func deferred(keepingMessage: Bool = true, until: NIODeadline? = nil) -> GRPCDeferredReply {
        if let until { self.call.limit(until: until) }
        return self.call.makeDeferredReply(keepingMessage: keepingMessage)
    }
}

/// The other end of a connection.
package final class GRPCPeer: Sendable {
    /// "10.0.0.7:51334", "[::1]:51334".
    package let address: String
    package let isTLS: Bool
    /// The client's own certificate (DER), verified against the server's trust roots; nil without mutual TLS.
    package let certificate: [UInt8]?

    init(address: String, isTLS: Bool, certificate: [UInt8]?) {
        self.address = address
        self.isTLS = isTLS
        self.certificate = certificate
    }
}
