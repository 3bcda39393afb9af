#!/usr/bin/env python3
"""Writes Tests/WireTests/Generated/PythonGolden.swift: messages as Python's protobuf encodes them, and their JSON by it.

Needs the Python package grpcio-tools (which brings protobuf). Run it by hand when a .proto file changes what is here;
the result is committed, so the tests themselves need no Python.
"""
import importlib
import pathlib
import sys
import tempfile

from google.protobuf import json_format
from grpc_tools import protoc

PROTO = pathlib.Path(__file__).resolve().parent
TARGET = PROTO.parent / "Tests/WireTests/Generated/PythonGolden.swift"


def modules(scratch):
    names = sorted(str(p.relative_to(PROTO)) for p in PROTO.rglob("*.proto"))
    # `google/rpc` is left alone: the installed package `google` shadows what is generated for it.
    if protoc.main(["protoc", f"-I{PROTO}", f"--python_out={scratch}", *names]) != 0:
        sys.exit("golden.py: protoc failed")
    sys.path.insert(0, str(scratch))
    load = importlib.import_module
    return (load("vecraft.v1.types_pb2"), load("vecraft.v1.points_pb2"), load("vecraft.v1.collections_pb2"),
            load("vecraft.v1.cluster_pb2"), load("vecraft.v1.lineage_pb2"), load("vecraft.internal.v1.journal_pb2"))


def samples(types, points, collections, cluster, lineage, journal):
    write = types.WriteInfo(
        hlc=2**64 - 1, partition="data-0", offset=1 << 40, session_token=bytes(range(20)), request_id="r-1 \u00e9\u6f22\U0001f980",
        trace_id="0af7651916cd43dd8448eb211c80319c", replayed=True)
    # Messages of plain shape: their JSON is Python's.
    yield write, True
    yield types.ReadOptions(consistency="CONSISTENCY_LEVEL_STRONG", max_staleness_ms=2**32 - 1, session_token=b"\xfb\xff\xfe"), True
    yield types.ReadInfo(
        requested=1, achieved=4, staleness_ms=7, index_version=[types.PartitionOffset(partition="data-0", offset=9),
                                                              types.PartitionOffset()],
        cache_hit=True, server_time_us=1234567890123), True
    yield collections.CollectionConfig(
        vector=collections.VectorConfig(dimension=384, distance=1, hnsw=collections.HnswConfig(m=16)),
        vectors={"title": collections.VectorConfig(dimension=8, distance=3)},
        payload_indexes=[collections.PayloadIndexConfig(field="a.b", type=2)], shards=1), True
    yield cluster.StatusResponse(
        node="n", roles=["journal", "", "gateway"], checks=[cluster.Check(name="c", ok=True)], replay_progress=0.1,
        partitions=[cluster.PartitionStatus(partition="sys-0", lag_ms=3)]), True
    yield points.SearchPlan(strategy="graph+filter", visited=300, matching=2**63, unindexed=["a", "b.c"], engine_time_us=1), True
    yield points.DeleteResponse(write=write), True
    yield journal.EntryBatch(partition="data-0", entries=[b"", b"\x00\x01", b"x" * 200], committed_offset=3), True
    yield types.ReadOptions(consistency=99), True
    # Messages with JSON of our own: bytes only.
    condition = types.Condition
    filter_ = types.Filter(
        must=[condition(key="lang", match=types.Match(value=types.Value(string_value="de"))),
              condition(key="n", range=types.Range(gte=types.Number(value=1.5), lt=types.Number()))],
        should=[condition(filter=types.Filter(must=[condition(is_null=types.IsNull(key="x"))])),
                condition(has_id=types.Strings(values=["a", "b"]))],
        must_not=[condition(key="k", match=types.Match(any=types.Values(values=[
            types.Value(integer_value=-5), types.Value(float_value=0.5), types.Value(bool_value=False),
            types.Value(string_value="")])))])
    yield filter_, False
    yield points.SearchRequest(
        collection="docs", vector=types.Vector(values=[0.1, -2.5, 3e-5, 1e20]), using="title", limit=10, filter=filter_, ef=64,
        exact=True, with_vectors=True, without_payload=True, read=types.ReadOptions(max_staleness_ms=5), tenant="t"), False
    yield points.UpsertRequest(
        collection="docs", wait=2, idempotency_key="k", tenant="default",
        points=[types.Point(id=f"p{i}", vector=types.Vector(packed=bytes(range(16))), vectors={"title": types.Vector(values=[i, i + 0.5])},
                            payload=types.Payload(json=b'{"a":[1,2,{"b":null}]}')) for i in range(3)]), False
    yield points.SearchResponse(
        hits=[points.Hit(id=f"id-{i}", distance=i / 8, score=1 - i / 8, version=2**60 + i, payload=types.Payload(json=b"{}"))
              for i in range(3)], info=types.ReadInfo(achieved=2), plan=points.SearchPlan(strategy="exact")), False
    yield lineage.LineageEntry(
        partition="data-0", offset=1, spans=[lineage.Span(name="received", start_hlc=1, end_hlc=2)],
        points=[lineage.PointChange(id="a", operation="upsert", vectors={"t": 384})], filter_json='{"must":[]}', current=True), False
    # protobuf-c leaves out an entry's empty key, Python does not; both are read alike.
    yield lineage.PointChange(vectors={"": 384}), False


def literal(text):
    return '#"' + text + '"#'


def main():
    with tempfile.TemporaryDirectory() as folder:
        rows = []
        for message, plain in samples(*modules(pathlib.Path(folder))):
            data = message.SerializeToString(deterministic=True).hex()
            json = "nil"
            if plain:
                json = literal(json_format.MessageToJson(message, preserving_proto_field_name=True, indent=None, ensure_ascii=False))
            chunks = [data[i:i + 160] for i in range(0, len(data), 160)] or [""]
            lines = "\n                + ".join(f'"{chunk}"' for chunk in chunks)
            rows.append(f'        PythonGolden(\n            name: "{message.DESCRIPTOR.full_name}",\n            hex: {lines},\n            json: {json}),')
    TARGET.write_text(
        "// Generated by Proto/golden.py; do not edit.\n\n"
        "/// A message as Python's protobuf encodes it, and its JSON by it where the mapping is the standard one.\n"
        "struct PythonGolden {\n    let name: String\n    let hex: String\n    let json: String?\n\n"
        "    static let all: [PythonGolden] = [\n" + "\n".join(rows) + "\n    ]\n}\n")


if __name__ == "__main__":
    main()
