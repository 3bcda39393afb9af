package import Primitives

extension ShardEngine {
    /// ``state`` computed anew, from the id, version, vectors and payload of every live point as they lie in memory and files.
    ///
    /// The digest is kept with every write, so ``state`` costs nothing; this finds out whether it is still true of the points.
    /// The shard's lock is held for a copy of the deletions alone (a bit a row); for all else rows never move while somebody
    /// holds their segment.
    /// - Parameter isCancelled: Asked every thousand rows or so.
    /// - Throws: CANCELLED.
    package func recomputedState(
        isCancelled: () -> Bool = { false }
    ) throws(VecraftError) -> (applied: JournalOffset, digest: UInt64, points: Int) {
        struct Cut {
            var segment: Segment
            var rows: Int
            var deleted: [UInt64]
        }
        var cuts: [Cut] = []
        let applied = self.lock.reading {
            for segment in self.segments {
                let words = UnsafeBufferPointer(start: segment.deleted.words, count: Bits.wordCount(segment.rowCount))
                cuts.append(Cut(segment: segment, rows: segment.rowCount, deleted: [UInt64](words)))
            }
            return self.applied
        }
        var digest: UInt64 = 0
        var points = 0
        for cut in cuts {
            let storage = cut.segment.storage
            for row in 0..<cut.rows {
                if row % 1_024 == 0, isCancelled() {
                    throw VecraftError(.cancelled, "the digest of shard \(self.id) is not wanted any more")
                }
                if cut.deleted[row >> 6] >> UInt64(row & 63) & 1 == 1 { continue }
                digest ^= PointDigest.of(storage.rows[row], storage, row, self.shape)
                points += 1
            }
        }
        return (applied, digest, points)
    }
}
