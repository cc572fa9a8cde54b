// Says inside a PNG that a generative model edited it: the IPTC's digital source type, as XMP and in plain words.

const SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia";
const XMP = `<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"><Iptc4xmpExt:DigitalSourceType>${SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType></rdf:Description></rdf:RDF></x:xmpmeta>`;
const HEADER = 33; // bytes of a PNG's signature and its first chunk

function checksum(bytes) {
  let sum = 0xffffffff;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit += 1) sum = sum & 1 ? (sum >>> 1) ^ 0xedb88320 : sum >>> 1;
  }
  return ~sum >>> 0;
}

function chunk(kind, body) {
  const content = new TextEncoder().encode(kind + body);
  const made = new Uint8Array(content.length + 8);
  const view = new DataView(made.buffer);
  view.setUint32(0, content.length - 4);
  made.set(content, 4);
  view.setUint32(made.length - 4, checksum(content));
  return made;
}

export async function marked(blob) {
  const texts = [
    chunk("iTXt", `XML:com.adobe.xmp\0\0\0\0\0${XMP}`),
    chunk("tEXt", `Comment\0Edited by a generative model (SegHGAN-TF): ${SOURCE_TYPE}`),
  ];
  return new Blob([blob.slice(0, HEADER), ...texts, blob.slice(HEADER)], { type: "image/png" });
}
