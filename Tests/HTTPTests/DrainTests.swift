import HTTP
import Primitives
import Testing

@Suite(.serialized) struct DrainTests {
    @Test func aRequestUnderWayIsAnsweredAndIdleConnectionsAreClosed() async throws {
        let (entered, enter) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let (released, release) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let slow = HTTPRoute(.get, "/slow") { _ in
            enter.yield()
            for await _ in released { break }
            return .text("done")
        }
        let quick = HTTPRoute(.get, "/quick") { _ in .text("quick") }
        // However long a busy machine takes: nothing is to be cancelled here.
        try await withServer([slow, quick], change: { $0.drainTimeout = .seconds(600) }) {
            client, server async throws in
            let idle = try RawConnection(port: client.port)
            idle.send("GET /quick HTTP/1.1\r\nhost: x\r\n\r\n")
            #expect(await idle.receive { $0.hasSuffix("quick") }.hasSuffix("quick"))

            let busy = try RawConnection(port: client.port)
            busy.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
            for await _ in entered { break }
            await server.shutDown()
            #expect(await idle.receiveAll() == "")
            release.yield()
            let answer = await busy.receiveAll()
            #expect(answer.hasPrefix("HTTP/1.1 200"))
            #expect(answer.hasSuffix("done"))
            await #expect(throws: VecraftError.self) { try await client.get("/quick") }
        }
    }

    @Test func aRequestThatDoesNotEndIsCancelledAfterTheDrainTimeout() async throws {
        let (entered, enter) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        let stuck = HTTPRoute(.get, "/stuck") { _ in
            enter.yield()
            try await Task.sleep(for: .seconds(3_600))
            return .empty
        }
        // `withServer` returns only when the server has; that it returns is the test.
        try await withServer([stuck], change: { $0.drainTimeout = .milliseconds(50) }) { client, server async throws in
            let raw = try RawConnection(port: client.port)
            raw.send("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n")
            for await _ in entered { break }
            await server.shutDown()
            _ = await raw.receiveAll()
        }
    }
}
