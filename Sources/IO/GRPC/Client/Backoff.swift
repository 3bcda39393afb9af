/// How long to wait before the next attempt: doubling, bounded, a little random so that many clients do not come back at once.
struct Backoff {
    private let shortest: Duration
    private let longest: Duration
    private var current: Duration

    init(from shortest: Duration, upTo longest: Duration) {
        self.shortest = shortest
        self.longest = max(shortest, longest)
        self.current = shortest
    }

    mutating func reset() { self.current = self.shortest }

    mutating func next(using generator: inout some RandomNumberGenerator) -> Duration {
        let wait = self.current * Double.random(in: 0.8...1, using: &generator)
        self.current = min(self.current * 2, self.longest)
        return wait
    }
}
