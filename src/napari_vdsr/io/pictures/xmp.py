"""Provenance in XMP, which JPEG and WebP hold."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

from napari_vdsr.io.provenance import NAMESPACE
from napari_vdsr.schema import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

_PACKET = (
    '<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:vdsr="' + NAMESPACE + '#" vdsr:record="{record}"/>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
_RECORD = re.compile(r' xmlns:vdsr="' + NAMESPACE + r'#" vdsr:record="([^"<>]*)"')


def xmp_packet(provenance: Mapping[str, Any]) -> bytes:
    """Return the XMP packet that tells how an image was made."""
    record = html.escape(json.dumps(dict(provenance)), quote=True)
    return _PACKET.format(record=record).encode("utf-8")


def xmp_record(packet: Any) -> dict[str, Any] | None:
    """Return the provenance in an XMP packet; None if it is not ours."""
    text = packet.decode("utf-8", "replace") if isinstance(packet, bytes) else packet
    found = _RECORD.search(text) if isinstance(text, str) else None
    try:
        record = parse_json(html.unescape(found[1])) if found else None
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
