import HTTP
import Primitives
import TestSupport
import Testing

@Suite(.serialized) struct ClientTests {
    @Test func nobodyThereIsUnavailable() async throws {
        let nobody = FreePorts.Silent()
        let client = HTTPClient.patient(HTTPClient(port: nobody.port))
        let error = await #expect(throws: VecraftError.self) { try await client.get("/") }
        #expect(error?.code == .unavailable)
        withExtendedLifetime(nobody) {}
    }

    @Test func anAnswerThatDoesNotComeIsADeadlineExceeded() async throws {
        let route = HTTPRoute(.get, "/") { _ in
            try await Task.sleep(for: .seconds(3_600))
            return .empty
        }
        try await withServer([route], change: { $0.drainTimeout = .milliseconds(10) }) { client, _ async throws in
            var client = client
            client.timeout = .milliseconds(50)
            let error = await #expect(throws: VecraftError.self) { try await client.get("/") }
            #expect(error?.code == .deadlineExceeded)
        }
    }

    @Test func anAnswerThatIsTooLongIsRefused() async throws {
        let route = HTTPRoute(.get, "/") { _ in .text(String(repeating: "x", count: 5_000)) }
        try await withServer([route]) { client, _ async throws in
            var client = client
            client.maximumBytes = 4_999
            let error = await #expect(throws: VecraftError.self) { try await client.get("/") }
            #expect(error?.code == .resourceExhausted)
            client.maximumBytes = 5_000
            #expect(try await client.get("/").body.count == 5_000)
        }
    }
}
