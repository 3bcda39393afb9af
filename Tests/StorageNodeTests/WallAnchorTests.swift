import StorageNode
import Testing

@Suite struct WallAnchorTests {
    @Test func theLaterOneIsBelieved() {
        let anchor = WallAnchor(wall: 100_000, steady: 7_000_000_000)
        func latest(_ wall: UInt64, after milliseconds: UInt64) -> UInt64 {
            anchor.latest(wall: wall, steady: 7_000_000_000 + milliseconds * 1_000_000)
        }
        #expect(latest(100_000, after: 0) == 100_000)
        #expect(latest(102_000, after: 2_000) == 102_000)
        #expect(latest(99_000, after: 2_000) == 102_000, "set back by three seconds")
        #expect(latest(105_000, after: 2_000) == 105_000, "set ahead by three seconds, or right again")
        #expect(anchor.latest(wall: 1, steady: 7_000_000_001) == 100_001)
        #expect(anchor.latest(wall: 1, steady: 0) == 100_000)
    }
}
