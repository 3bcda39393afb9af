import Wire

/// An answer of etcd's.
protocol EtcdResponse: WireMessage {
    var header: EtcdV3.ResponseHeader? { get }
    /// It says what the majority knows: its revision never goes back.
    static var isLinearizable: Bool { get }
}

extension EtcdResponse {
    static var isLinearizable: Bool { false }
}

extension EtcdV3.RangeResponse: EtcdResponse { static var isLinearizable: Bool { true } }
extension EtcdV3.PutResponse: EtcdResponse { static var isLinearizable: Bool { true } }
extension EtcdV3.DeleteRangeResponse: EtcdResponse { static var isLinearizable: Bool { true } }
extension EtcdV3.TxnResponse: EtcdResponse { static var isLinearizable: Bool { true } }
extension EtcdV3.LeaseGrantResponse: EtcdResponse {}
extension EtcdV3.LeaseRevokeResponse: EtcdResponse {}
extension EtcdV3.LeaseKeepAliveResponse: EtcdResponse {}
extension EtcdV3.LeaseTimeToLiveResponse: EtcdResponse {}
extension EtcdV3.AuthenticateResponse: EtcdResponse {}
extension EtcdV3.StatusResponse: EtcdResponse {}
