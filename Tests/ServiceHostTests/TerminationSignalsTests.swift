import Glibc
import ServiceHost
import Testing

/// Signals belong to the whole process, so these run one after another.
@Suite(.serialized) struct TerminationSignalsTests {
    private let numbers: [TerminationSignals.Signal: Int32] = [.interrupt: SIGUSR1, .terminate: SIGUSR2]

    @Test func theFirstSignalIsToldAndTheSecondEndsTheProcess() async {
        let (exited, continuation) = AsyncStream.makeStream(of: Int32.self, bufferingPolicy: .bufferingNewest(4))
        let signals = TerminationSignals(numbers: self.numbers, exitNow: { continuation.yield($0) })
        await withTaskGroup(of: TerminationSignals.Signal?.self) { group in
            group.addTask { await signals.first() }
            kill(getpid(), SIGUSR2)
            #expect(await group.next() == .terminate)
        }
        // Told again to whoever asks later.
        #expect(await signals.first() == .terminate)
        kill(getpid(), SIGUSR1)
        var codes = exited.makeAsyncIterator()
        #expect(await codes.next() == 130)
    }

    @Test func aCancelledWaiterReturns() async {
        let signals = TerminationSignals(numbers: self.numbers, exitNow: { _ in })
        let answer = await withTaskGroup(of: TerminationSignals.Signal?.self) { group in
            group.addTask { await signals.first() }
            group.cancelAll()
            return await group.next() ?? .interrupt
        }
        #expect(answer == nil)
    }
}
