package import Primitives

/// Told what the server does, for metrics and logs. One call per event of a call's life, none per frame.
///
/// Called on event loops: cheap, never blocking. Method numbers are positions in the list given to ``prepare(methods:)``.
package protocol GRPCObserver: AnyObject, Sendable {
    /// Once, before the first connection. The last entry, "unknown", stands for every path that is not served, so that
    /// labels stay bounded.
    func prepare(methods: [String])
    func connectionOpened()
    /// - Parameters:
    ///   - bytesIn: Request message bytes received, after framing, before decompression.
    ///   - bytesOut: Reply message bytes handed to the connection.
    func connectionClosed(bytesIn: Int, bytesOut: Int)
    /// A connection was turned away at the door: the limit on connections was reached.
    func connectionRefused()
    func callStarted(method: Int)
    /// - Parameter seconds: From the arrival of the request's headers to the hand-over of the status.
    func callFinished(method: Int, code: VecraftError.Code, seconds: Double, bytesIn: Int, bytesOut: Int)
}
