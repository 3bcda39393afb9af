package struct NeverHappened: Error, CustomStringConvertible {
    package let description: String
}

/// Waits for a condition, asking again and again, until it holds; a machine may be as busy as it likes within `patience`.
///
/// - Parameter what: For the error, when it never did.
/// - Returns: What the condition gave when it was not nil. An error of the condition counts as "not yet".
package func eventually<T>(
    _ what: String, within patience: Duration = .seconds(120), every interval: Duration = .milliseconds(20),
    _ condition: () async throws -> T?
) async throws -> T {
    let end = ContinuousClock.now + patience
    var last = ""
    while true {
        // What stood still for longer than its patience asks once more before it gives up.
        let isLast = ContinuousClock.now >= end
        do {
            if let found = try await condition() { return found }
        } catch {
            last = ": \(error)"
        }
        if isLast { break }
        try await Task.sleep(for: interval)
    }
    throw NeverHappened(description: "within \(patience): \(what)\(last)")
}

/// The same for what is true or not.
package func eventually(
    _ what: String, within patience: Duration = .seconds(120), every interval: Duration = .milliseconds(20),
    _ condition: () async throws -> Bool
) async throws {
    let _: Void = try await eventually(what, within: patience, every: interval) { try await condition() ? () : nil }
}
