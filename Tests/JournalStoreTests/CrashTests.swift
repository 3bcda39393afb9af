import FileStore
import JournalFormat
import JournalStore
import Primitives
import Synchronization
import TestSupport
import Testing

/// What clients know of a log over several lives of its process, and what must therefore hold.
private struct ClientsView {
    var submitted: Set<UInt64> = []
    /// Told that it is durable, and where.
    var acknowledged: [UInt64: Appended] = [:]
    /// Told that it was not written.
    var refused: Set<UInt64> = []
    /// No answer, or one that leaves it open.
    var unknown: Set<UInt64> = []
    /// As read after the last opening that succeeded: nothing of it may ever change.
    var log: [StoredEntry] = []

    mutating func take(_ result: Result<Appended, VecraftError>, of number: UInt64) {
        self.unknown.remove(number)
        switch result {
        case .success(let appended): self.acknowledged[number] = appended
        case .failure(let error) where error.code == .unavailable: self.unknown.insert(number)
        case .failure: self.refused.insert(number)
        }
    }

    /// What is wrong with the log as it is read now; it becomes the known one.
    mutating func faults(of entries: [StoredEntry]) -> [String] {
        var faults: [String] = []
        func check(_ holds: Bool, _ what: String) { if !holds { faults.append(what) } }
        check(entries.map(\.offset) == entries.indices.map { UInt64($0 + 1) }, "offsets have gaps")
        check(zip(entries, entries.dropFirst()).allSatisfy { $0.hlc < $1.hlc && $0.term <= $1.term }, "time went back")
        check(entries.starts(with: self.log), "what was read once has changed")
        var seen: Set<UInt64> = []
        for stored in entries {
            guard let number = stored.body.withUnsafeBytes({ numberOf($0) }), self.submitted.contains(number) else {
                return faults + ["entry \(stored.offset) was written by nobody"]
            }
            check(seen.insert(number).inserted, "\(number) is there twice")
            check(!self.refused.contains(number), "\(number) was refused and is there")
        }
        for (number, appended) in self.acknowledged {
            guard appended.offset <= UInt64(entries.count) else {
                faults.append("\(number) was acknowledged at \(appended.offset) and is lost")
                continue
            }
            let stored = entries[Int(appended.offset) - 1]
            check(stored.body.withUnsafeBytes { numberOf($0) } == number, "\(number) is not where it was acknowledged")
            check(stored.hlc == appended.hlc && stored.term == appended.term, "\(number) has another HLC or term")
        }
        self.log = entries
        return faults
    }
}

/// One log, many lives, each ended at a moment that the seed chooses.
@Suite struct CrashTests {
    /// Power loss that drops or tears what was not synced, kill -9, full disks and failing syncs, clean stops, at any of the disk's
    /// calls, opening included. Nothing acknowledged is lost, nothing is invented, offsets have no gaps, time goes on; and what
    /// clients repeat under its key is there once.
    @Test(arguments: 0..<150) func nothingAcknowledgedIsLostAndNothingInvented(seed: Int) async throws {
        var rng = SeededRNG(seed: UInt64(seed))
        let files = FaultyFileStore(seed: UInt64(seed))
        let wall = FakeWall()
        var view = ClientsView()
        var nextNumber: UInt64 = 1
        for life in 0..<8 {
            if Bool.random(using: &rng) { wall.move(milliseconds: Int64.random(in: -5_000...5_000, using: &rng)) }
            if UInt8.random(in: 0..<4, using: &rng) > 0 {
                files.powerOff(afterCalls: Int.random(in: 0..<150, using: &rng))
            }
            if UInt8.random(in: 0..<3, using: &rng) == 0 {
                files.inject(
                    .diskFull(after: Int.random(in: 0..<60, using: &rng), count: Int.random(in: 1...3, using: &rng)))
            }
            if UInt8.random(in: 0..<8, using: &rng) == 0 {
                files.inject(.ioError(.sync, after: Int.random(in: 0..<60, using: &rng)))
            }
            let crash = [FaultyFileStore.Crash.process, .power, .powerTearing].randomElement(using: &rng)!
            let partition: JournalPartition
            do throws(VecraftError) {
                partition = try open(files.ofThisLife, wall: wall)
            } catch {
                #expect(
                    error.code == .unavailable || error.reason == "DISK_FULL", "seed \(seed), life \(life): \(error)")
                files.restart(crash)
                continue
            }
            do throws(VecraftError) {
                let faults = view.faults(of: try readAll(partition))
                #expect(faults == [], "seed \(seed), life \(life)")
            } catch {
                #expect(files.isPowerOff && error.code == .unavailable, "seed \(seed), life \(life): \(error)")
            }
            await self.live(partition, &view, &nextNumber, &rng)
            let isClean = !files.isPowerOff && Bool.random(using: &rng)
            if isClean { partition.close() }
            files.restart(isClean ? .process : crash)
            partition.close()
        }
        files.restart(.process)
        let last = try open(files.ofThisLife, wall: wall)
        let faults = view.faults(of: try readAll(last))
        #expect(faults == [], "seed \(seed), before the end")
        for number in view.unknown {
            let again = try await last.append(entry(numbered(number, bytes: Self.size(number)), key: "key-\(number)"))
            view.take(.success(again), of: number)
        }
        let stillThere = view.faults(of: try readAll(last))
        #expect(stillThere == [], "seed \(seed), in the end")
        #expect(last.verify().faults == [], "seed \(seed)")
        last.close()
    }

    /// The process dies with the first entries of a segment written but not synced, and the power goes during the start that follows:
    /// what that start said of the segment before must hold without them.
    @Test(arguments: 0..<30) func powerLossDuringTheStartAfterAKill(calls: Int) async throws {
        // Three of the large ones fill a segment; small ones fit behind them.
        func entryOf(_ number: UInt64) -> EncodedEntry {
            entry(numbered(number, bytes: number < 10 ? 20_000 : 100), key: "key-\(number)")
        }
        for startCalls in 0..<24 {
            let what = "\(calls) calls, then \(startCalls)"
            let files = FaultyFileStore(seed: UInt64(calls))
            var view = ClientsView()
            func append(_ numbers: ClosedRange<UInt64>, to partition: JournalPartition) async {
                for number in numbers {
                    view.submitted.insert(number)
                    do throws(VecraftError) {
                        view.take(.success(try await partition.append(entryOf(number))), of: number)
                    } catch { view.take(.failure(error), of: number) }
                }
            }
            let first = try open(files.ofThisLife)
            files.powerOff(afterCalls: calls)
            await append(1...8, to: first)
            files.restart(.process)
            first.close()
            files.powerOff(afterCalls: startCalls)
            let second = try? open(files.ofThisLife)
            files.restart(.power)
            second?.close()
            for life in 0..<3 {
                let partition = try open(files.ofThisLife)
                #expect(view.faults(of: try readAll(partition)) == [], "\(what), life \(life)")
                // First those that fit behind what was found, then again all that were asked for before.
                await append(UInt64(100 + 10 * life)...UInt64(102 + 10 * life), to: partition)
                await append(1...8, to: partition)
                if life > 0 { await append(100...102, to: partition) }
                #expect(view.faults(of: try readAll(partition)) == [], "\(what), life \(life), repeated")
                partition.close()
            }
        }
    }

    /// Some entries are larger than a segment.
    private static func size(_ number: UInt64) -> Int {
        number % 97 == 13 ? 70_000 : 8 + Int(number &* 2_654_435_761 % 6_000)
    }

    /// Appends in bursts until the life ends or enough is done; takes up what the lives before left open.
    private func live(
        _ partition: JournalPartition, _ view: inout ClientsView, _ nextNumber: inout UInt64, _ rng: inout SeededRNG
    ) async {
        var toRepeat = view.unknown.sorted()
        for _ in 0..<Int.random(in: 1..<12, using: &rng) {
            let answers = Answers()
            var numbers: [UInt64] = []
            for _ in 0..<Int.random(in: 1..<12, using: &rng) {
                if !toRepeat.isEmpty, Bool.random(using: &rng) {
                    numbers.append(toRepeat.removeFirst())
                } else {
                    numbers.append(nextNumber)
                    nextNumber += 1
                }
            }
            let results = Mutex<[UInt64: Result<Appended, VecraftError>]>([:])
            for number in numbers {
                view.submitted.insert(number)
                let tier = Tier.allCases[Int(number % 4)]
                partition.append(entry(numbered(number, bytes: Self.size(number)), tier: tier, key: "key-\(number)")) {
                    result in
                    results.withLock { $0[number] = result }
                    answers.take(result)
                }
            }
            await answers.wait(for: numbers.count)
            for (number, result) in results.withLock({ $0 }) { view.take(result, of: number) }
        }
    }
}
