"""What an S3-compatible store says when it fails: whether that may pass, and what it means in our words.

The texts of boto3 and of the server are never quoted: they may hold credentials.
"""

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError)  # all that a request can raise
MISSING = {"NoSuchKey", "NotFound", "404"}  # HEAD has no body, so only a number
PAST_END = {"InvalidRange", "416"}
FULL = {"QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "XMinioStorageFull", "507"}

_UNREACHED = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError)
_BROKEN = (
    boto.ConnectionClosedError,
    boto.ReadTimeoutError,
    boto.ResponseStreamingError,
    boto.IncompleteReadError,
    boto.ChecksumError,
    boto.FlexibleChecksumError,
    ResponseParserError,
)
_BUSY = {"SlowDown", "Throttling", "ThrottlingException", "RequestTimeout", "BadDigest", "IncompleteBody", "429"}
_FINAL = (501, 507)  # of the server's own errors, those that waiting does not mend: not implemented, full

_NO_CREDENTIALS = "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_REFUSED = "the credentials are refused ({code}); check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_FULL = (
    "it is full or over its quota ({code}); make room there, or take another storage; what is finished is kept, and "
    "the same command goes on"
)
_OTHER = "it fails with {code}; check the AWS settings of this process"
_REASONS = {
    **dict.fromkeys(MISSING, "No such object"),
    "NoSuchBucket": "there is no bucket {bucket}; create it, or correct its name",
    "InvalidBucketName": "{bucket} is no bucket's name; correct it",
    "AccessDenied": "it is denied; these credentials need the rights to list, read, write and delete objects there",
    "403": "it is denied; check the credentials, and that they may list, read, write and delete objects there",
    **dict.fromkeys(
        ("SignatureDoesNotMatch", "InvalidAccessKeyId", "InvalidToken", "ExpiredToken", "Unauthorized", "401"), _REFUSED
    ),
    "RequestTimeTooSkewed": "this machine's clock differs from that of {endpoint}; set it right",
    **dict.fromkeys(FULL, _FULL),
    **dict.fromkeys(
        ("AuthorizationHeaderMalformed", "PermanentRedirect", "301"),
        "it is in another region than AWS_DEFAULT_REGION says ({code}); correct that",
    ),
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "ProfileNotFound": "there is no such AWS profile; correct AWS_PROFILE",
    "SSLError": "{endpoint} cannot be trusted (TLS); check AWS_ENDPOINT_URL_S3 and AWS_CA_BUNDLE",
    "InvalidEndpointConfigurationError": "the endpoint is not a URL; correct AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL",
}


def code_of(error: BaseException) -> str:
    """The server's word for an error, or the name of boto3's."""
    return str(error.response["Error"]["Code"]) if isinstance(error, boto.ClientError) else type(error).__name__


def may_pass(error: BaseException) -> bool:
    """Whether the same request may work in a while."""
    if not isinstance(error, boto.ClientError):
        return isinstance(error, (*_UNREACHED, *_BROKEN))
    status = error.response["ResponseMetadata"]["HTTPStatusCode"]
    return code_of(error) in _BUSY or (status >= 500 and status not in _FINAL)


def loss(error: BaseException, endpoint: str) -> str:
    """What is said of a server that has worked and, for as long as we waited, does so no more."""
    refused = isinstance(error, boto.ClientError) and error.response["ResponseMetadata"]["HTTPStatusCode"] == 503
    why = "; it may be full, or too busy" if refused else ""  # Swift answers 503 where its disk is full
    kept = "what is finished is kept, and the same command goes on when it does"
    return f"{endpoint} no longer works ({code_of(error)}{why}); {kept}"


def reason(error: BaseException, bucket: str, endpoint: str) -> str:
    """What is wrong and what would be right, for an error that does not pass, or of a server that never answered."""
    if isinstance(error, _UNREACHED):
        return f"{endpoint} cannot be reached; check AWS_ENDPOINT_URL_S3 and the network"
    if may_pass(error):
        return f"{endpoint} does not answer ({code_of(error)}); check AWS_ENDPOINT_URL_S3, or try again later"
    return _REASONS.get(code_of(error), _OTHER).format(bucket=bucket, endpoint=endpoint, code=code_of(error))
