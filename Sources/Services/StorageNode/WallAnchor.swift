/// The wall clock as it would go on from a process's start, had nobody set it: by a clock that nobody sets.
///
/// A clock that was set back makes what others have stamped look younger than it is, until its offset from theirs has been measured. Of the
/// clock as it is and as it would be, the later one is believed: a clock that was set right, ahead, counts at once.
package struct WallAnchor: Sendable {
    /// Milliseconds since 1970.
    private let wall: UInt64
    /// Nanoseconds.
    private let steady: UInt64

    package init(wall: UInt64, steady: UInt64) {
        self.wall = wall
        self.steady = steady
    }

    /// - Returns: Milliseconds since 1970, rounded up.
    package func latest(wall: UInt64, steady: UInt64) -> UInt64 {
        max(wall, self.wall + (steady - min(self.steady, steady) + 999_999) / 1_000_000)
    }
}
