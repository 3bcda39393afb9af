import Filter
package import JournalFormat
import PayloadIndex
package import Primitives
import Synchronization

extension ShardEngine {
    /// Applies entries in log order; call from one thread at a time.
    ///
    /// Each becomes visible whole; small ones several at once. Entries at or below ``applied`` are skipped. Kinds that do
    /// not concern points (ddl, configuration, barrier) only move the offset.
    /// - Parameters:
    ///   - entries: Of this collection only; points of other shards in them are passed over, unjudged. Their bytes need to live until
    ///     the call returns.
    ///   - through: Offset the replay has reached, at least that of the last entry: entries of other collections in between
    ///     count as applied too.
    /// - Throws: DATA_LOSS with ``EntryJudgement/reason``, naming partition and offset, if an entry holds what the gateway
    ///   should have refused: the first of `entries` behind ``applied`` then, and the caller may go on without it;
    ///   UNIMPLEMENTED for a kind of a later release; RESOURCE_EXHAUSTED without memory. The entries before it are applied,
    ///   it is not, and ``applied`` says so.
    package func apply(_ entries: [EntryView], through: JournalOffset) throws(VecraftError) {
        try self.checkOpen()
        try self.applying { () throws(VecraftError) in
            var reached = self.applied
            var next = 0
            do throws(VecraftError) {
                while next < entries.count {
                    let entry = entries[next]
                    if entry.offset > reached {
                        try self.stage(entry)
                        reached = entry.offset
                        if self.staging.rows >= self.settings.publishRows { self.publish(through: reached) }
                    }
                    next += 1
                }
            } catch {
                // What was staged together with the bad entry is staged again without it.
                self.staging.discard()
                let done = self.applied
                if let last = entries[..<next].last, last.offset > done {
                    for entry in entries[..<next] where entry.offset > done { try self.stage(entry) }
                    self.publish(through: last.offset)
                }
                throw error
            }
            precondition(
                through >= entries.last?.offset ?? 0,
                "applied through \(through), but the entries reach \(entries.last?.offset ?? 0)")
            reached = max(reached, through)
            if reached > self.applied { self.publish(through: reached) }
        }
    }

    private func stage(_ entry: EntryView) throws(VecraftError) {
        precondition(
            entry.collection == self.id.collection || entry.collection == 0,
            "an entry of collection \(entry.collection) for \(self.id)")
        let staging = self.staging
        staging.begin(growing: self.growing)
        staging.bytes += entry.raw.count
        do throws(StagingFault) {
            switch entry.operation {
            case .upsert: try self.stageUpsert(entry)
            case .delete: try self.stageDelete(entry)
            case .deleteByFilter: try self.applyDeleteByFilter(entry)
            case .ddl, .configuration, .barrier, .decision: break
            case .payloadPatch, .transactionPrepare, .transactionCommit, .transactionAbort:
                throw .resources(
                    VecraftError(
                        .unimplemented,
                        "\(entry.partition) offset \(entry.offset): this release does not apply \(entry.operation.name)"
                    ))
            }
        } catch {
            switch error {
            case .content(let what):
                throw VecraftError(
                    .dataLoss, "\(entry.partition) offset \(entry.offset) cannot be applied: \(what)",
                    reason: EntryJudgement.reason)
            case .resources(let error): throw error
            }
        }
        staging.hlc = entry.hlc
    }

    @inline(__always)
    private func owns(_ id: UnsafeRawBufferPointer) -> Bool {
        self.schema.shards == 1 || ShardSlots.shard(of: id, of: self.schema.shards) == self.id.shard
    }

    private func stageUpsert(_ entry: EntryView) throws(StagingFault) {
        do {
            var body = try UpsertBody(entry.body)
            let version = entry.hlc
            while let point = try body.next() {
                guard self.owns(point.id) else { continue }
                try self.staging.upsert(point, version: version)
            }
        } catch let fault as StagingFault {
            throw fault
        } catch {
            throw .content("\(error)")
        }
    }

    private func stageDelete(_ entry: EntryView) throws(StagingFault) {
        do {
            var body = try DeleteBody(entry.body)
            while let id = try body.next() {
                guard id.count > 0 else { throw StagingFault.content("an empty id") }
                if self.owns(id) { self.staging.delete(id) }
            }
        } catch let fault as StagingFault {
            throw fault
        } catch {
            throw .content("\(error)")
        }
    }

    /// Everything before it must be visible, for it decides by what the points are.
    private func applyDeleteByFilter(_ entry: EntryView) throws(StagingFault) {
        let filter: Filter
        do throws(EntryRefusal) { filter = try EntryJudgement.filter(entry) } catch { throw .content(error.what) }
        if !self.staging.isEmpty { self.publish(through: max(self.applied, entry.offset - 1)) }
        // Rows may not move between the look and the deletion; only this thread changes what they hold.
        self.swap.withLock { _ in
            let context = self.contexts.take()
            defer { self.contexts.give(context) }
            let compiled = CompiledFilter(filter, fields: self.shape.fields)
            let found = self.lock.reading {
                self.segments.map { segment in (segment, self.matchingRows(compiled, segment, context)) }
            }
            var shrank = false
            self.lock.writing {
                for (segment, rows) in found {
                    for row in rows {
                        let location = Location(slot: segment.slot, row: row)
                        let id = self.table.views.id(location)
                        let slot = self.ids.find(StableHash.of(id)) { self.table.views.matches($0, id) }
                        self.ids.remove(slot!)
                        if self.kill(location) != .growing { shrank = true }
                    }
                }
                self.advance(to: entry.offset, entry.hlc, bytes: self.staging.bytes)
                self.staging.bytes = 0
            }
            if shrank || self.isCheckpointDue { self.workers.wake(self) }
        }
    }

    /// Live rows that match, ascending. Under the lock.
    private func matchingRows(_ filter: CompiledFilter, _ segment: Segment, _ context: SearchContext) -> [UInt32] {
        do throws(VecraftError) { try self.evaluate(filter, segment, context) } catch {
            preconditionFailure("without a deadline: \(error)")
        }
        var rows: [UInt32] = []
        context.matching.forEach { row in if !segment.deleted[row] { rows.append(UInt32(row)) } }
        return rows
    }

    // MARK: Publication

    /// Makes all that is staged visible, at once.
    private func publish(through offset: JournalOffset) {
        let staging = self.staging
        guard !staging.isEmpty else {
            // Entries of others, or without points: nothing a reader could see half of.
            self.advance(to: offset, staging.hlc, bytes: staging.bytes)
            staging.clear()
            if self.isCheckpointDue { self.workers.wake(self) }
            return
        }
        var wantsWork = false
        self.lock.writing {
            for (i, target) in staging.targets.enumerated() {
                let segment = target.segment
                if target.isNew {
                    self.table.add(segment)
                    self.segments.append(segment)
                    self.layout &+= 1
                }
                for (index, row) in (segment.rowCount..<segment.stagedRows).enumerated() {
                    segment.payloads.commit(row: UInt32(row), target.prepared, at: index)
                }
                segment.publish(rows: segment.stagedRows)
                // Only the last takes more.
                if i < staging.targets.count - 1 || segment.rowCount == segment.storage.capacity {
                    segment.state = .closed
                    wantsWork = true
                }
                wantsWork = wantsWork || segment.rowCount >= self.settings.graphFrom
            }
            // Deletions alone can wear a segment, or leave it as small as others: it is to be merged.
            if self.carryOut() { wantsWork = true }
            self.advance(to: offset, staging.hlc, bytes: staging.bytes)
        }
        if let last = staging.targets.last?.segment { self.growing = last.state == .growing ? last : nil }
        wantsWork = wantsWork || self.isCheckpointDue
        let rows = staging.rows
        staging.clear()
        if wantsWork {
            self.workers.wake(self)
            // Whoever found a closed segment unlinked may be asleep again when its last rows were linked here.
            if self.linkBehind(published: rows) { self.workers.wake(self) }
        }
    }

    /// The staged operations, in order: later ones on a point win. Under the write lock.
    /// - Returns: True if segments that take no more rows have fewer live ones now.
    private func carryOut() -> Bool {
        let views = self.table.views
        let ids = self.ids
        let slots = self.staging.targets.map(\.segment.slot)
        var digest: UInt64 = 0
        var shrank = false
        for operation in self.staging.operations {
            let id = UnsafeRawBufferPointer(start: operation.id, count: Int(operation.idCount))
            let known = ids.find(operation.hash) { views.matches($0, id) }
            if let known, self.kill(views.resolve(Location(rawValue: known.pointee.location))) != .growing {
                shrank = true
            }
            if operation.target >= 0 {
                let location = Location(slot: slots[Int(operation.target)], row: operation.row)
                digest ^= views.record(location).pointee.digest
                if let known {
                    known.pointee.location = location.rawValue
                } else {
                    ids.insert(operation.hash, location)
                }
            } else if let known {
                ids.remove(known)
            }
        }
        self.pointsDigest ^= digest
        return shrank
    }

    /// Marks a row's point as gone. The id map is the caller's affair. Under the write lock.
    /// - Returns: The state of the row's segment.
    private func kill(_ location: Location) -> ShardManifest.SegmentState {
        self.pointsDigest ^= self.table.views.record(location).pointee.digest
        let segment = self.table.segments[Int(location.slot)]!
        segment.delete(row: Int(location.row))
        return segment.state
    }

    private func advance(to offset: JournalOffset, _ hlc: HLCTimestamp, bytes: Int) {
        self.bytesSinceCheckpoint.wrappingAdd(bytes, ordering: .relaxed)
        if hlc > self.appliedHLC { self.appliedTime.store(hlc.rawValue, ordering: .releasing) }
        self.appliedOffset.store(offset, ordering: .releasing)
    }
}
