"""TLS of a connection that the node makes, named as Centrifugo's `TLSConfig` names it.

What a certificate holds is looked at when the node is built, not here: these settings may be
checked, and tokens signed with them, where the files are not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import SecretStr

from realtime_node.config.section import Contradiction, Form, Section

PEM_FORM: Final = Form("path of a PEM file, the PEM itself, or the PEM in base64")


class ClientTls(Section):
    """How the server is verified, and with which certificate the node proves who it is."""

    enabled: bool = False
    """Speak TLS."""

    cert_pem: Annotated[str, PEM_FORM] = ""
    """Certificate that the node shows, with those between it and its authority. Needed where the
    server asks for one. A file that is renewed is read again with the next connection."""

    key_pem: Annotated[SecretStr, PEM_FORM] = SecretStr("")
    """Private key of `cert_pem`, without a passphrase."""

    server_ca_pem: Annotated[str, PEM_FORM] = ""
    """Authorities whose certificates are believed, and no others. Empty: those that the system
    trusts; `SSL_CERT_FILE` in the environment names others."""

    server_name: str = ""
    """Name that the server's certificate has to hold. Empty: the host that is connected to."""

    insecure_skip_verify: bool = False
    """Believe any certificate: whoever is between node and server can read and change all. For
    tests only."""

    def contradictions(self) -> Iterable[Contradiction]:
        """A certificate proves nothing without its key, and a key without a certificate neither."""
        if self.cert_pem and not self.key_pem:
            yield Contradiction("key_pem", "cert_pem needs its private key: set it")
        if self.key_pem and not self.cert_pem:
            yield Contradiction("cert_pem", "key_pem needs its certificate: set it")

    @property
    def is_described(self) -> bool:
        """Whether anything but `enabled` is set."""
        return self.model_copy(update={"enabled": False}) != type(self)()
