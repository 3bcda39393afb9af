package import Observability
package import Primitives

/// How full the node's bounded places are, and what is wrong with it, at one moment.
package struct NodeLoad: Sendable {
    /// A bounded place: what is in it, and what it takes of each tier that uses it.
    package struct Place: Sendable {
        package var service: String
        package var used: Int
        package var limits: [Tier: Int]

        package init(_ service: String, used: Int, limits: [Tier: Int]) {
            self.service = service
            self.used = used
            self.limits = limits
        }
    }

    package var places: [Place] = []
    /// Writes are refused until there is room.
    package var isDiskFull = false
    /// A partition has no leader that this node knows of.
    package var lacksLeader = false
    /// A partition's journal has closed itself.
    package var hasFailedJournal = false
    /// Replay of a partition cannot go on.
    package var isReplayStopped = false
    /// Schema changes cannot be applied.
    package var isCatalogStopped = false
    /// Of the partition that is furthest behind; 0 where everything committed is applied.
    package var replayLagMilliseconds: UInt64 = 0

    package init() {}

    /// Why requests of a tier are served less than they ask for. Every reason that a tier can have, with whether it has it now.
    package func degradations(_ tier: Tier) -> [(reason: String, isActive: Bool)] {
        var found = [(reason: "replay_lag", isActive: self.replayLagMilliseconds > tier.maxLagMilliseconds)]
        // Background requests write nothing.
        if tier != .background {
            found += [
                ("disk_full", self.isDiskFull), ("journal_failed", self.hasFailedJournal),
                ("no_leader", self.lacksLeader),
            ]
        }
        if tier == .critical { found.append(("catalog_stopped", self.isCatalogStopped)) }
        if tier == .interactive || tier == .batch { found.append(("replay_stopped", self.isReplayStopped)) }
        return found
    }

    /// The fullest place of each service that a tier uses, 0 to 1.
    package func utilization(_ tier: Tier) -> [String: Double] {
        var found: [String: Double] = [:]
        for place in self.places {
            guard let limit = place.limits[tier], limit > 0 else { continue }
            // One that is alone is taken whatever its size, so a place may hold more than its limit.
            let part = min(1, Double(place.used) / Double(limit))
            found[place.service] = max(found[place.service] ?? 0, part)
        }
        return found
    }
}

extension RequestMetrics {
    /// Sets the gauges of capacity and degradation.
    package func show(_ load: NodeLoad) {
        for tier in Tier.allCases {
            for (reason, isActive) in load.degradations(tier) {
                self.degradationActive.with(tier.label, reason).set(isActive ? 1 : 0)
            }
            for (service, part) in load.utilization(tier) {
                self.capacityUtilization.with(tier.label, service).set(part)
            }
        }
    }
}
