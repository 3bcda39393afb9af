"""A collector of spans made of stock parts: grpcio, http.server and OpenTelemetry's own messages.

    collector.py FILE [FAILURES]

Prints "grpc PORT http PORT" when it listens. Each request it takes is a line of JSON in FILE: how it came, its headers and its spans.
The first FAILURES requests are answered UNAVAILABLE or 503.
"""
import gzip
import http.server
import json
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

FILE = sys.argv[1]
LOCK = threading.Lock()
failures = int(sys.argv[2]) if len(sys.argv) > 2 else 0


def fails():
    global failures
    with LOCK:
        failures -= 1
        return failures >= 0


def value(attribute):
    kind = attribute.value.WhichOneof("value")
    if kind == "array_value":
        return [getattr(each, each.WhichOneof("value")) for each in attribute.value.array_value.values]
    return getattr(attribute.value, kind) if kind else None


def attributes(of):
    return {each.key: value(each) for each in of}


def span(one, scope):
    return {
        "trace": one.trace_id.hex(), "id": one.span_id.hex(), "parent": one.parent_span_id.hex(), "state": one.trace_state,
        "name": one.name, "kind": one.SpanKind.Name(one.kind).removeprefix("SPAN_KIND_").lower(),
        "start": one.start_time_unix_nano, "end": one.end_time_unix_nano, "attributes": attributes(one.attributes),
        "links": [{"trace": link.trace_id.hex(), "id": link.span_id.hex()} for link in one.links],
        "status": one.status.code,
        "message": one.status.message, "flags": one.flags, "scope": scope.name,
    }


def keep(way, headers, request):
    spans = [span(one, scoped.scope) for all in request.resource_spans for scoped in all.scope_spans for one in scoped.spans]
    resource = attributes(request.resource_spans[0].resource.attributes) if request.resource_spans else {}
    line = json.dumps({"way": way, "headers": headers, "resource": resource, "spans": spans})
    with LOCK, open(FILE, "a") as file:
        file.write(line + "\n")


class Service(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        if fails():
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        keep("grpc", dict(context.invocation_metadata()), request)
        return trace_service_pb2.ExportTraceServiceResponse()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): text for name, text in self.headers.items()}
        if fails():
            self.send_response(503)
            self.send_header("retry-after", "1")
            self.end_headers()
            return
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        keep("http " + self.path, headers, trace_service_pb2.ExportTraceServiceRequest.FromString(body))
        answer = trace_service_pb2.ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


server = grpc.server(futures.ThreadPoolExecutor(4))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
grpc_port = server.add_insecure_port("127.0.0.1:0")
server.start()
web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=web.serve_forever, daemon=True).start()
print(f"grpc {grpc_port} http {web.server_port}", flush=True)
# Whoever started it closes its standard input to end it.
sys.stdin.read()
