/// When bytes may be sent, so that all transfers together keep a rate. A value: time is handed in.
package struct TransferPace: Sendable {
    /// 0: no limit.
    package let bytesPerSecond: Int
    /// When all that was sent so far is paid for, monotonic nanoseconds.
    private var free: UInt64 = 0

    package init(bytesPerSecond: Int) { self.bytesPerSecond = bytesPerSecond }

    /// - Returns: Nanoseconds to wait before these bytes are sent. Nothing is saved up while nobody sends.
    package mutating func take(_ bytes: Int, now: UInt64) -> UInt64 {
        guard self.bytesPerSecond > 0 else { return 0 }
        let start = max(self.free, now)
        self.free = start + UInt64(bytes) * 1_000_000_000 / UInt64(self.bytesPerSecond)
        return start - now
    }
}
