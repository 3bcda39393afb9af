import MetricsExporter
import Observability
import Primitives
import Testing

@Suite struct LoadTests {
    @Test func aPlaceIsAsFullAsTheTierMayFillIt() {
        var load = NodeLoad()
        load.places = [
            .init("journal", used: 40, limits: [.critical: 160, .batch: 80]),
            .init("journal", used: 60, limits: [.batch: 80]),
            .init("gateway", used: 300, limits: [.batch: 200]),
        ]
        #expect(load.utilization(.critical) == ["journal": 0.25])
        // The fuller of two; and one that took more than its limit is full.
        #expect(load.utilization(.batch) == ["journal": 0.75, "gateway": 1])
        #expect(load.utilization(.background).isEmpty)
    }

    @Test func lagDegradesEachTierAtItsOwnLimit() {
        var load = NodeLoad()
        for (lag, degraded) in [
            (100, []), (101, [Tier.critical]), (501, [.critical, .interactive, .batch]), (1001, Tier.allCases),
        ]
            as [(UInt64, [Tier])]
        {
            load.replayLagMilliseconds = lag
            let found = Tier.allCases.filter { tier in load.degradations(tier).contains { $0 == ("replay_lag", true) } }
            #expect(found == degraded, "\(lag) ms")
        }
    }

    @Test func whatIsWrongIsShownAndTakenBack() {
        let requests = RequestMetrics(MetricsRegistry())
        var load = NodeLoad()
        load.isDiskFull = true
        load.isCatalogStopped = true
        load.places = [.init("journal", used: 1, limits: [.interactive: 4])]
        requests.show(load)
        #expect(requests.degradationActive.with("batch", "disk_full").value == 1)
        #expect(requests.degradationActive.with("critical", "catalog_stopped").value == 1)
        #expect(requests.degradationActive.with("interactive", "no_leader").value == 0)
        #expect(requests.capacityUtilization.with("interactive", "journal").value == 0.25)
        load.isDiskFull = false
        requests.show(load)
        #expect(requests.degradationActive.with("batch", "disk_full").value == 0)
        // Background requests write nothing, so a full disk is nothing to them.
        #expect(!load.degradations(.background).contains { $0.reason == "disk_full" })
    }
}
