internal import Glibc

/// How far a long step is, as one line. Pure: the time is handed in.
package struct Progress: Sendable {
    package var title: String
    /// What is counted: "point".
    package var noun: String
    /// Nil when the end is not known.
    package var total: Int?
    package private(set) var done = 0
    private var started: Duration
    /// Moving average, so that the estimate follows a change of pace; weighted by time, 5 s to forget two thirds.
    private var rate = 0.0
    private var sampled: (at: Duration, done: Int)

    package init(_ title: String, noun: String, total: Int?, now: Duration) {
        self.title = title
        self.noun = noun
        self.total = total
        self.started = now
        self.sampled = (now, 0)
    }

    package mutating func advance(to done: Int, now: Duration) {
        self.done = done
        let elapsed = (now - self.sampled.at).seconds
        // Shorter samples are noise.
        guard elapsed >= 0.2 else { return }
        let current = Double(done - self.sampled.done) / elapsed
        let weight = self.rate == 0 ? 1 : 1 - exp(-elapsed / 5)
        self.rate += weight * (current - self.rate)
        self.sampled = (now, done)
    }

    private func pace(_ now: Duration) -> Double {
        let elapsed = (now - self.started).seconds
        return self.rate > 0 ? self.rate : elapsed > 0 ? Double(self.done) / elapsed : 0
    }

    /// One line of at most `width` columns: title, bar, share, counts, pace and time left.
    package func line(_ terminal: Terminal, now: Duration) -> String {
        let width = max(20, (terminal.width ?? 80) - 1)
        let pace = self.pace(now)
        let speed = pace > 0 ? "\(Figures.count(Int(pace)))/s" : ""
        guard let total = self.total, total > 0 else {
            return TextWidth.fit("\(self.title)  \(Figures.count(self.done, self.noun))  \(speed)", width)
        }
        let share = min(1, Double(self.done) / Double(total))
        let left = pace > 0 ? "\(Figures.clock(.seconds(Double(max(0, total - self.done)) / pace))) left" : ""
        let figures = [
            "\(Figures.decimal(share * 100, 0)) %", "\(Figures.count(self.done))/\(Figures.count(total))", speed, left,
        ]
        let text = figures.filter { !$0.isEmpty }.joined(separator: "  ")
        let bar = min(30, width - TextWidth.of(self.title) - TextWidth.of(text) - 4)
        guard bar >= 5 else { return TextWidth.fit("\(self.title)  \(text)", width) }
        let filled = Int((share * Double(bar)).rounded(.down))
        let (full, empty) = terminal.unicode ? ("█", "░") : ("#", "-")
        let drawn = terminal.style.cyan(String(repeating: full, count: filled))
        return "\(self.title)  \(drawn)\(String(repeating: empty, count: bar - filled))  \(text)"
    }

    /// What was done in the end: "2,500 points in 0.2 s, 12,480/s".
    package func summary(now: Duration) -> String {
        let elapsed = now - self.started
        let pace = elapsed.seconds > 0 ? ", \(Figures.count(Int(Double(self.done) / elapsed.seconds)))/s" : ""
        return "\(Figures.count(self.done, self.noun)) in \(Figures.duration(elapsed))\(pace)"
    }
}

/// Shows a ``Progress`` on standard error: one line drawn again in place on a terminal, a plain line now and then elsewhere.
package struct ProgressBar {
    package private(set) var progress: Progress
    private let terminal: Terminal
    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private var shown: Duration
    private var drawn = false
    /// Ten times a second looks alive; in a log a line every five seconds says enough.
    private var interval: Duration { self.terminal.isInteractive ? .milliseconds(100) : .seconds(5) }

    package init(_ title: String, noun: String, total: Int?, terminal: Terminal = .errors) {
        self.terminal = terminal
        self.start = self.clock.now
        self.shown = .zero
        self.progress = Progress(title, noun: noun, total: total, now: .zero)
    }

    package mutating func advance(to done: Int) {
        let now = self.clock.now - self.start
        self.progress.advance(to: done, now: now)
        guard now - self.shown >= self.interval else { return }
        self.shown = now
        self.draw(self.progress.line(self.terminal, now: now))
    }

    private mutating func draw(_ line: String) {
        if self.terminal.isInteractive {
            Console.error("\r\u{1B}[K" + line, terminator: "")
            self.drawn = true
        } else {
            Console.error(line)
        }
    }

    /// Takes the bar away, so that other words can be said; the next step draws it again.
    package mutating func clear() {
        if self.drawn { Console.error("\r\u{1B}[K", terminator: "") }
        self.drawn = false
    }

    /// Takes the bar away and returns what was done.
    package mutating func finish() -> String {
        self.clear()
        return self.progress.summary(now: self.clock.now - self.start)
    }
}
