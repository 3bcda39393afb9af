internal import Dispatch
internal import Glibc
internal import Synchronization

/// Runs `cleanUp` and ends the program when it is interrupted (Ctrl-C, SIGTERM, a closed terminal) or nobody reads it any more.
final class Interruption {
    private let sources: [any DispatchSourceSignal]
    private let happened = Flag()

    private final class Flag: Sendable { let value = Atomic(false) }

    init(_ cleanUp: @escaping @Sendable () -> Void) {
        let happened = self.happened
        // The write then fails, and the console knows what to do.
        signal(SIGPIPE, SIG_IGN)
        Console.beforeBrokenPipe(cleanUp)
        self.sources = [SIGINT, SIGTERM, SIGHUP].map { number in
            // A source sees the signal only if its default action does not come first.
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler {
                happened.value.store(true, ordering: .relaxed)
                Console.error("\nStopping.")
                cleanUp()
                // As a shell reports a program that a signal ended.
                exit(128 + number)
            }
            source.resume()
            return source
        }
    }

    deinit {
        Console.beforeBrokenPipe(nil)
        for source in self.sources { source.cancel() }
    }

    /// Returns at once, unless the program was interrupted: what went wrong since is no news, and the program ends elsewhere.
    func stepAside() async {
        guard self.happened.value.load(ordering: .relaxed) else { return }
        try? await Task.sleep(for: .seconds(60))
    }
}
