import CChecksum
import JournalFormat
import Primitives
import Testing

@Suite struct ChecksumTests {
    private func portable(_ bytes: [UInt8], from crc: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { vc_crc32c_portable(crc, $0.baseAddress, $0.count) }
    }
    private func chosen(_ bytes: [UInt8], from crc: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { CRC32C.of($0, continuing: crc) }
    }

    /// RFC 3720, appendix B.4.
    @Test func publishedVectors() {
        let vectors: [([UInt8], UInt32)] = [
            ([], 0),
            ([UInt8](repeating: 0, count: 32), 0x8A91_36AA),
            ([UInt8](repeating: 0xFF, count: 32), 0x62A8_AB43),
            ([UInt8](0..<32), 0x46DD_794E),
            ([UInt8]((0..<32).reversed()), 0x113F_DB5C),
            (Array("123456789".utf8), 0xE306_9283),
        ]
        for (bytes, crc) in vectors {
            #expect(self.portable(bytes) == crc)
            #expect(self.chosen(bytes) == crc)
        }
    }

    /// Lengths around every boundary of the three-stream loops, at every alignment.
    @Test func theFastWayEqualsTheTables() {
        var rng = SeededRNG(seed: 5)
        let bytes = (0..<40_000).map { _ in UInt8.random(in: .min ... .max, using: &rng) }
        let lengths = Array(0..<70) + [767, 768, 769, 775, 1536, 4095, 4096, 12_287, 12_288, 12_289, 13_056, 24_576, 25_000, 39_000]
        for length in lengths {
            for start in 0..<9 {
                let part = Array(bytes[start..<start + length])
                let crc = UInt32.random(in: .min ... .max, using: &rng)
                #expect(self.chosen(part, from: crc) == self.portable(part, from: crc), "\(length) bytes from \(start)")
            }
        }
    }

    @Test func continuesWhereItStopped() {
        let bytes = (0..<20_000).map { UInt8(truncatingIfNeeded: $0 &* 31) }
        for cut in [0, 1, 7, 8, 100, 12_288, 19_999] {
            let first = self.chosen(Array(bytes[..<cut]))
            #expect(self.chosen(Array(bytes[cut...]), from: first) == self.chosen(bytes))
        }
    }

    @Test func saysWhatItUses() {
        #expect(["sse4.2", "armv8", "portable"].contains(String(cString: vc_crc32c_implementation())))
    }
}
