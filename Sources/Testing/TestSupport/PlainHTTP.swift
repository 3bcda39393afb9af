internal import Foundation
internal import Primitives

/// A plain HTTP request by the system's own means, as any client would make it.
package func http(
    _ method: String, _ port: Int, _ path: String, body: String? = nil, headers: [String: String] = [:],
    host: String = "127.0.0.1"
) async throws -> (status: Int, headers: [String: String], body: String) {
    // One connection a request, read to its end: enough for a test, and no second HTTP stack.
    let request =
        "\(method) \(path) HTTP/1.1\r\nHost: \(host)\r\nConnection: close\r\n"
        + headers.map { "\($0): \($1)\r\n" }.joined()
        + (body.map { "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n" } ?? "") + "\r\n"
        + (body ?? "")
    let collected = try await offThePool { try exchange(host, port, Array(request.utf8)) }
    let text = String(decoding: collected, as: UTF8.self)
    let halves = text.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false)
    let lines = halves[0].split(separator: "\r\n")
    guard let first = lines.first, let status = first.split(separator: " ").dropFirst().first.flatMap({ Int($0) })
    else {
        throw VecraftError(.internalError, "no HTTP answer: \(text.prefix(200))")
    }
    var fields: [String: String] = [:]
    for line in lines.dropFirst() {
        let parts = line.split(separator: ":", maxSplits: 1)
        if parts.count == 2 { fields[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
    }
    var content = halves.count > 1 ? String(halves[1]) : ""
    if fields["transfer-encoding"] == "chunked" { content = unchunk(content) }
    return (status, fields, content)
}

private func unchunk(_ text: String) -> String {
    var bytes = Array(text.utf8)[...]
    var whole: [UInt8] = []
    while let end = bytes.firstIndex(of: 13) {
        guard let count = Int(String(decoding: bytes[..<end], as: UTF8.self), radix: 16), count > 0 else { break }
        let start = end + 2
        whole += bytes[start..<start + count]
        bytes = bytes[(start + count + 2)...]
    }
    return String(decoding: whole, as: UTF8.self)
}

private func exchange(_ host: String, _ port: Int, _ request: [UInt8]) throws -> [UInt8] {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = inet_addr(host)
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard connected == 0 else { throw VecraftError(.unavailable, "connect: errno \(errno)") }
    var sent = 0
    while sent < request.count {
        let count = request[sent...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw VecraftError(.unavailable, "write: errno \(errno)") }
        sent += count
    }
    var whole: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return whole }
        whole += buffer[0..<count]
    }
}
