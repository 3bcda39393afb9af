internal import CPlatform
package import Primitives
internal import Synchronization

/// A thread of our own: what waits for a disk must not hold a thread of the cooperative pool.
package final class Worker: Sendable {
    private final class Body: Sendable {
        let run: @Sendable () -> Void
        init(_ run: @escaping @Sendable () -> Void) { self.run = run }
    }

    private struct Handle: @unchecked Sendable {  // the C object is guarded by the mutex around it
        var worker: OpaquePointer?
    }
    private let handle: Mutex<Handle>

    /// - Parameter name: At most 15 bytes are seen in `top`.
    package init(name: String, _ body: @escaping @Sendable () -> Void) throws(VecraftError) {
        let context = Unmanaged.passRetained(Body(body))
        let worker = vc_worker_start(name, { Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run() }, context.toOpaque())
        guard let worker else {
            context.release()
            throw VecraftError(.resourceExhausted, "the system refuses another thread", reason: "NO_THREAD")
        }
        self.handle = Mutex(Handle(worker: worker))
    }

    deinit { self.handle.withLock { if let worker = $0.worker { vc_worker_detach(worker) } } }

    /// Waits for the end of the thread; at once when called on it, or a second time.
    package func join() {
        let taken = self.handle.withLock { handle -> Handle in
            guard let worker = handle.worker, vc_worker_is_current(worker) == 0 else { return Handle(worker: nil) }
            handle.worker = nil
            return Handle(worker: worker)
        }
        if let worker = taken.worker { vc_worker_join(worker) }
    }
}

/// A flag that a thread waits for: raised, it stays so until one waiter takes it.
package final class Signal: @unchecked Sendable {  // the C object locks itself
    private let signal = vc_signal_make()!
    package init() {}
    deinit { vc_signal_free(self.signal) }
    package func raise() { vc_signal_raise(self.signal) }
    package func wait() { _ = vc_signal_wait(self.signal, .max) }
    /// - Returns: Whether it was raised.
    @discardableResult
    package func wait(milliseconds: UInt64) -> Bool { vc_signal_wait(self.signal, milliseconds * 1_000_000) != 0 }
    package func wait(nanoseconds: UInt64) { _ = vc_signal_wait(self.signal, nanoseconds) }
}
