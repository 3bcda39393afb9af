import Foundation
import TestSupport

/// What a benchmark found: a table for people, a file for programs.
struct Report {
    let name: String
    private var rows: [[String]] = []
    private var values: [(String, Double)] = []
    private var notes: [String] = []

    init(_ name: String) { self.name = name }

    mutating func header(_ columns: String...) { self.rows.append(columns) }
    mutating func row(_ cells: String...) { self.rows.append(cells) }
    mutating func value(_ name: String, _ value: Double) { self.values.append((name, value)) }
    mutating func note(_ text: String) { self.notes.append(text) }

    /// Prints the table and writes `.build/bench/<name>.json`.
    func finish() throws {
        var widths: [Int] = []
        for row in self.rows {
            for (i, cell) in row.enumerated() {
                if i == widths.count { widths.append(0) }
                widths[i] = max(widths[i], cell.count)
            }
        }
        for (line, row) in self.rows.enumerated() {
            let cells = row.enumerated().map { i, cell in
                let pad = String(repeating: " ", count: widths[i] - cell.count)
                return i == 0 ? cell + pad : pad + cell
            }
            print(cells.joined(separator: "  "))
            if line == 0 { print(widths.map { String(repeating: "-", count: $0) }.joined(separator: "  ")) }
        }
        for note in self.notes { print(note) }
        let directory = ".build/bench"
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let object = Dictionary(uniqueKeysWithValues: self.values)
        let data = try JSONSerialization.data(withJSONObject: object, options: [.prettyPrinted, .sortedKeys])
        try data.write(to: URL(fileURLWithPath: "\(directory)/\(self.name).json"))
        print("written: \(directory)/\(self.name).json")
    }
}

extension Double {
    func text(_ digits: Int = 1) -> String { String(format: "%.\(digits)f", self) }
}

func median(_ values: [Double]) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
}

/// The value that this share of all is not above.
func quantile(_ values: [Double], _ share: Double) -> Double {
    let sorted = values.sorted()
    return sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * share))]
}

func cpuSeconds(of process: Int32) -> Double { ProcessFigures.cpuSeconds(of: process) }

/// Of the threads that it has now, by the scheduler's count: nanoseconds instead of ticks.
func cpuSecondsOfThreads(of process: Int32) -> Double {
    let folder = "/proc/\(process)/task"
    let threads = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    let sum = threads.reduce(0) { sum, thread in
        let text = try? String(contentsOfFile: "\(folder)/\(thread)/schedstat", encoding: .utf8)
        return sum + (text?.split(separator: " ").first.flatMap { Double($0) } ?? 0) / 1e9
    }
    // A kernel that does not count so.
    return sum > 0 ? sum : cpuSeconds(of: process)
}

func seconds(_ body: () async throws -> Void) async rethrows -> Double {
    let start = ContinuousClock.now
    try await body()
    let spent = start.duration(to: .now).components
    return Double(spent.seconds) + Double(spent.attoseconds) * 1e-18
}

/// A folder that goes when the benchmark ends.
func temporaryDirectory(_ name: String) throws -> String {
    let path = FileManager.default.temporaryDirectory.appendingPathComponent("vecraft-\(name)-\(UUID().uuidString)")
        .path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}
