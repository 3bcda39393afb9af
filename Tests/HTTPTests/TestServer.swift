import Dispatch
import Foundation
import Glibc
import HTTP
import Logging
import NIOCore
import NIOSSL
import Observability
import Primitives

/// A server on a free port for the length of one closure.
func withServer(
    _ routes: [HTTPRoute], registry: MetricsRegistry = MetricsRegistry(),
    change: (inout HTTPServerSettings) -> Void = { _ in },
    _ body: (_ client: HTTPClient, _ server: HTTPServer) async throws -> Void
) async throws {
    var settings = HTTPServerSettings(port: 0)
    change(&settings)
    let (ports, bound) = AsyncStream.makeStream(of: Int.self, bufferingPolicy: .bufferingNewest(1))
    let server = try HTTPServer(
        settings, routes: routes, registry: registry, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
        onBound: { bound.yield($0) })
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { bound.finish() }
            try await server.run()
        }
        var iterator = ports.makeAsyncIterator()
        guard let port = await iterator.next() else {
            try await group.waitForAll()
            return
        }
        do {
            try await body(.patient(HTTPClient(port: port)), server)
        } catch {
            await server.shutDown()
            throw error
        }
        await server.shutDown()
        try await group.waitForAll()
    }
}

/// A TCP connection that says exactly what it is told to.
final class RawConnection: Sendable {
    private let descriptor: Int32

    init(port: Int) throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(UInt16(port)).bigEndian
        address.sin_addr.s_addr = inet_addr("127.0.0.1")
        // A test that waits for what never comes should fail, not hang.
        var patience = timeval(tv_sec: 300, tv_usec: 0)
        setsockopt(self.descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw VecraftError(.unavailable, "connect: \(errno)") }
    }

    deinit { close(self.descriptor) }

    func send(_ text: String) {
        let bytes = Array(text.utf8)
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes {
                Glibc.send(self.descriptor, $0.baseAddress! + done, bytes.count - done, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { return }
            done += count
        }
    }

    /// Nothing more will be sent; the answer can still be read.
    func endSending() { shutdown(self.descriptor, Int32(SHUT_WR)) }

    /// What arrives until `enough` says so or the other side closes.
    func receive(until enough: @escaping @Sendable (String) -> Bool) async -> String {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async {
                var gathered: [UInt8] = []
                var chunk = [UInt8](repeating: 0, count: 4_096)
                while !enough(String(decoding: gathered, as: UTF8.self)) {
                    let count = recv(self.descriptor, &chunk, chunk.count, 0)
                    if count <= 0 { break }
                    gathered += chunk[..<count]
                }
                continuation.resume(returning: String(decoding: gathered, as: UTF8.self))
            }
        }
    }

    /// Everything until the other side closes.
    func receiveAll() async -> String { await self.receive { _ in false } }
}

/// The members of a problem document, as text.
func problem(_ reply: HTTPClient.Reply) throws -> [String: String] {
    let object = try JSONSerialization.jsonObject(with: Data(reply.body)) as? [String: Any] ?? [:]
    return object.mapValues { "\($0)" }
}

extension HTTPClient {
    /// On a busy machine a test may stand still for long; what is tested is the answer, not its time.
    static func patient(_ client: HTTPClient) -> HTTPClient {
        var client = client
        client.timeout = .seconds(300)
        return client
    }
}
