"""Collections, points and searches in Python's own values; `Client.stub(...)` reaches everything else."""
import dataclasses
import json
import struct
import uuid

import grpc

from vecraft.v1 import (
    cluster_pb2_grpc, collections_pb2, collections_pb2_grpc, lineage_pb2, lineage_pb2_grpc, points_pb2, points_pb2_grpc,
    types_pb2,
)

DISTANCES = {"cosine": types_pb2.DISTANCE_COSINE, "dot": types_pb2.DISTANCE_DOT, "l2": types_pb2.DISTANCE_L2}
LEVELS = {
    "eventual": types_pb2.CONSISTENCY_LEVEL_EVENTUAL,
    "bounded": types_pb2.CONSISTENCY_LEVEL_BOUNDED,
    "read_your_writes": types_pb2.CONSISTENCY_LEVEL_READ_YOUR_WRITES,
    "strong": types_pb2.CONSISTENCY_LEVEL_STRONG,
}
QUANTISATIONS = {
    "auto": collections_pb2.QUANTISATION_AUTO,
    "none": collections_pb2.QUANTISATION_NONE,
    "int8": collections_pb2.QUANTISATION_INT8,
    "int4": collections_pb2.QUANTISATION_INT4,
}
FIELDS = {
    "keyword": collections_pb2.FIELD_TYPE_KEYWORD,
    "integer": collections_pb2.FIELD_TYPE_INTEGER,
    "float": collections_pb2.FIELD_TYPE_FLOAT,
    "bool": collections_pb2.FIELD_TYPE_BOOL,
}


class VecraftError(Exception):
    """A call that failed. `code` is the gRPC code's name ("NOT_FOUND")."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


@dataclasses.dataclass
class Hit:
    """One answer of a search. `distance`: smaller is nearer. `version`: clock of the write that made it."""

    id: str
    distance: float
    score: float
    version: int
    payload: dict


@dataclasses.dataclass
class Point:
    """A stored point. `vector` and `vectors` are there when they were asked for."""

    id: str
    version: int
    payload: dict
    vector: list = None
    vectors: dict = dataclasses.field(default_factory=dict)


class Client:
    """One connection to a node, for any number of threads.

    Remembers what it has seen: each read includes this client's own writes, whichever node answers.
    """

    def __init__(self, address="127.0.0.1:7400", *, ca=None, tenant="default", timeout=30.0):
        """`ca`: certificate authorities to believe (PEM bytes); None speaks without TLS. `timeout`: seconds a call."""
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        if ca is None:
            self.channel = grpc.insecure_channel(address, options=options)
        else:
            self.channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(ca), options=options)
        self.tenant = tenant
        self.timeout = timeout
        # By collection, the token of its newest answer. Opaque.
        self._sessions = {}
        # Names this client to the node, which then knows whose writes a read must include, also without the token.
        self._metadata = (("x-vecraft-client-id", f"python-{uuid.uuid4().hex[:16]}"),)
        self._collections = self.stub(collections_pb2_grpc.CollectionsStub)
        self._points = self.stub(points_pb2_grpc.PointsStub)
        self._lineage = self.stub(lineage_pb2_grpc.LineageStub)
        self._cluster = self.stub(cluster_pb2_grpc.ClusterStub)

    def stub(self, kind):
        """A generated stub on this connection, for calls that this class has no method for."""
        return kind(self.channel)

    def close(self):
        self.channel.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # Collections

    def create(self, name, dimension=None, distance="cosine", *, vectors=None, indexes=None, quantisation="auto"):
        """Makes a collection; making the same one again changes nothing.

        `vectors`: named vectors, {"title": 384} or {"title": (384, "l2")}. `indexes`: {"lang": "keyword"}.
        `quantisation`: codes that sealed graphs are walked on, "auto", "none", "int8" or "int4".
        """
        config = collections_pb2.CollectionConfig()
        if dimension is not None:
            config.vector.dimension = dimension
            config.vector.distance = DISTANCES[distance]
        for vector, shape in (vectors or {}).items():
            size, metric = shape if isinstance(shape, tuple) else (shape, "cosine")
            config.vectors[vector].dimension = size
            config.vectors[vector].distance = DISTANCES[metric]
        for vector in ([config.vector] if dimension is not None else []) + list(config.vectors.values()):
            vector.quantisation = QUANTISATIONS[quantisation]
        for field, kind in (indexes or {}).items():
            config.payload_indexes.add(field=field, type=FIELDS[kind])
        request = collections_pb2.CreateCollectionRequest(name=name, config=config, tenant=self.tenant)
        return self._call(self._collections.CreateCollection, request).collection

    def describe(self, name):
        request = collections_pb2.DescribeCollectionRequest(name=name, tenant=self.tenant)
        return self._call(self._collections.DescribeCollection, request).collection

    def list(self):
        request = collections_pb2.ListCollectionsRequest(tenant=self.tenant)
        return [collection.name for collection in self._call(self._collections.ListCollections, request).collections]

    def update(self, name, *, quantisation, vectors=()):
        """Changes the codes that sealed graphs are walked on: "auto", "none", "int8" or "int4".

        `vectors`: names of those meant; none: all. Done when `describe(name).status.recoding_segments` is 0.
        """
        request = collections_pb2.UpdateCollectionRequest(
            name=name, tenant=self.tenant, quantisation=QUANTISATIONS[quantisation], vectors=vectors
        )
        return self._call(self._collections.UpdateCollection, request).collection

    def drop(self, name):
        self._call(self._collections.DropCollection, collections_pb2.DropCollectionRequest(name=name, tenant=self.tenant))
        self._sessions.pop(name, None)

    # Writing

    def upsert(self, collection, points, *, wait_applied=False, idempotency_key=None):
        """Inserts or replaces points, all of them or none. Returns where the write stands in the journal.

        A point is (id, vector), (id, vector, payload), or a dict with "id" and any of "vector", "vectors", "payload".
        Without an idempotency key one is made up, so that a call may safely be made again by the transport.
        """
        request = points_pb2.UpsertRequest(
            collection=collection, tenant=self.tenant, idempotency_key=idempotency_key or uuid.uuid4().hex,
            wait=types_pb2.WAIT_APPLIED if wait_applied else types_pb2.WAIT_COMMITTED)
        for point in points:
            if not isinstance(point, dict):
                point = dict(zip(("id", "vector", "payload"), point))
            message = request.points.add(id=str(point["id"]))
            if point.get("vector") is not None:
                message.vector.packed = _pack(point["vector"])
            for name, vector in (point.get("vectors") or {}).items():
                message.vectors[name].packed = _pack(vector)
            if point.get("payload") is not None:
                message.payload.json = json.dumps(point["payload"]).encode()
        return self._wrote(request, self._call(self._points.Upsert, request))

    def delete(self, collection, ids=(), *, filter=None, wait_applied=False):
        """Deletes points by id or by filter (a dict, as in the JSON API)."""
        request = points_pb2.DeleteRequest(
            collection=collection, ids=[str(id) for id in ids], tenant=self.tenant, idempotency_key=uuid.uuid4().hex,
            wait=types_pb2.WAIT_APPLIED if wait_applied else types_pb2.WAIT_COMMITTED)
        if filter is not None:
            request.filter.CopyFrom(to_filter(filter))
        return self._wrote(request, self._call(self._points.Delete, request))

    # Reading

    def search(
        self, collection, vector, limit=10, *, using="", filter=None, exact=False, ef=0, consistency="read_your_writes"
    ):
        """The points nearest to `vector`, nearest first."""
        request = points_pb2.SearchRequest(
            collection=collection, using=using, limit=limit, exact=exact, ef=ef,
            read=self._read(collection, consistency), tenant=self.tenant)
        request.vector.packed = _pack(vector)
        if filter is not None:
            request.filter.CopyFrom(to_filter(filter))
        response = self._ask(self._points.Search, request)
        return [Hit(hit.id, hit.distance, hit.score, hit.version, _payload(hit)) for hit in response.hits]

    def get(self, collection, ids, *, with_vectors=False, consistency="read_your_writes"):
        """Points by id; those that are not there are left out."""
        request = points_pb2.GetRequest(
            collection=collection, ids=[str(id) for id in ids], with_vectors=with_vectors,
            read=self._read(collection, consistency), tenant=self.tenant)
        return [_point(point) for point in self._ask(self._points.Get, request).points]

    def count(self, collection, *, filter=None, consistency="read_your_writes"):
        request = points_pb2.CountRequest(collection=collection, read=self._read(collection, consistency), tenant=self.tenant)
        if filter is not None:
            request.filter.CopyFrom(to_filter(filter))
        return self._ask(self._points.Count, request).count

    def scroll(self, collection, *, filter=None, page_size=100, with_vectors=False, consistency="read_your_writes"):
        """All the points that match, in id order, one after another."""
        request = points_pb2.ScrollRequest(
            collection=collection, page_size=page_size, with_vectors=with_vectors, tenant=self.tenant)
        if filter is not None:
            request.filter.CopyFrom(to_filter(filter))
        while True:
            request.read.CopyFrom(self._read(collection, consistency))
            response = self._ask(self._points.Scroll, request)
            yield from map(_point, response.points)
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    def lineage(self, collection, id):
        """Every journal entry that touched a point, oldest first."""
        request = lineage_pb2.RecordLineageRequest(collection=collection, id=str(id), tenant=self.tenant)
        return list(self._call(self._lineage.Record, request).entries)

    # What they share

    def _call(self, method, request):
        try:
            return method(request, timeout=self.timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise VecraftError(error.code().name, error.details()) from error

    def _ask(self, method, request):
        response = self._call(method, request)
        self._remember(request, response.info)
        return response

    def _wrote(self, request, response):
        self._remember(request, response.write)
        return response.write

    def _read(self, collection, consistency):
        return types_pb2.ReadOptions(consistency=LEVELS[consistency], session_token=self._sessions.get(collection, b""))

    def _remember(self, request, info):
        if info.session_token:
            self._sessions[request.collection] = info.session_token


def to_filter(filter):
    """A filter message from a dict in the shape of the JSON API: {"must": [{"key": "n", "range": {"gte": 1}}]}."""
    message = types_pb2.Filter()
    for name in filter:
        if name not in ("must", "should", "must_not"):
            raise ValueError(f"a filter has must, should and must_not, not {name!r}")
    for name in ("must", "should", "must_not"):
        getattr(message, name).extend(map(_condition, filter.get(name, ())))
    return message


def _condition(condition):
    message = types_pb2.Condition()
    for name, test in condition.items():
        if name == "key":
            message.key = test
        elif name == "match":
            for form, value in test.items():
                if form == "value":
                    _set_value(message.match.value, value)
                else:
                    values = getattr(message.match, form).values
                    for item in value:
                        _set_value(values.add(), item)
        elif name == "range":
            for bound, value in test.items():
                getattr(message.range, bound).value = value
        elif name == "is_null":
            message.is_null.key = test["key"]
        elif name == "has_id":
            message.has_id.values.extend(map(str, test))
        elif name in ("must", "should", "must_not", "filter"):
            message.filter.CopyFrom(to_filter(condition if name != "filter" else test))
            break
        else:
            raise ValueError(f"a condition has key, match, range, is_null, has_id or a filter, not {name!r}")
    return message


def _set_value(message, value):
    # bool first: in Python it is an integer too.
    if isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int):
        message.integer_value = value
    elif isinstance(value, float):
        message.float_value = value
    else:
        message.string_value = value


def _pack(vector):
    """Little-endian float32; NumPy arrays without a loop."""
    if hasattr(vector, "astype"):
        return vector.astype("<f4").tobytes()
    return struct.pack(f"<{len(vector)}f", *vector)


def _unpack(vector):
    return list(vector.values) if vector.values else list(struct.unpack(f"<{len(vector.packed) // 4}f", vector.packed))


def _payload(message):
    return json.loads(message.payload.json) if message.payload.json else {}


def _point(message):
    vector = _unpack(message.vector) if message.HasField("vector") else None
    vectors = {name: _unpack(value) for name, value in message.vectors.items()}
    return Point(message.id, message.version, _payload(message), vector, vectors)
