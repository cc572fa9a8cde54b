"""TLS for REST, TLS and mTLS for gRPC: certificates read from files, and read again when the files change."""

import logging
import ssl
import tempfile
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc

from serving.server.settings import Settings, read_ssl_config

logger = logging.getLogger(__name__)


class _Pem(NamedTuple):
    key: bytes
    cert: bytes
    client_ca: bytes | None


def _read(settings: Settings) -> _Pem:
    if settings.ssl_config_file is not None:
        parsed = read_ssl_config(settings.ssl_config_file)
        ca = parsed.custom_ca.encode() if parsed.client_verify else None
        return _Pem(parsed.server_key.encode(), parsed.server_cert.encode(), ca)
    key, cert, client_ca = settings.tls_key, settings.tls_cert, settings.tls_client_ca
    if key is None or cert is None:
        raise ValueError("`tls_key` and `tls_cert` must be given. Received: nothing")
    return _Pem(key.read_bytes(), cert.read_bytes(), client_ca.read_bytes() if client_ca else None)


def _configuration(pem: _Pem) -> Any:
    for name, text in zip(pem._fields, pem, strict=True):
        if text is not None and b"-----BEGIN" not in text:
            raise ValueError(f"`{name}` must be PEM text. Received: {len(text)} bytes without -----BEGIN")
    return grpc.ssl_server_certificate_configuration([(pem.key, pem.cert)], pem.client_ca)


class _Watched:
    """What `make` makes of the certificates, made again where their files hold something new; unusable ones change nothing."""

    def __init__(self, settings: Settings, make: Callable[[_Pem], Any]) -> None:
        self._settings, self._make, self._lock = settings, make, threading.Lock()
        self.pem = _read(settings)
        self.value = make(self.pem)

    def renewed(self) -> bool:
        """Look at the files and tell whether `value` is another one now."""
        with self._lock:
            try:
                pem = _read(self._settings)
                if pem == self.pem:
                    return False
                self.value = self._make(pem)
            except (OSError, ValueError) as error:
                logger.error("certificates keep their old value", extra={"fields": {"trouble": str(error)}})
                return False
            self.pem = pem
            logger.info("certificates read again")
            return True


def server_credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the server's credentials, None where it speaks plain text; ValueError or OSError for unusable files."""
    if not settings.has_certificate:
        return None
    watched = _Watched(settings, _configuration)
    return grpc.dynamic_ssl_server_credentials(
        watched.value, lambda: watched.value if watched.renewed() else None, watched.pem.client_ca is not None
    )


def https(settings: Settings) -> Callable[..., ssl.SSLContext] | None:
    """Return what makes REST's TLS context for uvicorn, None where REST is plain.

    It is plain without certificates, and always in TensorFlow Serving, so with `strict_compatibility` too.
    Clients need no certificate of their own, so that probes and Prometheus can ask. Raises ValueError for unusable files.
    """
    if settings.strict_compatibility or not settings.has_certificate:
        return None
    watched = _Watched(settings, _context)
    listener = _context(watched.pem)

    def renew(connection: ssl.SSLObject, _name: str | None, _context_of_listener: ssl.SSLContext) -> None:
        watched.renewed()
        connection.context = watched.value

    listener.sni_callback = renew
    return lambda *_: listener


def _context(pem: _Pem) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:  # OpenSSL reads files alone; this one is ours alone
        file.write(pem.key + b"\n" + pem.cert)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except ssl.SSLError as error:
            raise ValueError(f"`tls_key` and `tls_cert` must be one PEM pair ({error}). Received: another") from error
    return context


def identities(context: grpc.aio.ServicerContext) -> set[str]:
    """Return the names in the client's certificate: its common name and alternative names."""
    auth = context.auth_context()
    names = [*auth.get("x509_common_name", []), *auth.get("x509_subject_alternative_name", [])]
    return {name.decode(errors="replace") for name in names}
