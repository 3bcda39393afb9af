import Primitives
import Testing
import vecraft

@Suite struct ImportWindowTests {
    private func window(requests: Int = 3, bytes: Int = 100, attempts: Int = 3) -> ImportWindow {
        var limits = ImportWindow.Limits()
        (limits.requests, limits.bytes, limits.attempts) = (requests, bytes, attempts)
        return ImportWindow(limits: limits)
    }

    private func batch(_ start: Int, bytes: Int = 10) -> ImportWindow.Batch {
        ImportWindow.Batch(start: start, points: 5, request: [UInt8](repeating: 0, count: bytes))
    }

    @Test func whatIsOnItsWayIsBoundedByCountAndBytes() {
        var window = self.window()
        for start in [0, 5, 10] {
            #expect(window.hasRoom)
            window.sent(self.batch(start))
        }
        #expect(!window.hasRoom)
        #expect(window.answered(code: 0, message: "", replayed: false) == .stored)
        #expect(window.hasRoom)

        var large = self.window()
        #expect(large.hasRoom)
        large.sent(self.batch(0, bytes: 1000))
        #expect(!large.hasRoom)
    }

    @Test func storedPointsAreCountedAndTheFirstGapIsKnown() {
        var window = self.window()
        #expect(window.firstMissing == nil)
        window.sent(self.batch(0))
        window.sent(self.batch(5))
        #expect(window.firstMissing == 0)
        #expect(window.answered(code: 0, message: "", replayed: true) == .stored)
        #expect(window.firstMissing == 5)
        #expect((window.storedPoints, window.storedRequests, window.replayedRequests) == (5, 1, 1))
    }

    @Test func aRefusalForNowIsTriedAgainBehindTheOthers() {
        var window = self.window()
        window.sent(self.batch(0))
        window.sent(self.batch(5))
        let code = VecraftError.Code.resourceExhausted.rawValue
        guard case .again(let first, let pause) = window.answered(code: code, message: "full", replayed: false) else {
            Issue.record("not tried again")
            return
        }
        #expect(first.start == 0)
        #expect(pause == .milliseconds(100))
        #expect(window.inFlight.map(\.start) == [5, 0])
        #expect(window.firstMissing == 0)
        #expect(window.answered(code: 0, message: "", replayed: false) == .stored)
        guard case .again = window.answered(code: code, message: "full", replayed: false) else {
            Issue.record("not tried a third time")
            return
        }
        #expect(
            window.answered(code: code, message: "full", replayed: false)
                == .failed(VecraftError(.resourceExhausted, "full")))
        #expect(window.firstMissing == 0)
    }

    @Test func aRefusalForGoodEndsTheImport() {
        var window = self.window()
        window.sent(self.batch(0))
        let refused = window.answered(code: 3, message: "points[0].vector: 3 components", replayed: false)
        #expect(refused == .failed(VecraftError(.invalidArgument, "points[0].vector: 3 components")))
        #expect(window.firstMissing == 0)
        #expect(window.storedPoints == 0)
    }

    @Test func lostConnectionsPauseLongerAndEndAtLast() {
        var window = self.window()
        window.sent(self.batch(0))
        #expect(window.lost() == .milliseconds(100))
        #expect(window.lost() == .milliseconds(200))
        #expect(window.inFlight.map(\.start) == [0])
        // Whatever gets through starts the count anew.
        _ = window.answered(code: 0, message: "", replayed: false)
        #expect(
            [window.lost(), window.lost(), window.lost(), window.lost()].map { $0 != nil } == [true, true, true, false])
        #expect(ImportWindow.pause(100) == .seconds(5))
    }
}
