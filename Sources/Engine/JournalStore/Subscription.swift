internal import Synchronization

/// Keeps a callback registered. It ends with ``cancel()`` or with this object.
package final class Subscription: Sendable {
    private let action: Mutex<(@Sendable () -> Void)?>
    init(_ cancel: @escaping @Sendable () -> Void) { self.action = Mutex(cancel) }
    deinit { self.cancel() }

    /// A callback already running may still finish; none begins afterwards on the thread that cancels.
    package func cancel() {
        let action = self.action.withLock { action in
            defer { action = nil }
            return action
        }
        action?()
    }
}
