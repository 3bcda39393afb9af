import NIOCore
import NIOHTTP2
import Primitives
import Testing

@testable import GRPC

@Suite(.ownThreads) struct FlowControlTests {
    @Test func aSlowReaderHoldsTheSenderBack() async throws {
        let messageBytes = 1_000
        let total = 2_000
        let sent = Counter()
        let method = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            for _ in 0..<total {
                try await call.send([UInt8](repeating: 1, count: messageBytes))
                sent.add()
            }
        }
        let settings = GRPCServerSettings.patient
        try await withServer(["/t/M": method], settings: settings) { _, port in
            // A window of 65535 that is not renewed.
            let peer = try await RawPeer.connect(port: port)
            try await peer.sendRequest(RawPeer.request("/t/M"), framed(bytes("")), on: 1)
            var received = 0
            while received < 65_535 {
                guard case .data(let data) = await peer.next(on: 1) ?? .settings(.ack) else { continue }
                received += data.data.readableBytes
            }
            #expect(received == 65_535)
            for _ in 0..<20 { try await peer.roundTrip() }
            // What the client read, what is unsent, one batch with the connection, one message over the edge.
            let bound = (65_535 + settings.unsentBytes + settings.batchBytes) / messageBytes + 2
            #expect(sent.count <= bound, "\(sent.count) messages sent while only \(received) bytes were read")
            // Room again: everything comes.
            try await peer.send(.windowUpdate(windowSizeIncrement: 4 << 20), on: 0)
            try await peer.send(.windowUpdate(windowSizeIncrement: 4 << 20), on: 1)
            while let payload = await peer.next(on: 1) {
                if case .data(let data) = payload { received += data.data.readableBytes }
                if case .headers(let headers) = payload, headers.endStream { break }
            }
            #expect(received == total * (messageBytes + 5))
            #expect(sent.count == total)
            await peer.close()
        }
    }

    @Test(arguments: [GRPCServerSettings.StreamExecutor.eventLoop, .shared])
    func aSlowServerHoldsTheClientBack(executor: GRPCServerSettings.StreamExecutor) async throws {
        let messageBytes = 1_000
        let total = 3_000
        let go = Signal()
        let method = GRPCMethod.clientStreaming { (call) throws(VecraftError) in
            await go.wait()
            var count = 0
            for try await message in call.requests { count += message.readableBytes }
            try await call.send(Array("\(count)".utf8))
        }
        var settings = GRPCServerSettings.patient
        settings.streamWindowBytes = 100_000
        settings.streamExecutor = executor
        try await withPair(["/t/M": method], settings: settings) { client in
            let call = try await client.clientStreaming("/t/M")
            let sent = Counter()
            let sender = Beside {
                for _ in 0..<total {
                    try await call.send(zeros(messageBytes))
                    sent.add()
                }
            }
            try await until { sent.count * messageBytes > 100_000 }
            for _ in 0..<50 { _ = try? await client.unary("/t/None", bytes("")) }
            let limits = GRPCClientSettings.patient
            let bound = (settings.streamWindowBytes + limits.unsentBytes + limits.batchBytes) / messageBytes + 2
            #expect(sent.count <= bound, "\(sent.count) messages sent while none was read")
            go.set()
            try await sender.value
            let reply = text(try await call.finish())
            #expect(reply == "\(total * messageBytes)")
        }
    }

    @Test func aMessageLargerThanTheWindowArrives() async throws {
        var settings = GRPCServerSettings.patient
        settings.streamWindowBytes = 65_535
        var clientSettings = GRPCClientSettings.patient
        clientSettings.streamWindowBytes = 65_535
        try await withPair(Methods.all, settings: settings, client: clientSettings) { client in
            let call = try await client.bidirectional("/test.Test/Echoes")
            var replies = call.replies.makeAsyncIterator()
            for size in [3_000_000, 0, 1, 65_535, 200_000] {
                try await call.send(zeros(size))
                let reply = try await replies.next()
                #expect(reply?.readableBytes == size)
            }
            // Several in a row, before any is read.
            let sender = Beside {
                for _ in 0..<5 { try await call.send(zeros(400_000)) }
                call.finishSending()
            }
            var count = 0
            while let reply = try await replies.next() {
                #expect(reply.readableBytes == 400_000)
                count += 1
            }
            #expect(count == 5)
            try await sender.value
            let unary = try await client.unary("/test.Test/Echo", zeros(5_000_000))
            #expect(unary.message.readableBytes == 5_000_000)
        }
    }

    @Test func aStreamOfAllSizesKeepsItsOrder() async throws {
        var random = SeededRNG(seed: 11)
        let sizes = (0..<300).map { _ in Int.random(in: 0...1 << Int.random(in: 0...16, using: &random), using: &random)
        }
        try await withPair(Methods.all) { client in
            let call = try await client.bidirectional("/test.Test/Echoes")
            let sender = Beside {
                for (i, size) in sizes.enumerated() {
                    try await call.send(ByteBuffer(repeating: UInt8(i % 256), count: size))
                }
                call.finishSending()
            }
            var i = 0
            for try await reply in call.replies {
                #expect(reply == ByteBuffer(repeating: UInt8(i % 256), count: sizes[i]))
                i += 1
            }
            #expect(i == sizes.count)
            try await sender.value
        }
    }

    @Test func aStreamThatNeverEndsStarvesNobody() async throws {
        let method = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            while true { try await call.send([UInt8](repeating: 0, count: 20_000)) }
        }
        try await withPair(["/t/M": method, "/t/Echo": Methods.echo]) { client in
            let call = try await client.serverStreaming("/t/M", bytes(""))
            let reader = Beside { await failure { for try await _ in call.replies {} } }
            for i in 0..<50 {
                let reply = try await client.unary("/t/Echo", bytes("\(i)"))
                #expect(text(reply.message) == "\(i)")
            }
            call.cancel()
            let error = try await reader.value
            #expect(error?.code == .cancelled)
        }
    }
}
