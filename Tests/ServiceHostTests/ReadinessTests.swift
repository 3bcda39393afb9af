import Foundation
import ServiceHost
import Synchronization
import Testing

@Suite struct ReadinessTests {
    private func object(_ answer: Readiness.Answer) throws -> [String: Any] {
        try #require(try JSONSerialization.jsonObject(with: Data(answer.json.utf8)) as? [String: Any])
    }

    @Test func itIsReadyWhenTheStateIsAndEveryCheckPasses() throws {
        let readiness = Readiness()
        let leader = Atomic<Bool>(true)
        let shared = Shared(leader)
        readiness.add("journal") { Readiness.Check(ok: shared.value.load(ordering: .relaxed), "term \"3\"") }
        #expect(readiness.livez.status == 200)
        #expect(readiness.readyz.status == 503)
        #expect(try self.object(readiness.readyz)["status"] as? String == "starting")

        readiness.enter(.replaying, progress: "data-1 at 80 of 100")
        #expect(try self.object(readiness.readyz)["progress"] as? String == "data-1 at 80 of 100")
        readiness.enter(.ready)
        #expect(readiness.isReady)
        #expect(readiness.readyz.status == 200)
        #expect(readiness.healthz == readiness.readyz)

        shared.value.store(false, ordering: .relaxed)
        #expect(!readiness.isReady)
        let body = try self.object(readiness.readyz)
        #expect(readiness.readyz.status == 503)
        #expect(body["status"] as? String == "unready")
        let checks = try #require(body["checks"] as? [[String: Any]])
        #expect(checks.first?["name"] as? String == "journal")
        #expect(checks.first?["ok"] as? Bool == false)
        #expect(checks.first?["detail"] as? String == "term \"3\"")
        #expect(readiness.livez.status == 200)
    }

    @Test func drainingIsFinal() {
        let readiness = Readiness()
        readiness.enter(.draining)
        readiness.enter(.ready)
        #expect(readiness.state == .draining)
        #expect(readiness.readyz.status == 503)
        #expect(readiness.livez.status == 200)
    }

    @Test func observersAreToldOfEachChangeOnce() {
        let readiness = Readiness()
        let seen = Mutex<[Readiness.State]>([])
        let log = Log(seen)
        readiness.onChange { state in log.states.withLock { $0.append(state) } }
        readiness.enter(.replaying, progress: "1 of 2")
        readiness.enter(.replaying, progress: "2 of 2")
        readiness.enter(.ready)
        readiness.enter(.draining)
        readiness.enter(.draining)
        #expect(log.states.withLock { $0 } == [.replaying, .ready, .draining])
    }

    private final class Shared: Sendable {
        let value: Atomic<Bool>
        init(_ value: consuming Atomic<Bool>) { self.value = value }
    }
    private final class Log: Sendable {
        let states: Mutex<[Readiness.State]>
        init(_ states: consuming sending Mutex<[Readiness.State]>) { self.states = states }
    }
}
