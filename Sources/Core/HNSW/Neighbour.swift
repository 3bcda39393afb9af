/// A row found near a query.
package struct Neighbour: Equatable, Sendable {
    /// Squared L2, or `1 - dot`; no unit, smaller is nearer.
    package var distance: Float
    package var row: UInt32
    /// Whose row it is, when several segments are searched into one ``TopK``. The caller's own number.
    package var segment: UInt32

    @inlinable package init(distance: Float, row: UInt32, segment: UInt32 = 0) {
        self.distance = distance
        self.row = row
        self.segment = segment
    }
}
