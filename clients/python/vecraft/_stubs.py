"""The generated half of the client: vecraft/v1/*_pb2.py and *_pb2_grpc.py, made from Proto/ and not kept in the repository.

A built package brings them along. In a checkout they are made at the first import, which needs grpcio-tools.
"""
import pathlib

PACKAGE = pathlib.Path(__file__).resolve().parent
PROTO = PACKAGE.parent.parent.parent / "Proto"


def generate(target=PACKAGE.parent, proto=PROTO):
    """Writes vecraft/v1 under `target`."""
    from grpc_tools import protoc

    files = sorted(str(path.relative_to(proto)) for path in (proto / "vecraft" / "v1").glob("*.proto"))
    if not files:
        raise ImportError(f"no .proto files under {proto / 'vecraft' / 'v1'}")
    status = protoc.main(["protoc", f"-I{proto}", f"--python_out={target}", f"--grpc_python_out={target}", *files])
    if status != 0:
        raise ImportError(f"protoc ended with status {status}")
    (pathlib.Path(target) / "vecraft" / "v1" / "__init__.py").touch()


def load():
    """Makes the stubs if they are missing, or older than the .proto files they come from."""
    sources = list((PROTO / "vecraft" / "v1").glob("*.proto"))
    made = PACKAGE / "v1" / "__init__.py"
    if made.exists() and (not sources or made.stat().st_mtime >= max(path.stat().st_mtime for path in sources)):
        return
    try:
        generate()
    except ModuleNotFoundError as error:
        raise ImportError("the client's stubs are not there and cannot be made: pip install grpcio-tools") from error
