"""From a URI to the storage that it names."""

from padray.errors import InputError
from padray.machine import files
from padray.store.location import LocalLocation, Location


def open_location(uri: str) -> Location:
    """The storage root that a URI names.

    Raises:
        InputError: a scheme that this version cannot serve, or the home of nobody.
    """
    if not uri:
        raise InputError("--storage is empty; name a folder or s3://bucket/prefix, or leave it out")
    scheme, separator, rest = uri.partition("://")
    if separator and scheme == "s3":
        from padray.store.s3 import S3Location  # boto3 takes its time, and most runs do without it

        return S3Location(uri)
    if separator and scheme != "file":
        raise InputError(f"the storage {uri} cannot be used: there are local folders and s3://bucket/prefix")
    try:
        return LocalLocation(rest if separator else uri)
    except OSError as error:
        raise InputError(f"the storage {files.shown(uri)!r} cannot be used: {files.reason(error)}") from None
    except (RuntimeError, ValueError) as error:
        raise InputError(f"the storage {files.shown(uri)!r} cannot be used: {error}") from None
