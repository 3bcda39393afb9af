import Primitives
import Synchronization

@testable import GRPC

/// Writes down what a server reports.
final class Recorder: GRPCObserver {
    private let state = Mutex<(methods: [String], events: [String])>(([], []))

    var methods: [String] { self.state.withLock { $0.methods } }
    var events: [String] { self.state.withLock { $0.events } }
    private func record(_ event: String) { self.state.withLock { $0.events.append(event) } }

    func prepare(methods: [String]) { self.state.withLock { $0.methods = methods } }
    func connectionOpened() { self.record("opened") }
    func connectionClosed(bytesIn: Int, bytesOut: Int) { self.record("closed") }
    func connectionRefused() { self.record("refused") }
    func callStarted(method: Int) { self.record("started \(self.methods[method])") }
    func callFinished(method: Int, code: VecraftError.Code, seconds: Double, bytesIn: Int, bytesOut: Int) {
        self.record("finished \(self.methods[method]) \(code.name) in \(bytesIn) out \(bytesOut)")
    }
}
