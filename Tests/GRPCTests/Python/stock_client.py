"""A stock grpcio client against the server of StockClientTests. Messages are bytes, so no protobuf is needed.

usage: stock_client.py PORT PLAIN_OR_TLS [CA CERTIFICATE KEY]

Prints one line per check; ends with status 1 at the first that fails.
"""
import sys
import threading
import time
from concurrent import futures

import grpc

LIMIT = 64 << 20
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
]


def open_channel(arguments, **more):
    port, security = arguments[0], arguments[1]
    options = OPTIONS + list(more.pop("options", []))
    if security == "plain":
        return grpc.insecure_channel("127.0.0.1:" + port, options=options, **more)
    ca, certificate, key = [open(path, "rb").read() for path in arguments[2:5]]
    credentials = grpc.ssl_channel_credentials(ca, key, certificate)
    return grpc.secure_channel("localhost:" + port, credentials, options=options, **more)


def expect_error(code, call):
    try:
        result = call()
    except grpc.RpcError as error:
        assert error.code() == code, "%s: %s" % (error.code(), error.details())
        return error
    raise AssertionError("no error but %r" % (result,))


class Checks:
    def __init__(self, arguments):
        self.arguments = arguments
        self.channel = open_channel(arguments)

    def unary(self, method, **options):
        return self.channel.unary_unary("/test.Test/" + method, **options)

    def check_unary(self):
        echo = self.unary("Echo")
        assert echo(b"hello") == b"hello"
        assert echo(b"") == b""

    def check_many_callers(self):
        echo = self.unary("Echo")
        with futures.ThreadPoolExecutor(32) as pool:
            messages = [b"%d" % i for i in range(500)]
            assert list(pool.map(echo, messages)) == messages

    def check_futures(self):
        echo = self.unary("Echo")
        calls = [echo.future(b"%d" % i) for i in range(200)]
        assert [call.result() for call in calls] == [b"%d" % i for i in range(200)]

    def check_deferred(self):
        assert self.unary("Later")(b"x") == b"later x"

    def check_server_streaming(self):
        count = self.channel.unary_stream("/test.Test/Count")
        assert [int(m) for m in count(b"5000")] == list(range(5000))
        assert list(count(b"0")) == []

    def check_client_streaming(self):
        total = self.channel.stream_unary("/test.Test/Sum")
        assert total(iter([b"x" * n for n in range(1000)])) == b"%d" % sum(range(1000))
        assert total(iter([])) == b"0"

    def check_bidirectional(self):
        echoes = self.channel.stream_stream("/test.Test/Echoes")
        sizes = [0, 1, 10, 1000, 100_000, 1_000_000, 5]
        replies = list(echoes(iter([b"y" * n for n in sizes])))
        assert [len(r) for r in replies] == sizes

    def check_slow_reader(self):
        count = self.channel.unary_stream("/test.Test/Count")
        call = count(b"40000")
        seen = 0
        for message in call:
            assert int(message) == seen
            seen += 1
            if seen % 8000 == 0:
                time.sleep(0.05)
        assert seen == 40000

    def check_metadata(self):
        metadata = (("x-echo", "value"), ("x-echo-bin", bytes([0, 1, 254, 255])))
        reply, call = self.unary("Metadata").with_call(b"", metadata=metadata)
        initial = dict(call.initial_metadata())
        trailing = dict(call.trailing_metadata())
        assert initial["x-echo"] == "value", initial
        assert trailing["x-echo-bin"] == bytes([0, 1, 254, 255]), trailing

    def check_status(self):
        error = expect_error(grpc.StatusCode.FAILED_PRECONDITION, lambda: self.unary("Fail")("größer als 100 % – 日本".encode()))
        assert error.details() == "größer als 100 % – 日本", error.details()
        trailing = dict(error.trailing_metadata())
        assert trailing["retry-after"] == "2", trailing
        assert trailing["grpc-status-details-bin"] == b"details", trailing

    def check_stream_status(self):
        count = self.channel.unary_stream("/test.Test/CountAndFail")
        seen = []

        def read():
            for message in count(b"3"):
                seen.append(message)

        expect_error(grpc.StatusCode.ABORTED, read)
        assert seen == [b"0", b"1", b"2"], seen

    def check_unknown_method(self):
        expect_error(grpc.StatusCode.UNIMPLEMENTED, lambda: self.unary("Nope")(b""))

    def check_deadline(self):
        expect_error(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: self.unary("Never")(b"", timeout=0.1))
        never = self.channel.unary_stream("/test.Test/NeverStream")
        expect_error(grpc.StatusCode.DEADLINE_EXCEEDED, lambda: list(never(b"", timeout=0.1)))

    def check_cancel(self):
        call = self.unary("Never").future(b"cancel me")
        wait = self.unary("WaitForStart")
        wait(b"cancel me")
        call.cancel()
        assert self.unary("WaitForCancel")(b"cancel me") == b"cancelled"

    def check_cancelled_stream(self):
        call = self.channel.unary_stream("/test.Test/Count")(b"100000000")
        for _, _message in zip(range(10), call):
            pass
        call.cancel()
        assert self.unary("Echo")(b"after") == b"after"

    def check_large_messages(self):
        echo = self.unary("Echo")
        message = b"z" * LIMIT
        assert echo(message) == message
        expect_error(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: echo(b"z" * (LIMIT + 1)))
        assert echo(b"still here") == b"still here"

    def check_gzip(self):
        with open_channel(self.arguments, compression=grpc.Compression.Gzip) as channel:
            echo = channel.unary_unary("/test.Test/Echo")
            for size in (0, 10, 5_000, 3_000_000):
                message = bytes(range(256)) * (size // 256) + b"q" * (size % 256)
                assert echo(message) == message
            expect_error(grpc.StatusCode.RESOURCE_EXHAUSTED, lambda: echo(b"\0" * (LIMIT + 1)))
            echoes = channel.stream_stream("/test.Test/Echoes")
            assert list(echoes(iter([b"r" * 100_000] * 5))) == [b"r" * 100_000] * 5

    def check_unknown_encoding(self):
        with open_channel(self.arguments, compression=grpc.Compression.Deflate) as channel:
            expect_error(grpc.StatusCode.UNIMPLEMENTED, lambda: channel.unary_unary("/test.Test/Echo")(b"s" * 10_000))

    def check_keepalive(self):
        options = [
            ("grpc.keepalive_time_ms", 10),
            ("grpc.keepalive_timeout_ms", 120_000),
            ("grpc.http2.max_pings_without_data", 0),
        ]
        with open_channel(self.arguments, options=options) as channel:
            echo = channel.unary_unary("/test.Test/Echo")
            for i in range(20):
                assert echo(b"%d" % i) == b"%d" % i
                time.sleep(0.01)

    def check_threads_of_streams(self):
        failures = []

        def run(n):
            try:
                echoes = self.channel.stream_stream("/test.Test/Echoes")
                messages = [b"%d-%d" % (n, i) for i in range(100)]
                assert list(echoes(iter(messages))) == messages
            except Exception as error:  # reported by the main thread
                failures.append(error)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures


def main():
    checks = Checks(sys.argv[1:])
    for name in [n for n in dir(checks) if n.startswith("check_")]:
        start = time.monotonic(), time.process_time()
        try:
            getattr(checks, name)()
        except Exception as error:
            print("FAILED", name, repr(error))
            raise
        print("ok %s %.2f s, %.2f s of CPU" % (name, time.monotonic() - start[0], time.process_time() - start[1]), flush=True)
    checks.channel.close()


if __name__ == "__main__":
    main()
