import NIOCore
import Primitives
import Testing

@testable import GRPC

@Suite struct MessageFramingTests {
    /// Cut anywhere, the same messages come out.
    @Test(arguments: 0..<50)
    func messagesAreFoundHoweverTheStreamIsCut(seed: Int) throws {
        var random = SeededRNG(seed: UInt64(seed))
        var stream = ByteBuffer()
        var expected: [ByteBuffer] = []
        for _ in 0..<20 {
            let message = ByteBuffer(bytes: (0..<Int.random(in: 0...300, using: &random)).map { UInt8(truncatingIfNeeded: $0) })
            expected.append(message)
            stream.writeImmutableBuffer(framed(message))
        }
        var assembler = MessageAssembler(limit: 1_000)
        var found: [ByteBuffer] = []
        while stream.readableBytes > 0 {
            let length = min(stream.readableBytes, Int.random(in: 1...200, using: &random))
            assembler.append(stream.readSlice(length: length) ?? ByteBuffer())
            while let message = try assembler.next() { found.append(message.bytes) }
        }
        #expect(found == expected, "seed \(seed)")
        #expect(assembler.partialBytes == 0)
    }

    @Test func aPrefixOverTheLimitIsRefusedBeforeTheMessageArrives() {
        var assembler = MessageAssembler(limit: 100)
        assembler.append(ByteBuffer(bytes: [0, 0, 0, 0, 101]))
        #expect(throws: VecraftError.self) { try assembler.next() }
    }

    @Test func aBadFlagIsRefused() {
        var assembler = MessageAssembler(limit: 100)
        assembler.append(ByteBuffer(bytes: [2, 0, 0, 0, 0]))
        #expect(throws: VecraftError.self) { try assembler.next() }
        var plain = MessageAssembler(limit: 100)
        plain.append(ByteBuffer(bytes: [1, 0, 0, 0, 0]))
        #expect(throws: VecraftError.self) { try plain.next() }
    }

    @Test func aReplyIsFramedInPlaceAndAlsoWhenTheHandlerSwappedTheBuffer() {
        var buffer = MessageFraming.openFrame(capacity: 10, allocator: ByteBufferAllocator())
        #expect(buffer.readableBytes == 0)
        buffer.writeString("abc")
        MessageFraming.close(&buffer, compressed: false)
        #expect(buffer == framed(bytes("abc")))
        var own = bytes("own")
        MessageFraming.close(&own, compressed: true)
        #expect(own == framed(bytes("own"), flag: 1))
    }

    @Test(arguments: [0, 1, 1_000, 300_000])
    func gzipRestoresWhatItPacked(size: Int) throws {
        var random = SeededRNG(seed: 7)
        let plain = ByteBuffer(bytes: (0..<size).map { _ in UInt8.random(in: 0...15, using: &random) })
        var packed = ByteBuffer()
        try Gzip.deflate(plain, into: &packed)
        #expect(try Gzip.inflate(packed, limit: size) == plain)
    }

    @Test func aBombStopsAtTheLimit() throws {
        var packed = ByteBuffer()
        try Gzip.deflate(zeros(10 << 20), into: &packed)
        #expect(packed.readableBytes < 100_000)
        #expect(throws: VecraftError.self) { try Gzip.inflate(packed, limit: (10 << 20) - 1) }
        #expect(try Gzip.inflate(packed, limit: 10 << 20).readableBytes == 10 << 20)
    }

    @Test func brokenGzipIsAnError() throws {
        var packed = ByteBuffer()
        try Gzip.deflate(zeros(1_000), into: &packed)
        let cut = try #require(packed.getSlice(at: packed.readerIndex, length: packed.readableBytes - 3))
        #expect(throws: VecraftError.self) { try Gzip.inflate(cut, limit: 2_000) }
        #expect(throws: VecraftError.self) { try Gzip.inflate(bytes("not gzip at all"), limit: 2_000) }
        #expect(throws: VecraftError.self) { try Gzip.inflate(ByteBuffer(), limit: 2_000) }
    }
}
