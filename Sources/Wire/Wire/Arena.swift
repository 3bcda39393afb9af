import CWire
import Primitives
import Synchronization

/// Where decoded messages live: a bump allocator that protobuf-c allocates from, freed at once.
///
/// Views and builders are addresses into it: they must not be used after ``reset()`` or the arena's end.
///
/// `@unchecked Sendable`: an arena has one owner at a time, who may hand it to another thread; it is never shared.
package final class Arena: @unchecked Sendable {
    /// A message may be 64 MiB (``Limits/messageBytes``); its structs and the decoder's own notes take up to as much
    /// again twice. Beyond this input is refused.
    package static let defaultLimit = 3 * Limits.messageBytes
    /// A search request with its reply needs less than 16 KiB.
    package static let firstBlock = 16 << 10
    /// A steady load of bulk writes of this size runs without asking the system for memory.
    package static let keptBlock = 1 << 20

    @usableFromInline let handle: OpaquePointer

    /// - Parameter limit: Bytes that decoding may take. Builders are not held to it: replies have limits of their own.
    package init(limit: Int = Arena.defaultLimit) {
        guard let handle = wire_arena_create(Self.firstBlock, limit, Self.keptBlock) else {
            preconditionFailure("no memory for an arena of \(Self.firstBlock) bytes")
        }
        self.handle = handle
    }

    deinit { wire_arena_destroy(self.handle) }

    /// Forgets everything allocated; what is kept of its memory is at most ``keptBlock``.
    package func reset() { wire_arena_reset(self.handle) }

    /// Bytes handed out since the last reset.
    package var used: Int { wire_arena_used(self.handle) }
    /// Bytes held from the system.
    package var held: Int { wire_arena_held(self.handle) }

    /// Room for the caller's own use, 16-byte aligned, not zeroed, not held to the limit.
    package func allocate(_ count: Int) -> UnsafeMutableRawPointer {
        // Never NULL: the C side ends the process instead.
        wire_arena_alloc_unlimited(self.handle, count)!
    }
}

/// Idle arenas, for requests that outlive one synchronous call.
package final class ArenaPool: Sendable {
    package static let shared = ArenaPool(capacity: 64)

    /// Arenas kept when idle; more are freed. With ``Arena/keptBlock`` this bounds the memory the pool holds.
    private let capacity: Int
    private let idle = Mutex<[Arena]>([])

    package init(capacity: Int) { self.capacity = capacity }

    package func take() -> Arena { self.idle.withLock { $0.popLast() } ?? Arena() }

    /// The arena is reset; every view and builder in it is void.
    package func give(_ arena: Arena) {
        arena.reset()
        self.idle.withLock { if $0.count < self.capacity { $0.append(arena) } }
    }

    package func withArena<R, Failure: Error>(_ body: (Arena) throws(Failure) -> R) throws(Failure) -> R {
        let arena = self.take()
        defer { self.give(arena) }
        return try body(arena)
    }
}
