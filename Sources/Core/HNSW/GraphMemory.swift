internal import VectorKernels

/// The arrays of one graph, reserved for every row it can ever have and committed by the system as rows come.
final class GraphMemory {
    let links0: UnsafeMutablePointer<UInt32>
    /// The distance of each link of level 0, and how many of them the heuristic chose (see `connect`).
    let linkKeys: UnsafeMutablePointer<UInt32>
    let chosenCounts: UnsafeMutablePointer<UInt16>
    let upper: UnsafeMutablePointer<UInt32>
    let upperStart: UnsafeMutablePointer<UInt32>
    let levels: UnsafeMutablePointer<UInt8>
    /// A lock in bit 0, see `RowState`.
    let states: UnsafeMutablePointer<UInt8>
    let codes: UnsafeMutablePointer<UInt8>
    let terms: UnsafeMutablePointer<Float>
    /// What codes are taken from; zero until the graph says otherwise.
    let centre: UnsafeMutablePointer<Float>
    /// Lists of `m` links that `upper` has room for.
    let upperLists: Int
    private(set) var bytes = 0
    private var blocks: [(UnsafeMutableRawPointer, Int)] = []

    init(capacity: Int, m: Int, dimension: Int, codeStride: Int) {
        var blocks: [(UnsafeMutableRawPointer, Int)] = []
        func reserve<T>(_: T.Type, _ count: Int) -> UnsafeMutablePointer<T> {
            let bytes = count * MemoryLayout<T>.stride
            guard let address = vk_allocate(bytes) else {
                preconditionFailure("no address space for \(bytes) bytes of a graph of \(capacity) rows")
            }
            blocks.append((address, bytes))
            return address.bindMemory(to: T.self, capacity: count)
        }
        // A share 1 / (m - 1) of lists is expected over all levels; a quarter more is dozens of deviations for any real size.
        self.upperLists = capacity / (m - 1) * 5 / 4 + 256
        self.links0 = reserve(UInt32.self, capacity * 2 * m)
        self.linkKeys = reserve(UInt32.self, capacity * 2 * m)
        self.chosenCounts = reserve(UInt16.self, capacity)
        self.upper = reserve(UInt32.self, self.upperLists * m)
        self.upperStart = reserve(UInt32.self, capacity)
        self.levels = reserve(UInt8.self, capacity)
        self.states = reserve(UInt8.self, capacity + 1)
        self.codes = reserve(UInt8.self, capacity * codeStride)
        self.terms = reserve(Float.self, codeStride == 0 ? 0 : capacity * 2)
        self.centre = reserve(Float.self, dimension)
        self.blocks = blocks
        self.bytes = blocks.reduce(0) { $0 + $1.1 }
    }

    deinit { for (address, bytes) in self.blocks { vk_deallocate(address, bytes) } }
}

/// Bits of a row's state.
enum RowState {
    /// Held while the row's lists are written.
    static let lock: UInt8 = 1
    static let linked: UInt8 = 2
    /// Will never be linked.
    static let skipped: UInt8 = 4
}
