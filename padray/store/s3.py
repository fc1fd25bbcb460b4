"""Objects in an S3-compatible store: `s3://bucket/prefix`.

Endpoint, region and credentials come from the standard AWS environment (AWS_ENDPOINT_URL_S3, AWS_PROFILE, …) of the
process that works; they are in no setting and in no pickle. What is tried again is always a whole object: boto3's own
retries are off, for they share a quota that a short outage uses up.
"""

import io
import re
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import InvalidEndpointConfigurationError
from botocore.loaders import create_loader
from botocore.session import Session
from tenacity import RetryCallState, Retrying, retry_if_exception, wait_exponential

from padray.errors import InfrastructureError, InputError
from padray.store.location import Leftover, MissingError, Stranger, check_key, is_key
from padray.store.pieces import Content, Reader, size_of, whole
from padray.store.s3_errors import FAILURES, FULL, MISSING, PAST_END, code_of, loss, may_pass, reason

T = TypeVar("T")
SINGLE_PUT = 1 << 30  # larger objects go up in parts; S3 itself takes at most 5 GB at once
PART = 64 << 20
_SETTINGS = Config(connect_timeout=5, read_timeout=10, max_pool_connections=16, retries={"total_max_attempts": 1})
_LOADER = create_loader()  # what boto3 knows of S3, read from its files once
_HEARD: set[str] = set()  # the endpoints that have answered this process


class Patience(NamedTuple):
    """Seconds for which failures that may pass are tried again.

    A server that has never answered is more likely misspelt than down.

    Attributes:
        unheard: where the endpoint has answered neither this process nor the one that a location came from.
        heard: where it has.
    """

    unheard: float = 10.0
    heard: float = 120.0


_PATIENCE = Patience()


class S3Location:
    """A bucket, or a prefix in one. The client is made in the process that uses it, once; threads may share it.

    Args:
        heard: whether the store has answered where this location comes from; a worker may start while it is down.

    Raises:
        InputError: the URI names no bucket; later, whatever is wrong with the store or with what was asked of it.
        InfrastructureError: the store was there and is lost for longer than `patience`, or it is full.
    """

    def __init__(self, uri: str, patience: Patience = _PATIENCE, heard: bool = False) -> None:
        self.bucket, self.prefix = _parse(uri)
        self.patience, self._heard = patience, heard
        self._client: Any = None
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type, tuple[Any, ...]]:
        return S3Location, (self.uri, self.patience, self._is_heard())

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put(self, key: str, content: Content) -> None:
        """Write an object whole: readers see all of it or none."""
        place = self._place(key)

        def act(client: Any) -> None:
            if size_of(content) <= SINGLE_PUT:
                client.put_object(**place, Body=whole(content))
            else:
                parts = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, use_threads=False)
                client.upload_fileobj(io.BufferedReader(Reader(content), PART), **place, Config=parts)

        self._persist("write to", act)

    def get(self, key: str, most: int | None = None) -> bytes:
        """Read an object whole, or its first `most` bytes. Raises MissingError if it is not there."""
        return self.get_range(key, 0, -1 if most is None else most)

    def get_range(self, key: str, offset: int, length: int) -> bytes:
        """Read `length` bytes from `offset` on (fewer at the end of the object; -1: all)."""
        place = self._place(key)
        if offset or length >= 0:
            last = "" if length < 0 else offset + max(length, 1) - 1  # S3 has no empty range
            place["Range"] = f"bytes={offset}-{last}"

        def act(client: Any) -> bytes:
            content: bytes = client.get_object(**place)["Body"].read()  # fails where it ends before it should
            return content[:length] if length >= 0 else content

        return self._persist(f"read {key} in", act, dict.fromkeys(PAST_END, b""))

    def size(self, key: str) -> int | None:
        """Bytes of an object, None if it is not there."""
        place = self._place(key)

        def act(client: Any) -> int | None:
            return int(client.head_object(**place)["ContentLength"])

        return self._persist(f"look for {key} in", act, dict.fromkeys(MISSING))

    def keys(self, prefix: str) -> list[str]:
        """The keys below a folder, sorted; the folder markers of other tools are not objects."""
        return list(self.sizes(prefix))

    def sizes(self, prefix: str) -> dict[str, int]:
        """The same with each object's bytes, which the listing tells."""
        folder = self._place(prefix)["Key"] if prefix else self.prefix
        start = f"{folder}/" if folder else ""

        def act(client: Any) -> list[tuple[str, int]]:
            pages = client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            return [(item["Key"], item["Size"]) for page in pages for item in page.get("Contents", ())]

        below = len(self.prefix) + 1 if self.prefix else 0
        listed = [(name[below:], size) for name, size in self._persist("list", act)]
        return dict(sorted((key, size) for key, size in listed if is_key(key)))

    def strangers(self, prefix: str) -> list[Stranger]:
        """Nothing: under a key there is an object or none."""
        return []

    def leads_out(self, prefix: str) -> bool:
        return False

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        place = self._place(key)
        self._persist(f"delete {key} in", lambda client: client.delete_object(**place), dict.fromkeys(MISSING))

    def age(self, key: str) -> float:
        """Seconds since an object was put, by the store's own clock. Raises InputError if it is not there."""
        place = self._place(key)
        head = self._persist(f"read {key} in", lambda client: client.head_object(**place))
        return _age(head, head["LastModified"])

    def leftovers(self) -> list[Leftover]:
        """The uploads in parts that are not finished, sorted."""
        start = f"{self.prefix}/" if self.prefix else ""

        def act(client: Any) -> list[Leftover]:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=start)
            return [
                Leftover(item["Key"].removeprefix(start), _age(page, item["Initiated"]), item["UploadId"])
                for page in pages
                for item in page.get("Uploads", ())
            ]

        return sorted(
            self._persist("list the unfinished uploads of", act), key=lambda upload: (upload.key, upload.upload)
        )

    def discard(self, leftover: Leftover) -> None:
        """Remove the parts of an unfinished upload; one that is not there is no error."""
        place = {**self._place(leftover.key), "UploadId": leftover.upload}
        ended = dict.fromkeys((*MISSING, "NoSuchUpload"))
        self._persist("clean", lambda client: client.abort_multipart_upload(**place), ended)

    def client(self) -> Any:
        """The boto3 client of this location."""
        with self._lock:
            if self._client is None:
                self._client = _connected()
            return self._client

    def _place(self, key: str) -> dict[str, str]:
        """How boto3 wants a key."""
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{check_key(key)}".removeprefix("/")}

    def _persist(self, doing: str, act: Callable[[Any], T], instead: Mapping[str, T] = MappingProxyType({})) -> T:
        """`act` on the client until it is done, it cannot be done, or patience ends.

        Args:
            instead: answers of the server that are no failures, and what they mean.
        """
        policy = Retrying(
            retry=retry_if_exception(may_pass), stop=self._is_too_late, wait=wait_exponential(0.5, max=8), reraise=True
        )
        try:
            return policy(act, self.client())
        except FAILURES as error:
            if (code := code_of(error)) in instead:
                return instead[code]
            endpoint = _endpoint(self._client) if self._client else ""
            failed = f"cannot {doing} the storage {self.uri}"
            if may_pass(error) and self._is_heard():
                raise InfrastructureError(f"{failed}: {loss(error, endpoint)}") from None
            kind = MissingError if code in MISSING else InfrastructureError if code in FULL else InputError
            raise kind(f"{failed}: {reason(error, self.bucket, endpoint)}") from None

    def _is_too_late(self, state: RetryCallState) -> bool:
        patience = self.patience.heard if self._is_heard() else self.patience.unheard
        return (state.seconds_since_start or 0.0) + state.upcoming_sleep > patience

    def _is_heard(self) -> bool:
        """Whether the store has answered this process, or the one that this location comes from."""
        return self._heard or (self._client is not None and _endpoint(self._client) in _HEARD)


def _parse(uri: str) -> tuple[str, str]:
    """Bucket and prefix. Raises InputError; the URI is not quoted where it may hold a secret."""
    bucket, _, prefix = uri.removeprefix("s3://").rstrip("/").partition("/")
    if re.search(r"[@?#:]", bucket + prefix):
        raise InputError("the storage's s3:// URI cannot be used: endpoint and credentials belong into AWS_… variables")
    if not re.fullmatch(r"[A-Za-z0-9._-]{3,63}", bucket):
        raise InputError(f"the storage {uri} cannot be used: {bucket!r} is no bucket's name; write s3://bucket/prefix")
    return bucket, check_key(prefix) if prefix else ""


def _connected() -> Any:
    """A client that notes when its endpoint answers; of a store that is not Amazon's, buckets are paths, not hosts."""
    core = Session()
    core.register_component("data_loader", _LOADER)
    try:
        client = boto3.session.Session(botocore_session=core).client("s3", config=_SETTINGS)
    except ValueError:
        raise InvalidEndpointConfigurationError(msg="not a URL") from None
    client.meta.events.register("after-call.s3", lambda **_: _HEARD.add(_endpoint(client)))
    return client


def _age(answer: Any, since: datetime) -> float:
    """Seconds until the store answered, by its own clock, which tells whole seconds there."""
    answered = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    return max(0.0, (answered - since).total_seconds())


def _endpoint(client: Any) -> str:
    """Where a client's requests go, without what else a URL may hold."""
    parts = urlsplit(client.meta.endpoint_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
