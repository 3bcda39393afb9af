import FileStore
import Glibc
import HLC
import JournalFormat
import JournalStore
import Primitives
import Synchronization
import TestSupport

/// A wall clock that a test sets; it also moves on a little by itself, as walls do.
final class FakeWall: Sendable {
    private let microseconds: Atomic<UInt64>
    init(milliseconds: UInt64 = 1_763_840_000_000) { self.microseconds = Atomic(milliseconds * 1000) }
    func read() -> UInt64 { self.microseconds.add(100, ordering: .relaxed).newValue / 1000 }
    func move(milliseconds: Int64) {
        self.microseconds.wrappingAdd(UInt64(bitPattern: milliseconds * 1000), ordering: .relaxed)
    }
}

func smallSettings() -> JournalSettings {
    var settings = JournalSettings()
    settings.segmentBytes = 64 << 10
    settings.maxBatchBytes = 32 << 10
    settings.reserveBytes = 0
    return settings
}

let directory = "/journal/data-0"

func open(
    _ files: any FileStore, _ settings: JournalSettings = smallSettings(), wall: FakeWall = FakeWall(),
    at path: String = directory, observer: (any JournalObserver)? = nil
) throws(VecraftError) -> JournalPartition {
    try JournalPartition(
        id: .data(0), directory: path, settings: settings, files: files, clock: HLCClock(physical: { wall.read() }),
        observer: observer)
}

func entry(
    _ body: [UInt8], tier: Tier = .batch, key: String = "", tenant: String = "acme", shard: UInt32 = 0,
    operation: OperationKind = .barrier, partition: PartitionID = .data(0)
) -> EncodedEntry {
    let header = EntryHeader(
        partition: partition, tier: tier, operation: operation, tenant: tenant, collection: 1, shard: shard,
        requestID: "r", idempotencyKey: key, principal: "p",
        trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true))
    return body.withUnsafeBytes { EncodedEntry.raw(header: header, body: $0) }
}

/// Recognisable bytes: the number, then filling that depends on it. Made whole, not byte by byte: tests run unoptimised.
func numbered(_ number: UInt64, bytes: Int = 40) -> [UInt8] {
    var body = [UInt8](repeating: UInt8(truncatingIfNeeded: number &* 7 &+ 1), count: max(bytes, 8))
    body.withUnsafeMutableBytes { $0.storeBytes(of: number.littleEndian, as: UInt64.self) }
    return body
}

func numberOf(_ body: UnsafeRawBufferPointer) -> UInt64? {
    guard body.count >= 8 else { return nil }
    let number = body.loadUnaligned(as: UInt64.self)
    return numbered(number, bytes: body.count).withUnsafeBytes { memcmp($0.baseAddress!, body.baseAddress!, body.count) } == 0
        ? number : nil
}

struct StoredEntry: Equatable {
    let offset: JournalOffset
    let hlc: HLCTimestamp
    let term: UInt64
    let body: [UInt8]
}

/// The whole committed log, in batches of at most `maxBytes`.
func readAll(
    _ partition: JournalPartition, from: JournalOffset = 1, maxBytes: Int = 10_000
) throws(VecraftError) -> [StoredEntry] {
    var all: [StoredEntry] = []
    var next = from
    while true {
        let batch = try partition.read(from: next, maxBytes: maxBytes)
        if batch.isEmpty { return all }
        for view in batch {
            all.append(StoredEntry(offset: view.offset, hlc: view.hlc, term: view.term, body: copied(view.body)))
        }
        next = batch.nextOffset
    }
}

func copied(_ raw: UnsafeRawBufferPointer) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: raw.count) { buffer, count in
        UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
        count = raw.count
    }
}

/// Collects what completions bring; waits without a clock.
final class Answers: Sendable {
    private let results = Mutex<[Result<Appended, VecraftError>]>([])
    private let arrived = Mutex<[CheckedContinuation<Void, Never>]>([])

    func take(_ result: Result<Appended, VecraftError>) {
        self.results.withLock { $0.append(result) }
        for waiter in self.arrived.withLock({ waiters in
            defer { waiters = [] }
            return waiters
        }) { waiter.resume() }
    }

    var all: [Result<Appended, VecraftError>] { self.results.withLock { $0 } }
    var appended: [Appended] { self.all.compactMap { try? $0.get() } }

    /// Returns when at least so many answers are there.
    func wait(for count: Int) async {
        while true {
            await withCheckedContinuation { continuation in
                let isThere = self.arrived.withLock { waiters in
                    if self.results.withLock({ $0.count }) >= count { return true }
                    waiters.append(continuation)
                    return false
                }
                if isThere { continuation.resume() }
            }
            if self.results.withLock({ $0.count }) >= count { return }
        }
    }
}

/// Holds calls of a disk until told to let them go.
final class Gate: Sendable {
    private let state = Mutex<(isClosed: Bool, held: Int)>((false, 0))

    func close() { self.state.withLock { $0.isClosed = true } }
    func open() { self.state.withLock { $0.isClosed = false } }
    var held: Int { self.state.withLock { $0.held } }

    /// On the disk's own thread.
    func pass() {
        guard self.state.withLock({ state in
            if state.isClosed { state.held += 1 }
            return state.isClosed
        }) else { return }
        while self.state.withLock({ $0.isClosed }) { pauseBriefly() }
        self.state.withLock { $0.held -= 1 }
    }

    /// Returns when a call is held.
    func waitUntilHeld() async { while self.held == 0 { await Task.yield() } }
}

func errorOf<T>(_ body: () throws(VecraftError) -> T) -> VecraftError? {
    do throws(VecraftError) {
        _ = try body()
        return nil
    } catch { return error }
}

extension Result where Failure == VecraftError {
    var error: VecraftError? {
        if case .failure(let error) = self { error } else { nil }
    }
}

/// Lets other threads run.
func pauseBriefly() { _ = sched_yield() }
