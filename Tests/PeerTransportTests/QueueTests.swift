import JournalFormat
import Primitives
import Raft
import Testing

@testable import PeerTransport

@Suite struct OutgoingQueueTests {
    private func queue(_ change: (inout PeerSettings) -> Void = { _ in }) -> OutgoingQueue {
        var settings = PeerSettings.patient()
        change(&settings)
        var queue = OutgoingQueue(settings: settings)
        queue.connected()
        return queue
    }

    @Test func controlGoesBeforeBulk() {
        var queue = self.queue()
        for i in 0..<10 { #expect(queue.append(append(sampleRun(from: 1 + UInt64(i), count: 1, term: 3))) == nil) }
        #expect(queue.append(message(.heartbeat(.init(commit: 1, round: 1)))) == nil)
        let batch = queue.next()
        #expect(batch.controlCount == 1)
        #expect(batch.messages[0].message.body.name == "heartbeat")
        #expect(batch.messages.dropFirst().compactMap { $0.frames?.firstOffset } == Array(1...10))
        #expect(!batch.hasMore && queue.isEmpty && queue.bulkBytes == 0)
    }

    /// What a heartbeat finds before it is one write, which holds at most a piece of bulk.
    @Test func bulkLeavesInPieces() {
        var queue = self.queue()
        let run = sampleRun(from: 1, count: 1, term: 3, bodyBytes: 1_000_000)
        let small = sampleRun(from: 2, count: 1, term: 3)
        #expect(queue.append(append(run)) == nil)
        #expect(queue.append(append(small)) == nil)
        var bytes: [UInt8] = []
        var isFirst = true
        while true {
            #expect(queue.append(commit(UInt64(bytes.count))) == nil)
            let batch = queue.next()
            #expect(batch.controlCount == 1)
            var size = 0
            if isFirst {
                let cut = batch.cut ?? 0
                if let frames = batch.messages[1].frames { bytes += frames.bytes.prefix(cut) }
                size += cut
            } else if let (frames, range) = batch.continued {
                bytes += frames[range]
                size += range.count
            }
            #expect(size <= PeerSettings.patient().pieceBytes)
            isFirst = false
            if !batch.hasMore {
                // The next append follows the last piece of the one before.
                #expect(batch.messages.last?.frames?.firstOffset == 2)
                break
            }
        }
        #expect(bytes.elementsEqual(run.bytes))
        #expect(queue.bulkBytes == 0)
    }

    @Test func bulkHasALimitInBytesAndOneAlwaysFits() {
        var queue = self.queue { $0.bulkBytes = 100_000 }
        let run = sampleRun(from: 1, count: 1, term: 3, bodyBytes: 200_000)
        let small = sampleRun(from: 2, count: 1, term: 3)
        #expect(queue.append(append(run)) == nil)
        #expect(queue.append(append(small)) == .queueFull)
        #expect(queue.append(commit(1)) == nil)
        while queue.next().hasMore {}
        #expect(queue.append(append(small)) == nil)
    }

    @Test func bothClassesHaveALimitInMessages() {
        var queue = self.queue {
            $0.bulkMessages = 3
            $0.controlMessages = 5
        }
        let run = sampleRun(from: 1, count: 1, term: 3)
        #expect((0..<4).map { _ in queue.append(append(run)) } == [nil, nil, nil, .queueFull])
        #expect((0..<6).map { queue.append(commit(UInt64($0))) } == [nil, nil, nil, nil, nil, .queueFull])
        #expect(queue.messageCount == 8)
    }

    @Test func withoutALinkOnlyTheNewestControlIsKept() {
        var queue = OutgoingQueue(settings: .patient())
        #expect(queue.append(append(sampleRun(from: 1, count: 1, term: 3))) == .noLink)
        for i in 0..<256 { #expect(queue.append(commit(UInt64(i))) == nil) }
        for i in 256..<1_000 { #expect(queue.append(commit(UInt64(i))) == .noLink) }
        #expect(queue.messageCount == 256)
        queue.connected()
        #expect(queue.next().messages.compactMap(\.number) == Array(744..<1_000))
    }

    @Test func whatWaitedForALostLinkIsGone() {
        var queue = self.queue()
        let run = sampleRun(from: 1, count: 1, term: 3, bodyBytes: 1_000_000)
        _ = queue.append(append(run))
        _ = queue.append(commit(1))
        _ = queue.next()
        #expect(queue.disconnected() == 1)
        #expect(queue.isEmpty && queue.bulkBytes == 0)
        queue.connected()
        _ = queue.append(append(run))
        let batch = queue.next()
        #expect(batch.continued == nil && batch.cut != nil)
    }
}

@Suite struct ClockEstimateTests {
    @Test func theShortestWayCounts() {
        var clock = ClockEstimate()
        // The peer is 5 s ahead; 1 ms there, 3 ms back, 2 ms held.
        let slow = clock.add(
            sentMonotonic: 100_000_000, receivedMonotonic: 106_000_000, receivedWall: 1_006_000_000,
            peerReceived: 6_001_000_000, peerAnswered: 6_003_000_000)
        #expect(slow == .init(roundTripNanoseconds: 4_000_000, offsetNanoseconds: 4_999_000_000))
        let fast = clock.add(
            sentMonotonic: 200_000_000, receivedMonotonic: 200_200_000, receivedWall: 2_000_200_000,
            peerReceived: 7_000_100_000, peerAnswered: 7_000_100_000)
        #expect(fast == .init(roundTripNanoseconds: 200_000, offsetNanoseconds: 5_000_000_000))
        #expect(clock.best == fast)
    }

    @Test func whatMakesNoSenseIsPassedOver() {
        var clock = ClockEstimate()
        #expect(
            clock.add(sentMonotonic: 9, receivedMonotonic: 5, receivedWall: 99, peerReceived: 1, peerAnswered: 2) == nil
        )
        #expect(
            clock.add(sentMonotonic: 1, receivedMonotonic: 5, receivedWall: 99, peerReceived: 3, peerAnswered: 2) == nil
        )
        #expect(
            clock.add(sentMonotonic: 1, receivedMonotonic: 5, receivedWall: 99, peerReceived: 0, peerAnswered: .max)
                == nil)
        #expect(
            clock.add(sentMonotonic: 1, receivedMonotonic: 5, receivedWall: 2, peerReceived: 1, peerAnswered: 2) == nil)
        #expect(
            clock.add(sentMonotonic: 1, receivedMonotonic: 5, receivedWall: .max, peerReceived: 1, peerAnswered: 2)
                == nil)
        #expect(clock.best == nil)
    }

    @Test func oldSamplesGo() {
        var clock = ClockEstimate()
        for i in 0..<9 {
            let way = UInt64(i) * 1_000 + 1_000
            _ = clock.add(
                sentMonotonic: 0, receivedMonotonic: way, receivedWall: 1_000_000, peerReceived: 1_000_000,
                peerAnswered: 1_000_000)
        }
        #expect(clock.best?.roundTripNanoseconds == 2_000)
    }

    /// A clock that was set is believed at once, however short the ways were before; one that took long to answer is no reason.
    @Test func aClockThatWasSetIsBelievedAtOnce() {
        var clock = ClockEstimate()
        func add(at now: UInt64, way: UInt64, ahead: Int64) {
            let peer = UInt64(Int64(1_000_000_000 + now) + ahead)
            _ = clock.add(
                sentMonotonic: now - way / 2, receivedMonotonic: now + way / 2,
                receivedWall: 1_000_000_000 + now + way / 2,
                peerReceived: peer, peerAnswered: peer)
        }
        for i in 1...8 as ClosedRange<UInt64> { add(at: i * 100_000_000, way: 100_000, ahead: 0) }
        add(at: 900_000_000, way: 30_000_000, ahead: 5_000_000)
        #expect(clock.best?.offsetNanoseconds == 0, "half of its way says more")
        add(at: 1_000_000_000, way: 30_000_000, ahead: -2_000_000_000)
        #expect(clock.best?.offsetNanoseconds == -2_000_000_000)
    }
}

@Suite struct SteadyOffsetTests {
    /// Whatever ways pings take and whatever the clocks show: a moment there is never said to be later here than it was.
    @Test(arguments: 0..<20 as Range<UInt64>) func aMomentIsNeverSaidTooLate(seed: UInt64) {
        var rng = SeededRNG(seed: seed)
        let ahead = Int64.random(in: -9_000_000_000...9_000_000_000, using: &rng)
        // The peer's clock is up to 500 ppm faster or slower.
        let rate = Double.random(in: -0.0005...0.0005, using: &rng)
        var offset = SteadyOffset()
        var now: UInt64 = 20_000_000_000
        func there(_ here: UInt64) -> UInt64 {
            UInt64(Int64(here) + ahead + Int64(Double(here - 20_000_000_000) * rate))
        }
        #expect(offset.here(there(now), now: now) == nil)
        var worst: UInt64 = 0
        for round in 0..<200 {
            let way = UInt64.random(in: 50_000...40_000_000, using: &rng)
            offset.add(sent: now, received: there(now + way))
            now += 100_000_000
            let moment = now - UInt64.random(in: 0...90_000_000, using: &rng)
            let said = offset.here(there(moment), now: now)!
            #expect(said <= moment)
            if round > 20 { worst = max(worst, moment - said) }
        }
        #expect(worst < 40_000_000, "and not much too early")
    }

    @Test func whoDoesNotSayIsNotJudged() {
        var offset = SteadyOffset()
        offset.add(sent: 5, received: 0)
        offset.add(sent: .max, received: 7)
        offset.add(sent: 7, received: .max)
        #expect(offset.here(9, now: 10) == nil)
        offset.add(sent: 100, received: 1_000)
        #expect(offset.here(.max, now: 200) == nil)
        #expect(offset.here(1_050, now: 200) == 150)
        #expect(offset.here(5, now: 200) == 0)
        #expect(offset.here(9_000, now: 200) == 200, "never later than now")
    }
}
