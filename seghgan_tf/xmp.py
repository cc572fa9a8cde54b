"""XMP packets: taking out what an edit makes untrue, and saying that a generative model edited the picture."""

import re

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""The IPTC's word for a photo that a generative model edited."""

STALE = (
    ("http://ns.adobe.com/tiff/1.0/", "Orientation"),
    ("http://ns.adobe.com/xap/1.0/g/img/", "image"),
    ("http://ns.adobe.com/xmp/note/", "HasExtendedXMP"),
)
"""What is untrue of an edited photo: the turn it asked for, the small picture of it, that JPEG segments go on with its packet."""

_SOURCE = ("http://iptc.org/std/Iptc4xmpExt/2008-02-29/", "DigitalSourceType")
_MARK = (
    f'<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="{_SOURCE[0]}">'
    f"<Iptc4xmpExt:DigitalSourceType>{SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType></rdf:Description>"
).encode()
_END = b"</rdf:RDF>"
_EMPTY = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)


def marked(packet: bytes) -> bytes:
    """Return a packet, a new one where it holds none, that says once that a generative model edited the picture.

    >>> marked(b"") == marked(marked(b""))
    True
    """
    packet = packet if _END in packet else _EMPTY
    return without(packet.replace(_MARK, b""), _SOURCE).replace(_END, _MARK + _END, 1)


def without(packet: bytes, *properties: tuple[str, str]) -> bytes:
    """Return a packet without these simple properties, each a namespace and a name, written as attributes or as elements.

    >>> without(b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/" t:Orientation="6" t:Make="b"/>', STALE[0])
    b'<a xmlns:t="http://ns.adobe.com/tiff/1.0/"  t:Make="b"/>'
    """
    for namespace, name in properties:
        bound = re.findall(rb"xmlns:([\w.-]+)\s*=\s*[\"']" + re.escape(namespace).encode() + rb"[\"']", packet)
        if bound:
            word = rb"(?:" + rb"|".join(sorted(set(map(re.escape, bound)))) + rb"):" + name.encode()
            packet = re.sub(rb"(?<=\s)" + word + rb"\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", packet)
            packet = re.sub(rb"<" + word + rb"(?:\s[^<>]*)?(?:/>|>[^<]*</" + word + rb"\s*>)", b"", packet)
    return packet
