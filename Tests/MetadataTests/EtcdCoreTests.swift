import GRPC
import Metadata
import Primitives
import Testing
import Wire

@testable import Etcd

/// What is decided without an etcd.
@Suite struct EtcdCoreTests {
    private let keys = EtcdKeys(cluster: "c")

    private func put(_ revision: Int64) -> EtcdMVCC.Event {
        .init(type: .put, kv: .init(key: self.keys.encode("k\(revision)"), createRevision: 1, modRevision: revision))
    }

    private func revisions(_ action: WatchAssembly.Action) -> [Revision]? {
        guard case .deliver(let events) = action else { return nil }
        return events.map(\.revision)
    }

    @Test func fragmentsAreDeliveredByWholeRevisions() throws {
        var watch = WatchAssembly(after: 4)
        // One earlier than wanted; what comes of it is left out.
        #expect(watch.startRevision == 4)
        #expect(try watch.received(.init(created: true), self.keys) == .created)
        let first = try watch.received(
            .init(fragment: true, events: [put(4), put(5), put(6), put(7), put(7)]), self.keys)
        #expect(revisions(first) == [5, 6] && watch.through == 6)
        #expect(try watch.received(.init(fragment: true, events: [put(7), put(7)]), self.keys) == .wait)
        #expect(watch.through == 6)
        let last = try watch.received(.init(events: [put(7), put(8)]), self.keys)
        #expect(revisions(last) == [7, 7, 7, 7, 7, 8] && watch.through == 8)
    }

    @Test func aStreamLostWithinARevisionBeginsItAnew() throws {
        var watch = WatchAssembly(after: 4)
        let first = try watch.received(.init(fragment: true, events: [put(5), put(6)]), self.keys)
        #expect(revisions(first) == [5])
        watch.reopen()
        #expect(watch.startRevision == 5)
        let second = try watch.received(.init(events: [put(5), put(6), put(6)]), self.keys)
        #expect(revisions(second) == [6, 6] && watch.through == 6)
    }

    @Test func progressIsOnlyWhatStandsAlone() throws {
        var watch = WatchAssembly(after: 0)
        #expect(watch.startRevision == 1)
        // Where etcd is when it takes the watch says nothing of what the watch has been told.
        #expect(try watch.received(.init(header: .init(revision: 90), created: true), self.keys) == .created)
        #expect(watch.through == 0)
        _ = try watch.received(.init(header: .init(revision: 90), events: [put(7)]), self.keys)
        #expect(watch.through == 7)
        #expect(try watch.received(.init(header: .init(revision: 50)), self.keys) == .wait)
        #expect(watch.through == 50 && watch.startRevision == 50)
        #expect(try watch.received(.init(header: .init(revision: 20)), self.keys) == .wait)
        #expect(watch.through == 50)
    }

    @Test func theEndOfAWatchSaysWhy() throws {
        var watch = WatchAssembly(after: 1)
        let compacted = EtcdV3.WatchResponse(created: true, canceled: true, compactRevision: 9)
        #expect(try watch.received(compacted, self.keys) == .compacted(oldest: 9))
        let denied = EtcdV3.WatchResponse(created: true, canceled: true, cancelReason: "etcdserver: permission denied")
        #expect(try watch.received(denied, self.keys) == .cancelled("etcdserver: permission denied"))
    }

    @Test func foreignKeysAreNotOurs() {
        for key in [Array("/vecraft/v1/other/k".utf8), self.keys.encode("k") + [0xff]] {
            let error = #expect(throws: VecraftError.self) { _ = try self.keys.entry(.init(key: key)) }
            #expect(error?.code == .dataLoss)
        }
        let (from, end) = self.keys.range("")
        #expect(from == Array("/vecraft/v1/c/".utf8) && end == Array("/vecraft/v1/c0".utf8))
    }

    @Test func whatAnErrorMeansForTheRequest() {
        func verdict(_ code: VecraftError.Code, _ message: String) -> EtcdVerdict {
            EtcdVerdict(VecraftError(code, message))
        }
        #expect(
            EtcdVerdict(VecraftError(.unavailable, "no", reason: "CONNECTION_LOST", retryAfter: .zero)) == .notApplied)
        #expect(EtcdVerdict(VecraftError(.deadlineExceeded, "late", reason: VecraftError.notSent)) == .notApplied)
        // Lost under the call.
        #expect(EtcdVerdict(VecraftError(.unavailable, "no", reason: "CONNECTION_LOST")) == .unknown)
        #expect(verdict(.unavailable, "etcdserver: no leader") == .notApplied)
        #expect(
            verdict(.unavailable, "etcdserver: request timed out, possibly due to previous leader failure") == .unknown)
        #expect(verdict(.deadlineExceeded, "the deadline passed") == .unknown)
        #expect(verdict(.resourceExhausted, "etcdserver: too many requests") == .notApplied)
        #expect(verdict(.unauthenticated, "etcdserver: invalid auth token") == .authenticate)
        #expect(verdict(.invalidArgument, "etcdserver: revision of auth store is old") == .authenticate)
        guard case .final(let full) = verdict(.resourceExhausted, "etcdserver: mvcc: database space exceeded"),
            case .final(let lease) = verdict(.notFound, "etcdserver: requested lease not found"),
            case .final(let denied) = verdict(.permissionDenied, "etcdserver: permission denied")
        else {
            Issue.record("not final")
            return
        }
        #expect(full.reason == "DISK_FULL" && lease.reason == "LEASE_LOST" && denied.code == .permissionDenied)
    }

    private func course(_ repeating: EtcdClient.Repeating, members: Int = 3, left: Duration = .seconds(60)) -> Course {
        Course(repeating: repeating, members: members, deadline: .now + left, pause: .milliseconds(50))
    }

    @Test func onlyWhatIsSafeIsSentTwice() {
        let lost = VecraftError(.unavailable, "lost", reason: "CONNECTION_LOST")
        let unsent = VecraftError(.unavailable, "no", reason: "CONNECTION_LOST", retryAfter: .zero)
        for repeating in [EtcdClient.Repeating.harmless, .guarded, .forbidden] {
            #expect(self.course(repeating).end(after: unsent) == nil)
        }
        #expect(self.course(.harmless).end(after: lost) == nil)
        #expect(self.course(.guarded).end(after: lost) == nil)
        #expect(self.course(.forbidden).end(after: lost)?.reason == "OUTCOME_UNKNOWN")
        // Out of time: known not to be made, or not known.
        var late = self.course(.guarded, left: .zero)
        #expect(late.end(after: unsent)?.code == .unavailable && late.end(after: unsent)?.reason == nil)
        late.isUnknown = true
        #expect(late.end(after: unsent)?.reason == "OUTCOME_UNKNOWN")
        // A refusal says nothing of an attempt before it.
        var guarded = self.course(.guarded)
        let denied = VecraftError(.permissionDenied, "etcdserver: permission denied")
        #expect(guarded.end(after: denied)?.code == .permissionDenied)
        guarded.isUnknown = true
        #expect(guarded.end(after: denied)?.reason == "OUTCOME_UNKNOWN")
    }

    @Test func pausesComeAfterARoundAndGrowToALimit() {
        var course = self.course(.harmless, members: 2)
        var pauses: [Duration?] = []
        for failure in 1...8 {
            course.failures = failure
            pauses.append(course.nextPause(upTo: .milliseconds(150)))
        }
        #expect(
            pauses == [
                nil, .milliseconds(50), nil, .milliseconds(100), nil, .milliseconds(150), nil, .milliseconds(150),
            ])
        #expect(self.course(.harmless).patience(.seconds(2)) == .seconds(2))
        #expect(self.course(.forbidden).patience(.seconds(2)) > .seconds(2))
        #expect(self.course(.harmless, members: 1).patience(.seconds(2)) > .seconds(2))
    }

    @Test func historyGoesForwardOnly() throws {
        var history = EtcdHistory()
        try history.saw(.init(clusterID: 7, revision: 10), floor: 0)
        // Two calls at once: the slower answer is from before the faster.
        try history.saw(.init(clusterID: 7, revision: 9), floor: 0)
        #expect(history.revision == 10)
        history.saw(12)
        #expect(throws: VecraftError.self) { try history.saw(.init(clusterID: 7, revision: 11), floor: 12) }
        #expect(throws: VecraftError.self) { try history.saw(.init(clusterID: 7, revision: 99), floor: 12) }
        var other = EtcdHistory()
        try other.saw(.init(clusterID: 7, revision: 10), floor: 0)
        #expect(throws: VecraftError.self) { try other.saw(.init(clusterID: 8, revision: 11), floor: 10) }
    }

    @Test func aLeaseOnceOverStaysOver() {
        let start = ContinuousClock.now
        let until = LeaseTerm.until(sentAt: start, ttl: .seconds(10))
        #expect(until == start + .seconds(9))
        func isHeld(_ term: inout LeaseTerm, after time: Duration) -> Bool { term.isHeld(at: start + time) }
        var term = LeaseTerm(until: until)
        #expect(isHeld(&term, after: .seconds(8)))
        term.renew(until: until + .seconds(3), at: start + .seconds(8))
        // An older answer that comes late takes nothing back.
        term.renew(until: until, at: start + .seconds(8))
        #expect(isHeld(&term, after: .seconds(11)))
        // At the very moment it is over, and no answer brings it back.
        #expect(!isHeld(&term, after: .seconds(12)))
        term.renew(until: until + .seconds(60), at: start + .seconds(12))
        #expect(!isHeld(&term, after: .zero))
        #expect(term.ending == .expired)
        // An answer that comes in after the end, before anyone has looked.
        var unseen = LeaseTerm(until: until)
        unseen.renew(until: until + .seconds(60), at: until)
        #expect(unseen.ending == .expired)
        var endless = LeaseTerm(until: nil)
        #expect(isHeld(&endless, after: .seconds(1_000_000)))
        endless.end(.revoked)
        endless.end(.gone)
        #expect(endless.ending == .revoked)
    }

    @Test func endpointsAreHostAndPort() throws {
        #expect(try EtcdSettings.Endpoint(parsing: "etcd-0:2379") == .init(host: "etcd-0", port: 2_379))
        #expect(try EtcdSettings.Endpoint(parsing: "[::1]:1").description == "[::1]:1")
        for text in ["", "host", ":1", "host:", "host:0", "host:65536", "http://host:1", "host:x"] {
            #expect(throws: VecraftError.self) { _ = try EtcdSettings.Endpoint(parsing: text) }
        }
    }
}
