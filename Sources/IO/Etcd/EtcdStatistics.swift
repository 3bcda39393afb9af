/// What was met, since the store was made: for metrics and health.
package struct EtcdStatistics: Sendable, Equatable {
    /// Calls made for callers, and those that ended without an answer of etcd's.
    package var calls: UInt64 = 0
    package var unanswered: UInt64 = 0
    /// Attempts beyond a call's first.
    package var repeats: UInt64 = 0
    package var authentications: UInt64 = 0
    /// Times a watch was made again after its stream had ended.
    package var watchResumes: UInt64 = 0
    package var leaseRenewals: UInt64 = 0
    package var leaseRenewalFailures: UInt64 = 0
    /// When etcd last answered a call that needs its majority.
    package var lastAnswer: ContinuousClock.Instant?
    /// The newest revision seen.
    package var revision: UInt64 = 0
}
