import NIOCore
import Primitives
import Testing

@testable import GRPC

@Suite struct WireTextTests {
    @Test(arguments: ["", "plain", "100 %", "späte Grüße", "日本語\n\u{7f}\t", "%41%zz%", "🦀"])
    func aMessageSurvivesPercentEncoding(message: String) {
        let encoded = WireText.percentEncode(message)
        #expect(encoded.utf8.allSatisfy { $0 >= 0x20 && $0 <= 0x7e })
        #expect(WireText.percentDecode(encoded) == message)
    }

    @Test func percentDecodingTakesWhatIsThere() {
        #expect(WireText.percentDecode("%") == "%")
        #expect(WireText.percentDecode("%4") == "%4")
        #expect(WireText.percentDecode("%4x%41") == "%4xA")
        #expect(WireText.percentDecode("%ff") == "\u{fffd}")
    }

    @Test func timeoutsAreReadInEveryUnit() {
        #expect(WireText.timeout("1H") == .hours(1))
        #expect(WireText.timeout("2M") == .minutes(2))
        #expect(WireText.timeout("3S") == .seconds(3))
        #expect(WireText.timeout("4m") == .milliseconds(4))
        #expect(WireText.timeout("5u") == .microseconds(5))
        #expect(WireText.timeout("6n") == .nanoseconds(6))
        // Beyond what nanoseconds can hold: a year is long enough.
        #expect(WireText.timeout("99999999H") == .hours(24 * 365))
    }

    @Test(arguments: ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "12 S", " 1S"])
    func badTimeoutsAreRefused(text: String) {
        #expect(WireText.timeout(text) == nil)
    }

    @Test(arguments: [1, 99_999_999, 100_000_000, 5_000_000_000, 3_600_000_000_000, 900_000_000_000_000_000] as [Int64])
    func aTimeoutSurvivesItsText(nanoseconds: Int64) throws {
        let text = WireText.timeout(.nanoseconds(nanoseconds))
        #expect(text.utf8.count <= 9)
        let back = try #require(WireText.timeout(text)).nanoseconds
        #expect(back <= nanoseconds && Double(back) > Double(nanoseconds) * 0.99 || nanoseconds > 365 * 86_400_000_000_000)
    }

    @Test func aPassedDeadlineIsNotSentAsNoLimit() {
        #expect(WireText.timeout(TimeAmount.nanoseconds(-5)) == "1n")
    }

    @Test func base64IsReadWithAndWithoutPadding() {
        #expect(Base64.encode([]) == "")
        #expect(Base64.encode(Array("f".utf8)) == "Zg")
        #expect(Base64.encode(Array("foobar".utf8)) == "Zm9vYmFy")
        #expect(Base64.decode("Zg==".utf8) == Array("f".utf8))
        #expect(Base64.decode("Zg".utf8) == Array("f".utf8))
        #expect(Base64.decode("Z".utf8) == nil)
        #expect(Base64.decode("Zg==Zg".utf8) == nil)
        #expect(Base64.decode("Z*".utf8) == nil)
    }

    @Test(arguments: 0..<64)
    func bytesSurviveBase64(length: Int) {
        var random = SeededRNG(seed: UInt64(length))
        let bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
        #expect(Base64.decode(Base64.encode(bytes).utf8) == bytes)
    }

    @Test func metadataKeepsNamesValuesAndBytes() {
        var metadata: GRPCMetadata = ["a": "1", "b": "2"]
        metadata.add("a", "3")
        metadata.add("c", "line\nbreak ü")
        metadata.add("d-bin", binary: [0, 255, 7])
        #expect(metadata["a"] == "1")
        #expect(metadata.values("a") == ["1", "3"])
        #expect(metadata["c"] == "line?break ??")
        #expect(metadata.binary("d-bin") == [0, 255, 7])
        #expect(metadata["missing"] == nil)
        #expect(metadata.custom.map(\.name) == ["a", "b", "a", "c", "d-bin"])
        // Values may be credentials.
        #expect("\(metadata)" == "[a, b, a, c, d-bin]")
    }
}
